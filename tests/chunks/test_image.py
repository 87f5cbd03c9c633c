"""The image is the tree that was journalled: against a simple model, and for each rule by itself."""

import dataclasses
import io
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from davfusion.chunks.image import Image, load
from davfusion.chunks.journal import Journal
from davfusion.chunks.lines import ROOT, ObjectLine, ReleaseLine, RemovalLine
from davfusion.store.memory import MemoryStore
from tests.chunks import entries
from tests.chunks.entries import ARCHIVE, BLOCK, SHARE, content, entry, header, node


def image_of(*changes):
    image = Image()
    for lines in changes:
        image.apply(lines)
    return image


def append(journal, number, lines):
    head = header(number)
    journal.append(number, io.BytesIO(entry(lines, head)), head.id)


def snapshot(journal, number, lines):
    journal.write_snapshot(number, io.BytesIO(entry(lines, header(number, "snapshot"))))


def test_a_removal_takes_the_subtree_as_it_is_after_the_nodes_of_the_entry():
    image = image_of(
        [node(2), node(3, 2), node(4, 3), node(5)],
        [RemovalLine(2), node(4, ROOT), node(6, 3), node(5, 3)])
    assert set(image.nodes) == {4}


def test_a_removal_after_moves_of_earlier_entries():
    image = image_of([node(2), node(3, 2), node(4, 3), RemovalLine(99)], [node(3)], [RemovalLine(2)], [node(4, 3)])
    assert set(image.nodes) == {3, 4}


def test_a_node_that_was_removed_can_come_back_alone():
    image = image_of([node(2), node(3, 2)], [RemovalLine(2)], [node(2)])
    assert set(image.nodes) == {2}


def test_a_node_that_came_back_elsewhere_does_not_go_with_its_old_folder():
    image = image_of([node(2), node(3, 2)], [RemovalLine(3)], [node(3)], [RemovalLine(2)])
    assert set(image.nodes) == {3}


def test_parents_may_come_after_children_and_nodes_may_change_places():
    image = image_of([node(3, 2), node(2)], [node(2, 3), node(3, ROOT), RemovalLine(9)])
    image.settle()
    assert (image.path(2), image.losses) == ("/n3/n2", [])


def test_a_release_takes_the_object_away_even_if_the_entry_names_it():
    image = image_of([ObjectLine(ARCHIVE, 5, None), ObjectLine(BLOCK, 6, None)], [ReleaseLine(ARCHIVE)])
    assert set(image.objects) == {BLOCK}
    assert not image_of([ReleaseLine(ARCHIVE), ObjectLine(ARCHIVE, 5, None)]).objects


def test_the_root_may_be_journalled_again_and_again():
    later = dataclasses.replace(entries.root, modified=9.0)
    image = image_of([entries.root, node(2)], [RemovalLine(7), later], [later, RemovalLine(2)])
    image.settle()
    assert image.nodes == {ROOT: later}


def test_what_the_root_does_not_reach_is_reported_and_dropped():
    image = image_of([node(2), node(3, 99), node(4, 3), node(5, 6), node(6, 5), node(7, of=1), node(8, 7), content(1)])
    image.settle()
    assert set(image.nodes) == {2, 7}
    assert {(loss.node.node, loss.path) for loss in image.losses} == {
        (3, "…/n3"), (4, "…/n3/n4"), (5, "…/n6/n5"), (6, "…/n5/n6"), (8, "/n7/n8")}


def test_a_file_whose_bytes_nobody_knows_is_reported_and_dropped():
    image = image_of([node(2), node(3, 2, of=5), node(4, 2, of=6), content(6)])
    image.settle()
    assert set(image.nodes) == {2, 4}
    assert [(loss.path, loss.node.content) for loss in image.losses] == [("/n2/n3", 5)]


def test_a_name_that_comes_twice_in_a_folder_is_parted():
    lines = [node(2, name="a"), node(3, name="a"), node(4, name="a (2)"), node(5, name="b"), node(6, 5, "a"),
             node(7, name="a")]
    image = image_of(reversed(lines))
    image.settle()
    assert {number: image.path(number) for number in image.nodes} == {
        2: "/a", 3: "/a (3)", 4: "/a (2)", 5: "/b", 6: "/b/a", 7: "/a (4)"}
    assert image.renamed == [node(3, name="a"), node(7, name="a")]


