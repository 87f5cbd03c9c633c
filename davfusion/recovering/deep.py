"""Reads archives and blocks back and compares every byte with what was written."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from davfusion.chunks.archive import unpack
from davfusion.chunks.errors import DamagedError
from davfusion.chunks.lines import Part
from davfusion.chunks.volume import parse_block
from davfusion.recovering.reading import Show
from davfusion.store.errors import NotFoundError
from davfusion.store.interface import Store

READERS = 4
"""Objects that are read at the same time."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong with the bytes of one object."""

    path: str
    reason: str | None
    """About the object as a whole; None where it is as it was written."""
    contents: Mapping[int, str]
    """Contents of which a part in it is damaged, and why."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An object as it should be."""

    path: str
    sha256: str | None
    parts: Sequence[tuple[int, Part]]
    """What lies in it: content and part."""


def check_bytes(store: Store, objects: Sequence[Expected], show: Show) -> Iterator[Checked]:
    """Read all of these objects, several at a time, each once. Raises StoreError.

    Memory holds one part of a content for each reader; the objects go through temporary files.
    """
    with ThreadPoolExecutor(READERS, thread_name_prefix="check") as pool:
        done = 0
        for batch in _batches(objects):
            for checked in pool.map(lambda expected: _check(store, expected), batch):
                done += 1
                show(done, len(objects))
                yield checked


def _batches(objects: Iterable[Expected]) -> Iterator[list[Expected]]:
    rest = iter(objects)
    while batch := list(islice(rest, 8 * READERS)):
        yield batch


def _check(store: Store, expected: Expected) -> Checked:
    with tempfile.TemporaryFile() as file:
        digest = hashlib.sha256()
        try:
            for piece in store.read(expected.path):
                digest.update(piece)
                file.write(piece)
        except NotFoundError:
            missing = "the object is missing"
            return Checked(expected.path, missing, {content: f"{missing}: {expected.path}"
                                                    for content, _ in expected.parts})
        contents = {content: reason for content, part in expected.parts
                    if (reason := _damage(file, part)) is not None}
    wanted = parse_block(expected.path) or expected.sha256
    changed = wanted is not None and digest.hexdigest() != wanted
    return Checked(expected.path, "its bytes are not those that were written" if changed else None, contents)


def _damage(file: BinaryIO, part: Part) -> str | None:
    file.seek(part.offset)
    try:
        unpack(part, file.read(part.length))
    except DamagedError as error:
        return str(error)
    return None
