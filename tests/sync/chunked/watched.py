"""A store whose every change is judged: what the journal says after each entry, and what is deleted."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator

from davfusion.chunks import volume
from davfusion.chunks.archive import unpack
from davfusion.chunks.entry import read_entry
from davfusion.chunks.image import Image
from davfusion.chunks.lines import ROOT, ContentLine, NodeLine
from davfusion.store.errors import AlreadyExistsError, NotFoundError
from davfusion.store.interface import Capabilities, Condition, IfAbsent, Metadata, Store
from davfusion.store.wrapper import WrappedStore


class Blunt(WrappedStore):
    """A store that decides no conditions itself: they are looked up before, as some backends do."""

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(self._store.capabilities, conditional_write=False, conditional_delete=False)

    def store_fileobject(self, fileobject, path, *, condition: Condition = None, modified=None, interrupt=None):
        if isinstance(condition, IfAbsent) and self.exists(path):
            raise AlreadyExistsError("There already", path)
        return self._store.store_fileobject(fileobject, path, modified=modified, interrupt=interrupt)

    def delete(self, path, is_dir, *, if_version=None) -> None:
        self._store.delete(path, is_dir)


class Judged(WrappedStore):
    """Keeps the image that the entries come to, and asks `judge` after each; refuses to delete what is in use.

    `needed` tells which objects the index needs.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.image = Image()
        self.entries = 0
        self.judge: Callable[[Image], None] = lambda image: None
        self.needed: Callable[[], set[str]] = set
        self.deleted: list[str] = []

    def store_fileobject(self, fileobject, path, *, condition: Condition = None, modified=None, interrupt=None
                         ) -> Metadata:
        stored = self._store.store_fileobject(fileobject, path, condition=condition, modified=modified,
                                              interrupt=interrupt)
        if volume.parse_journal(path):
            _, lines = read_entry([self._store.get_file(path)], path)
            self.image.apply(list(lines))
            self.entries += 1
            self.judge(self.image)
        return stored

    def delete(self, path, is_dir, *, if_version=None) -> None:
        if volume.is_data(path):
            assert path not in used_by(self.image), f"an object that the journal uses is deleted: {path}"
            assert path not in self.needed(), f"an object that the index uses is deleted: {path}"
            self.deleted.append(path)
        self._store.delete(path, is_dir, if_version=if_version)


class Interrupted(WrappedStore):
    """Lets something happen before and after each request."""

    def __init__(self, store: Store, between: Callable[[str, str], None]) -> None:
        super().__init__(store)
        self._between = between

    @contextlib.contextmanager
    def around(self, verb: str, path: str) -> Iterator[None]:
        self._between(verb, path)
        yield
        self._between(verb, path)


class Counted(WrappedStore):
    """Notes each request."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.requests: list[tuple[str, str]] = []

    @contextlib.contextmanager
    def around(self, verb: str, path: str) -> Iterator[None]:
        self.requests.append((verb, path))
        yield


def reached(image: Image) -> dict[int, NodeLine]:
    """The nodes that hang on the root, by id, without it."""
    children: dict[int, list[NodeLine]] = {}
    for line in image.nodes.values():
        children.setdefault(line.parent, []).append(line)
    found: dict[int, NodeLine] = {}
    pending = [ROOT]
    while pending:
        for line in children.get(pending.pop(), ()):
            if line.node not in found:
                found[line.node] = line
                pending.append(line.node)
    return found


def used_by(image: Image) -> set[str]:
    """The objects in which contents lie that a node of the tree has."""
    contents = [image.contents[line.content] for line in reached(image).values() if line.content in image.contents]
    return {part.object for content in contents for part in content.parts}


def bytes_of(store: Store, content: ContentLine) -> bytes:
    """The bytes of a content from its parts. Raises AssertionError where they are not whole."""
    found = io.BytesIO()
    for part in content.parts:
        try:
            found.write(unpack(part, store.get_range(part.object, part.offset, part.offset + part.length)))
        except NotFoundError:
            raise AssertionError(f"the journal names an object that is not there: {part.object}") from None
    assert found.tell() == content.size
    return found.getvalue()
