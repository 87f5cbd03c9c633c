"""Image: the tree of a share in memory, as its snapshots and its journal say it is."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from davfusion.chunks.entry import Header
from davfusion.chunks.journal import Journal
from davfusion.chunks.lines import (
    NO_PARENT,
    ROOT,
    ContentLine,
    Line,
    NodeLine,
    ObjectLine,
    ReleaseLine,
    RemovalLine,
)
from davfusion.chunks.volume import LAST_NUMBER

Progress = Callable[[int, int], None]
"""Called with what is done and what is to be done, counted in objects of the store."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A node that could not be brought back, and why, as a sentence for people. `path` is as far as it is known."""

    node: NodeLine
    path: str
    reason: str


class Image:
    """Nodes, contents and objects by id and path. Not thread-safe. Memory is about 1 KiB for a file."""

    def __init__(self) -> None:
        self.nodes: dict[int, NodeLine] = {}
        self.contents: dict[int, ContentLine] = {}
        self.objects: dict[str, ObjectLine] = {}
        self.losses: list[Loss] = []
        """What `settle` has dropped."""
        self.renamed: list[NodeLine] = []
        """As they were: nodes to which `settle` gave another name, since their folder had theirs twice."""
        self._children: dict[int, set[int]] | None = None

    def apply(self, lines: Iterable[Line]) -> None:
        """Take over the lines of one entry, in any order: objects, contents and nodes, then removals, then releases.

        An error of the iterator leaves the image half changed; give a list where that matters.
        """
        removals: list[int] = []
        releases: list[str] = []
        for line in lines:
            match line:
                case NodeLine():
                    self._put(line)
                case ContentLine():
                    self.contents[line.content] = line
                case ObjectLine():
                    self.objects[line.path] = line
                case RemovalLine(node):
                    removals.append(node)
                case ReleaseLine(path):
                    releases.append(path)
        for node in removals:
            self._remove(node)
        for path in releases:
            self.objects.pop(path, None)

    def lines(self) -> Iterator[Line]:
        """All of it, as a snapshot says it."""
        yield from self.objects.values()
        yield from self.contents.values()
        yield from self.nodes.values()

    def path(self, node: int) -> str:
        """The path of a node from the root, or from where its chain of parents breaks off (then it begins with `…`)."""
        names: list[str] = []
        seen: set[int] = set()
        while node != ROOT:
            line = self.nodes.get(node)
            if line is None or node in seen:
                return "/".join(["…", *reversed(names)])
            seen.add(node)
            names.append(line.name)
            node = line.parent
        return "/" + "/".join(reversed(names))

    def settle(self) -> None:
        """Make it a tree: to be called once, after the last entry.

        Nodes that the root does not reach or whose content is unknown go into `losses`, then unused contents go. Of
        two nodes with one name in a folder, which no proper writer leaves behind, the newer gets ` (2)` or so.
        """
        reached = self._reached()
        for node, line in self.nodes.items():
            if node not in reached:
                self.losses.append(Loss(line, self.path(node), "The folder that held it is not in the journal"))
            elif line.content is not None and line.content not in self.contents:
                self.losses.append(Loss(line, self.path(node), "The journal does not say where its bytes lie"))
        for loss in self.losses:
            self.nodes.pop(loss.node.node, None)
        self._part_names()
        self._children = None
        used = {line.content for line in self.nodes.values() if line.content is not None}
        for content in [content for content in self.contents if content not in used]:
            del self.contents[content]

    def _part_names(self) -> None:
        for below in self._known_children().values():
            lines = [self.nodes[node] for node in sorted(below) if node in self.nodes]
            taken = {line.name for line in lines}
            if len(taken) < len(lines):
                self._rename(lines, taken)

    def _rename(self, lines: list[NodeLine], taken: set[str]) -> None:
        seen: set[str] = set()
        for line in lines:
            if line.name in seen:
                names = (f"{line.name} ({number})" for number in itertools.count(2))
                name = next(name for name in names if name not in taken)
                taken.add(name)
                self.nodes[line.node] = dataclasses.replace(line, name=name)
                self.renamed.append(line)
            seen.add(line.name)

    def _reached(self) -> set[int]:
        children = self._known_children()
        reached, waiting = {ROOT}, [ROOT]
        while waiting:
            folder = waiting.pop()
            line = self.nodes.get(folder)
            if line is not None and not line.folder:
                continue
            below = children.get(folder, set()) - reached
            reached |= below
            waiting.extend(below)
        return reached

    def _put(self, line: NodeLine) -> None:
        old = self.nodes.get(line.node)
        self.nodes[line.node] = line
        if self._children is None:
            return
        if old is not None:
            self._children.get(old.parent, set()).discard(line.node)
        self._children.setdefault(line.parent, set()).add(line.node)

    def _remove(self, node: int) -> None:
        children = self._known_children()
        line = self.nodes.get(node)
        if line is not None:
            children.get(line.parent, set()).discard(node)
        waiting = [node]
        while waiting:
            gone = waiting.pop()
            self.nodes.pop(gone, None)
            waiting.extend(children.pop(gone, ()))

    def _known_children(self) -> dict[int, set[int]]:
        """Children by folder: made when first needed, kept up to date from then on."""
        if self._children is None:
            self._children = {}
            for node, line in self.nodes.items():
                if line.parent != NO_PARENT:
                    self._children.setdefault(line.parent, set()).add(node)
        return self._children


def _silent(done: int, total: int) -> None:
    del done, total


def load(journal: Journal, progress: Progress = _silent, *, until: int = LAST_NUMBER) -> tuple[Image, int]:
    """The newest usable snapshot and the entries after it, settled; and the number of the last entry.

    Raises StoreError; DamagedError where the journal is not whole: it names the entry, and `until` the number before
    gives the share as it was then, as far back as the journal goes.
    """
    head = journal.head(until)
    found = journal.newest_snapshot(_of_snapshot, head)
    base, image = found or (0, Image())
    total = len(head.numbers_after(base)) + (found is not None)
    done = int(found is not None)
    progress(done, total)
    for _, lines in journal.entries_after(base, head):
        image.apply(lines)
        done += 1
        progress(done, total)
    image.settle()
    return image, head.last_number


def _of_snapshot(header: Header, lines: Iterator[Line]) -> Image:
    del header
    image = Image()
    image.apply(lines)
    return image
