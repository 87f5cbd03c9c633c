"""The users file on the disk: read again when it changed, replaced in one step by any of several processes."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from davfusion.accounts.errors import UsersFileError
from davfusion.accounts.users import MalformedUsersError, Users, from_text, to_text
from davfusion.file_lock import try_lock

log = logging.getLogger("davfusion.accounts")

_RACY = 2.0
"""Seconds during which a file may change again without a new time: the coarsest of usual file systems."""
_LOCK_PATIENCE = 10.0
_LOCK_RETRY = 0.02

_Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a file held; `stamp` is None as long as the same stamp could still come to stand for other bytes."""

    users: Users
    data: bytes
    stamp: _Stamp | None


class UsersFile:
    """The users as the file tells them now. Thread-safe."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        """`now` is in seconds since the epoch, as the file system counts."""
        self.path = path
        self._name = os.fspath(path)
        self._now = now
        self._loading = threading.Lock()
        self._loaded: _Loaded | None = None

    def current(self) -> Users:
        """The users of this moment: the same object as long as the file did not change. Raises UsersFileError.

        Costs one `stat` when nothing changed.
        """
        loaded = self._loaded
        try:
            if loaded is not None and loaded.stamp == _stamp(os.stat(self._name)):  # noqa: PTH116  # the fastest
                return loaded.users
        except OSError as error:
            raise _unreadable(self.path, error) from error
        with self._loading:
            self._loaded = self._load(self._loaded)
            return self._loaded.users

    def _load(self, before: _Loaded | None) -> _Loaded:
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                # asked before the bytes are read: what changes them later gets a later time
                settled = self._now() - max(status.st_mtime, status.st_ctime) > _RACY
                data = file.read()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        stamp = _stamp(status) if settled else None
        if before is not None and before.data == data:
            return _Loaded(before.users, data, stamp)
        users = _parsed(self.path, data)
        if os.name == "posix" and status.st_mode & stat.S_IRWXO:
            log.warning("users file open to everybody on this computer", extra={"file": str(self.path)})
        if before is not None:
            log.info("users file read again", extra={"file": str(self.path), "users": len(users)})
        return _Loaded(users, data, stamp)


def change(path: Path, edit: Callable[[Users], Users], *, create: bool = False) -> Users:
    """Replace the users by what `edit` makes of them: durably, in one step, one process at a time; returns that.

    Only with `create` may the file be missing. A new file can be read by its owner only; an old one keeps its owner,
    and its group's right to read it. Raises UsersFileError, and whatever `edit` raises; the file is untouched then.
    """
    # A link stays a link: what it points to is replaced.
    path = Path(os.path.realpath(path))
    with _locked(path):
        try:
            status: os.stat_result | None = path.stat()
            users = _parsed(path, path.read_bytes())
        except FileNotFoundError as error:
            if not create:
                raise _unreadable(path, error) from error
            status, users = None, Users()
        except OSError as error:
            raise _unreadable(path, error) from error
        changed = edit(users)
        try:
            _replace(path, to_text(changed).encode("utf-8"), status)
        except OSError as error:
            raise UsersFileError(f"The users file {path} cannot be written: {error.strerror}.") from error
        return changed


def _replace(path: Path, data: bytes, status: os.stat_result | None) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if status is not None:
                _keep_owner(file.fileno(), status)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _keep_owner(descriptor: int, status: os.stat_result) -> None:
    """The server often runs as somebody else than the administrator who adds a user, and must go on reading."""
    if sys.platform == "win32":
        return
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, 0o600 | (status.st_mode & stat.S_IRGRP))


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parsed(path: Path, data: bytes) -> Users:
    try:
        return from_text(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsersFileError(f"The users file {path} is not UTF-8 text.") from error
    except MalformedUsersError as error:
        raise UsersFileError(f"The users file {path} cannot be used: {error}. Correct the line, or remove it and "
                             "add the user again.") from error


def _unreadable(path: Path, error: OSError) -> UsersFileError:
    remedy = "Add a user with `davfusion user add`." if isinstance(error, FileNotFoundError) else \
        "It must be readable for whoever runs davfusion."
    return UsersFileError(f"The users file {path} cannot be read: {error.strerror}. {remedy}")


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The right to change the file, beside which lies what the lock is on."""
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsersFileError(f"{path}.lock cannot be written: {error.strerror}.") from error
    try:
        deadline = time.monotonic() + _LOCK_PATIENCE
        while not try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise UsersFileError(f"Another process is changing {path}. Try again when it is done.")
            time.sleep(_LOCK_RETRY)
        yield
    finally:
        os.close(descriptor)
