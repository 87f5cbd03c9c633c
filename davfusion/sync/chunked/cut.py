"""A cut through the tree: what one journal entry says, so that the journal shows the share as it was at one moment.

A cut speaks of all nodes that differ, whether they are due or not. The only ones it leaves out are files whose
content is not in the store yet: one that the journal knows keeps its older content there; a new one is left
out, and what it takes the place of stays until it comes. What hangs on a folder that left the tree left it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from davfusion.cache.index import Record, View
from davfusion.cache.node import ROOT_ID
from davfusion.cache.parts import part_of
from davfusion.chunks.lines import ContentLine, Line, NodeLine, ObjectLine, ReleaseLine, RemovalLine


@dataclass(frozen=True, slots=True)
class Cut:
    """The lines of one journal entry, by kind."""

    objects: tuple[ObjectLine, ...]
    contents: tuple[ContentLine, ...]
    nodes: tuple[NodeLine, ...]
    removals: tuple[RemovalLine, ...]
    releases: tuple[ReleaseLine, ...]

    def lines(self) -> Iterator[Line]:
        """All of them, in the order in which an entry has them."""
        yield from self.objects
        yield from self.contents
        yield from self.nodes
        yield from self.removals
        yield from self.releases

    def __bool__(self) -> bool:
        return any((self.objects, self.contents, self.nodes, self.removals, self.releases))


def cut(view: View) -> Cut:
    """What the journal has to be told, as this view shows it; the view must be of one moment."""
    properties = view.journalled.properties_of_differing()
    reach = _Reach(view)
    nodes: list[NodeLine] = []
    leaving: list[Record] = []
    unready: set[tuple[int | None, str | None]] = set()
    for record in view.journalled.differing():
        if not record.is_local or not reach.has(record):
            leaving.append(record)
        else:
            line = node_line(view, record, properties.get(record.id, {}))
            if line is None:
                unready.add((record.parent, record.local_name))
            elif not record.is_synced or line != _as_journalled(record, line):
                nodes.append(line)
    return Cut(
        objects=tuple(ObjectLine(path=each.path, size=each.size, sha256=each.sha256)
                      for each in view.objects.unjournalled_objects()),
        contents=tuple(content_line(view, *content) for content in view.objects.unjournalled()),
        nodes=tuple(nodes),
        removals=tuple(RemovalLine(node=record.id) for record in leaving
                       if record.is_synced and (record.synced_parent, record.synced_name) not in unready),
        releases=tuple(ReleaseLine(path=each.path) for each in view.objects.unreleased()))


def node_line(view: View, record: Record, properties: Mapping[str, bytes]) -> NodeLine | None:
    """A node of the local tree as the journal can have it; None for a new file whose content is not in the store."""
    content, modified = record.content, record.modified
    if content is not None and not view.objects.is_stored(content):
        if record.synced_content is None:
            return None
        content, modified = record.synced_content, view.journalled.modified(record.id) or record.modified
    return NodeLine(
        node=record.id, parent=record.parent or 0, name=record.local_name or "", folder=record.is_folder,
        content=content, modified=modified, created=record.created, media_type=record.media_type,
        properties={name: as_text(xml) for name, xml in properties.items()})


def as_text(xml: bytes) -> str:
    """A dead property as the journal has it."""
    return xml.decode("utf-8", "surrogateescape")


def content_line(view: View, content: int, size: int, sha256: str | None) -> ContentLine:
    """A content that is in the store, and where."""
    return ContentLine(content=content, size=size, sha256=sha256,
                       parts=tuple(part_of(place) for place in view.objects.places(content)))


def _as_journalled(record: Record, line: NodeLine) -> NodeLine | None:
    """The line that the journal has, if times and properties did not change; None if they did."""
    same = (record.parent == record.synced_parent and record.local_name == record.synced_name
            and line.content == record.synced_content and not record.scattered)
    return line if same else None


class _Reach:
    """Tells which nodes hang on the root; remembers the folders that it went through."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._known: dict[int, bool] = {ROOT_ID: True}

    def has(self, record: Record) -> bool:
        """Whether the node and all folders above it are in the local tree."""
        if record.is_root:
            return True
        chain: list[int] = []
        current = record.parent
        while current is not None and current not in self._known:
            chain.append(current)
            above = self._view.nodes.get(current)
            current = above.parent if above is not None else None
        reached = current is not None and self._known[current]
        self._known.update(dict.fromkeys(chain, reached))
        return reached