def test_contents_without_a_node_are_dropped():
    image = image_of([node(2, of=5), content(5), content(6), ObjectLine(ARCHIVE, 5, None)])
    image.settle()
    assert (set(image.contents), set(image.objects)) == ({5}, {ARCHIVE})


def test_a_content_that_moved_lies_where_the_last_entry_says():
    image = image_of([content(5)], [dataclasses.replace(content(5), parts=(entries.part(path=BLOCK, offset=0),))])
    assert image.contents[5].parts[0].object == BLOCK


def test_loading_reports_progress_to_the_end():
    journal = Journal(MemoryStore(), SHARE)
    assert load(journal)[1] == 0
    for number in range(1, 101):
        append(journal, number, [node(number + 1)])
    snapshot(journal, 40, [node(number + 1) for number in range(1, 41)])
    told = []
    image, number = load(journal, lambda done, total: told.append((done, total)))
    assert (len(image.nodes), number) == (100, 100)
    assert told == [(done, 61) for done in range(1, 62)]


class Model:
    """A tree as a dictionary, changed at random, which knows what to journal about it."""

    def __init__(self, generator):
        self.generator = generator
        self.nodes = {}
        self.contents = {}
        self.next = 2

    def folders(self):
        return [ROOT, *(number for number, line in self.nodes.items() if line.folder)]

    def below(self, number):
        return {number}.union(*(self.below(child) for child, line in self.nodes.items() if line.parent == number))

    def change(self):
        choice = self.generator.random()
        existing = list(self.nodes)
        if choice < 0.5 or not existing:
            self.make()
        elif choice < 0.65:
            for gone in self.below(self.generator.choice(existing)):
                del self.nodes[gone]
        elif choice < 0.9:
            moved = self.generator.choice(existing)
            targets = [folder for folder in self.folders() if folder not in self.below(moved)]
            self.nodes[moved] = dataclasses.replace(self.nodes[moved], parent=self.generator.choice(targets))
        else:
            self.write(self.generator.choice(existing))

    def make(self):
        number, parent = self.next, self.generator.choice(self.folders())
        self.next += 1
        self.nodes[number] = node(number, parent)
        if self.generator.random() < 0.5:
            self.write(number)

    def write(self, number):
        if any(line.parent == number for line in self.nodes.values()):
            return
        made = content(self.next, self.generator.randrange(3))
        self.next += 1
        self.contents[made.content] = made
        self.nodes[number] = dataclasses.replace(self.nodes[number], folder=False, content=made.content)

    def step(self):
        """Some changes, and the lines that say so."""
        before, known = dict(self.nodes), set(self.contents)
        for _ in range(self.generator.randrange(6)):
            self.change()
        lines = [line for number, line in self.nodes.items() if before.get(number) != line]
        lines += [RemovalLine(number) for number, line in before.items()
                  if number not in self.nodes and (line.parent in self.nodes or line.parent == ROOT)]
        lines += [line for number, line in self.contents.items() if number not in known]
        self.generator.shuffle(lines)
        return lines

    def used(self):
        wanted = {line.content for line in self.nodes.values()}
        return {number: line for number, line in self.contents.items() if number in wanted}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_the_image_is_what_was_journalled(seed):
    generator = random.Random(seed)
    model, journal = Model(generator), Journal(MemoryStore(), SHARE)
    for number in range(1, 25):
        append(journal, number, model.step())
        if generator.random() < 0.2:
            lines = [*model.nodes.values(), *model.used().values()]
            snapshot(journal, number, lines)
            if generator.random() < 0.7:
                journal.prune(number)
    image, number = load(journal)
    assert (image.nodes, image.contents, image.losses, number) == (model.nodes, model.used(), [], 24)
    again = Image()
    again.apply(image.lines())
    assert (again.nodes, again.contents, again.objects) == (image.nodes, image.contents, image.objects)
