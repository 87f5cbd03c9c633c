"""What an entry of the journal says about a tree that is half in the store."""

from __future__ import annotations

import pytest

from davfusion.cache.node import PropertyChange
from davfusion.sync.chunked.purge import purge_some
from tests.sync.chunked.office import Office


def names(office: Office) -> dict[int, tuple[int, str]]:
    return {line.node: (line.parent, line.name) for line in office.cut().nodes}


def gone(office: Office) -> set[int]:
    return {line.node for line in office.cut().removals}


def test_a_new_file_is_left_out_until_its_content_is_in_the_store(office: Office) -> None:
    folder, file = office.folder("/a"), office.save("/a/x")
    assert names(office) == {folder: (1, "a")}
    office.store_contents()
    assert names(office) == {folder: (1, "a"), file: (folder, "x")}
    assert [line.content for line in office.cut().contents] == [office.share.find("/a/x").content]  # type: ignore[union-attr]


def test_a_file_saved_again_keeps_its_older_content_there(office: Office) -> None:
    node = office.save("/x", b"old")
    office.engine.run_due()
    old = office.index.view().nodes.get(node)
    office.save("/x", b"new")
    assert not office.cut()
    office.share.move("/x", "/y", overwrite=False)
    (line,) = office.cut().nodes
    assert old is not None
    assert (line.name, line.content, line.modified) == ("y", old.content, old.modified)


def test_what_a_new_file_replaces_stays_until_the_file_comes(office: Office) -> None:
    office.save("/x", b"old")
    office.engine.run_due()
    office.save("/part", b"new")
    office.share.move("/part", "/x", overwrite=True)
    assert not office.cut()
    office.store_contents()
    news = office.cut()
    assert len(news.nodes) == len(news.removals) == 1
    office.engine.run_due()
    assert office.recovered() == {"/x": b"new"}


def test_a_folder_that_a_new_file_replaces_stays_with_all_in_it(office: Office) -> None:
    office.folder("/x")
    office.save("/x/inside", b"old")
    office.engine.run_due()
    office.share.delete("/x")
    office.save("/x", b"new")
    assert not office.cut()
    office.engine.run_due()
    assert office.recovered() == {"/x": b"new"}


def test_what_was_moved_out_of_a_folder_is_named_before_the_folder_goes(office: Office) -> None:
    folder = office.folder("/a")
    file, inner = office.save("/a/x", b"1"), office.folder("/a/b")
    deep = office.save("/a/b/y", b"2")
    office.engine.run_due()
    office.share.move("/a/b", "/b", overwrite=False)
    office.share.delete("/a")
    assert names(office) == {inner: (1, "b")}
    assert gone(office) == {folder}
    office.engine.run_due()
    assert office.recovered() == {"/b": None, "/b/y": b"2"}
    view = office.index.view()
    assert view.nodes.get(file) is None and view.nodes.get(deep) is not None


def test_what_went_with_a_folder_goes_from_where_it_was(office: Office) -> None:
    office.folder("/a")
    file = office.save("/x", b"1")
    office.engine.run_due()
    office.share.move("/x", "/a/x", overwrite=False)
    office.share.delete("/a")
    assert file in gone(office)
    office.engine.run_due()
    assert office.recovered() == {}
    assert office.index.view().nodes.get(file) is None


def test_what_went_with_a_folder_that_never_was_there_goes_too(office: Office) -> None:
    file = office.save("/x", b"1")
    office.engine.run_due()
    office.folder("/new")
    office.share.move("/x", "/new/x", overwrite=False)
    office.share.delete("/new")
    assert gone(office) == {file}
    office.engine.run_due()
    assert office.recovered() == {}


def test_names_are_swapped_in_one_entry(office: Office) -> None:
    one, other = office.save("/a", b"1"), office.save("/b", b"2")
    office.engine.run_due()
    for source, destination in (("/a", "/c"), ("/b", "/a"), ("/c", "/b")):
        office.share.move(source, destination, overwrite=False)
    assert names(office) == {one: (1, "b"), other: (1, "a")}
    assert not gone(office)
    office.engine.run_due()
    assert office.recovered() == {"/a": b"2", "/b": b"1"}


def test_a_folder_can_go_into_what_was_in_it(office: Office) -> None:
    office.folder("/a")
    office.folder("/a/b")
    office.save("/a/x", b"1")
    office.engine.run_due()
    office.share.move("/a/b", "/b", overwrite=False)
    office.share.move("/a", "/b/a", overwrite=False)
    office.engine.run_due()
    assert office.recovered() == {"/b": None, "/b/a": None, "/b/a/x": b"1"}


