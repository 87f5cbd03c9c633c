"""Putting: complete bodies become the contents of files, many in one transaction.

While bodies come in from many clients, what costs most is the time for which the index is held. So those that are begun
next to each other are looked up together, checked one by one, and written together: a statement for each table, not
for each file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from davfusion.cache import tree
from davfusion.cache.contents import ContentFiles
from davfusion.cache.errors import CacheFullError, UnsettledError
from davfusion.cache.finding import Finder
from davfusion.cache.guard import Guard
from davfusion.cache.incoming import Incoming
from davfusion.cache.index import Content, Index, SavedFile, Spot, View
from davfusion.cache.node import Node
from davfusion.store.errors import TemporaryError


class _Put(NamedTuple):
    """A complete body that is to become the content of the file at a local path."""

    path: str
    body: bytes | bytearray
    """All of it; empty where a cache file holds it."""
    file: str | None
    """The cache file that holds the body, if one does."""
    incoming: Incoming | None
    """As what the body came in, if it is to be released."""
    guard: Guard | None
    looked_up: bool
    """What is at the path was asked for before, of the store too if need be."""
    modified: float | None
    media_type: str | None


class _RefusedError(Exception):
    """A body is refused: its transaction, in which it was alone, is rolled back."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


class Putting:
    """Puts bodies into one share. Thread-safe; bodies that several processes put take turns in the index."""

    def __init__(self, index: Index, files: ContentFiles, finder: Finder, *, upload_delay: float) -> None:
        """`upload_delay`: seconds for which a change waits for further ones before it travels."""
        self._index = index
        self._files = files
        self._finder = finder
        self._upload_delay = upload_delay
        self._begin_together = index.together(self._put_all)

    def begin(self, path: str, incoming: Incoming, *, guard: Guard | None, modified: float | None,
              media_type: str | None) -> Callable[[], tuple[Node, bool]]:
        """Begin to put a body; it is done, and raises, when what is returned is called, once, by any thread.

        That returns the node of the file and whether it is new; it raises NoParentError, WrongKindError when a folder
        is there, and what the guard raises. The body is not the caller's any more.
        """
        file = self._files.publish(incoming) if incoming.in_memory is None else None
        put = _Put(path, incoming.in_memory or b"", file, incoming, guard, True, modified, media_type)
        if file is None:
            return partial(self._finish, put, self._begin_together(put))
        # It has flushed its file and may as well wait for others that did: `write` gathers them.
        return partial(self._finish, put, partial(self._commit_file, put, file))

    def begin_small(self, path: str, body: bytes, *, guard: Guard, modified: float | None,
                    media_type: str | None) -> Callable[[], tuple[Node, bool]]:
        """As `begin`, with a body that may lie in the index, to a path that was not looked up.

        The guard must ask for nothing but locks. What is returned raises UnsettledError where what is known does not
        tell that the path is a file's.
        """
        put = _Put(path, body, None, None, guard, False, modified, media_type)
        return partial(self._finish, put, self._begin_together(put))

    def _finish(self, put: _Put, committed: Callable[[], SavedFile]) -> tuple[Node, bool]:
        saved = committed()
        if put.incoming is not None:
            put.incoming.release()
        return self._index.saved(put.path, saved), saved.is_new

    def _commit_file(self, put: _Put, file: str) -> SavedFile:
        """Removes the cache file where nothing was committed for certain. Else one without a row is swept later."""
        try:
            return self._index.write(partial(self._put_alone, put))
        except _RefusedError as refused:
            self._files.remove(file)
            raise refused.reason from None
        except (CacheFullError, TemporaryError):
            self._files.remove(file)
            raise

    # -- inside the transaction -------------------------------------------------------------------

    def _put_alone(self, put: _Put, view: View) -> SavedFile:
        outcome, = self._put_all(view, [put])
        if isinstance(outcome, Exception):
            raise _RefusedError(outcome)
        return outcome

    def _put_all(self, view: View, puts: Sequence[_Put]) -> list[SavedFile | Exception]:
        outcomes: list[SavedFile | Exception] = []
        for run in _runs(puts):
            outcomes += self._put_run(view, run)
        return outcomes

    def _put_run(self, view: View, run: Sequence[_Put]) -> list[SavedFile | Exception]:
        """Put what does not concern each other: all is asked first, then all is written."""
        spots = view.nodes.spots([put.path for put in run])
        folders = {spot.above[-1].id: spot.above for spot in spots}
        settled = {folder for folder, above in folders.items() if self._finder.settles(above)}
        locked = view.anything_locked()
        refusals = [_refusal(view, put, spot, put.looked_up or (spot.complete and spot.above[-1].id in settled),
                             put.guard if put.looked_up or locked else None)
                    for put, spot in zip(run, spots, strict=True)]
        admitted = [(put, spot) for put, spot, refusal in zip(run, spots, refusals, strict=True) if refusal is None]
        now = view.now()
        contents = _insert(view, [put for put, _ in admitted], now)
        saves = [tree.Save(spot, content, now if put.modified is None else put.modified, put.media_type)
                 for (put, spot), content in zip(admitted, contents, strict=True)]
        saved = iter(tree.put_files(view, saves, due=now + self._upload_delay))
        return [next(saved) if refusal is None else refusal for refusal in refusals]


def _refusal(view: View, put: _Put, spot: Spot, is_settled: bool, guard: Guard | None) -> Exception | None:
    """Why a body may not become the content of the file at a place; `is_settled`: it is known what is there."""
    try:
        if not is_settled or (not put.looked_up and _is_folder(put.path, spot)):
            raise UnsettledError("It is not known what is here", put.path)
        if guard is not None:
            guard(view)
        tree.check_file_place(put.path, spot)
    except sqlite3.Error:
        raise
    except Exception as refusal:
        return refusal
    return None


def _is_folder(path: str, spot: Spot) -> bool:
    return path == "/" or (spot.standing is not None and spot.standing.is_folder)


def _runs(puts: Sequence[_Put]) -> Iterator[Sequence[_Put]]:
    """Puts in their order, split so that none has to see what another one of its run does.

    Two to one path are apart. One that was looked up is alone: its guard may ask for any file.
    """
    if len({put.path for put in puts if not put.looked_up}) == len(puts):
        yield puts
        return
    run: list[_Put] = []
    paths: set[str] = set()
    for put in puts:
        if run and (put.looked_up or run[-1].looked_up or put.path in paths):
            yield run
            run, paths = [], set()
        run.append(put)
        paths.add(put.path)
    if run:
        yield run


def _insert(view: View, puts: Sequence[_Put], now: float) -> list[Content]:
    """Contents of the bodies: in the index when they are in memory, else in their cache files."""
    small = iter(view.contents.receive_small([put.body for put in puts if put.file is None], now))
    return [next(small) if put.incoming is None or put.file is None else view.contents.receive_file(
        put.incoming.size, put.file, now, flushed=put.incoming.checksum is None, checksum=put.incoming.checksum)
        for put in puts]