def test_properties_and_times_travel_those_of_the_root_too(office: Office) -> None:
    office.save("/x", b"1")
    office.engine.run_due()
    assert not office.cut()
    office.colour("/", "<root/>")
    office.colour("/x", "<file/>")
    office.share.change_properties("/x", [], modified=42.0, created=41.0)
    office.engine.run_due()
    assert not office.cut()
    image = office.image()
    assert dict(image.nodes[1].properties) == {"{urn:x}colour": "<root/>"}
    (line,) = [line for line in image.nodes.values() if line.name == "x"]
    assert (dict(line.properties), line.modified, line.created) == ({"{urn:x}colour": "<file/>"}, 42.0, 41.0)


def test_properties_of_a_file_whose_content_still_waits_are_told_once(office: Office) -> None:
    """They were told again and again until the content came."""
    office.save("/x", b"old")
    office.engine.run_due()
    office.now = 2e6
    office.save("/x", b"new")
    office.colour("/x", "<file/>")
    volume = office.engine._open()
    with office.engine._lock:
        assert len(office.cut().nodes) == 1
        volume.scribe.write(office.cut())
    assert not office.cut()
    office.engine.run_due()
    (line,) = [line for line in office.image().nodes.values() if line.name == "x"]
    assert (dict(line.properties), line.modified) == ({"{urn:x}colour": "<file/>"}, 2e6)
    assert office.recovered() == {"/x": b"new"}


def test_what_is_deleted_between_cut_and_facts_goes_in_the_next_entry(office: Office) -> None:
    volume = office.engine._open()
    file = office.save("/x", b"1")
    office.folder("/a")
    deep = office.save("/a/y", b"2")
    office.store_contents()
    news = office.cut()
    office.share.delete("/x")
    office.share.delete("/a")
    while office.index.write(purge_some):
        pass
    volume.scribe.write(news)
    assert office.recovered() == {"/x": b"1", "/a": None, "/a/y": b"2"}
    assert {file, deep} <= gone(office)
    office.engine.tidy()
    office.engine.run_due()
    assert office.recovered() == {}
    assert office.index.view().nodes.count_dirty() == (0, 0)


def test_nothing_is_left_of_a_large_folder_and_no_transaction_is_long(office: Office) -> None:
    office.folder("/a")
    for number in range(3):
        office.folder(f"/a/{number}")
        for name in range(150):
            office.share.make_folder(f"/a/{number}/{name}")
    office.engine.run_due()
    office.share.delete("/a")
    volume = office.engine._open()
    volume.scribe.write(office.cut())
    changes: list[int] = []

    def purge() -> bool:
        def change(view):  # type: ignore[no-untyped-def]
            before = view._connection.total_changes
            more = purge_some(view)
            changes.append(view._connection.total_changes - before)
            return more
        return office.index.write(change)
    while purge():
        pass
    assert max(changes) < 1000
    assert office.index.view().nodes.count_dirty() == (0, 0)
    assert [record.id for record, _ in office.index.view().nodes.subtree(1)] == []


@pytest.mark.parametrize("name", ["plain", "{}plain", "{urn:x}colour", "{urn:ü}größe", "{DAV:}displayname",
                                  "{urn:{x}}y"])
def test_a_property_of_any_name_travels(office: Office, name: str) -> None:
    """One of no namespace kept the whole share from being written down, for ever."""
    office.save("/x", b"1")
    office.share.change_properties("/x", [PropertyChange(name, b"<x/>")])
    office.engine.run_due()
    (line,) = [line for line in office.image().nodes.values() if line.name == "x"]
    assert dict(line.properties) == {name: "<x/>"}


@pytest.mark.parametrize("modified", [0.0, -1e12, 1e15, 253402300800.5])
def test_any_time_travels(office: Office, modified: float) -> None:
    office.save("/x", b"1")
    office.share.change_properties("/x", [], modified=modified, created=modified)
    office.engine.run_due()
    (line,) = [line for line in office.image().nodes.values() if line.name == "x"]
    assert (line.modified, line.created) == (modified, modified)


@pytest.mark.parametrize("name", ["a b", "\u00fc", "\U0001f600", "e\u0301", "a\nb", "a\\b", "-", "...", "x" * 255,
                                  "a\x7f", "\u202e"])
def test_a_file_of_any_name_travels(office: Office, name: str) -> None:
    office.save(f"/{name}", b"1")
    office.engine.run_due()
    assert office.recovered() == {f"/{name}": b"1"}
