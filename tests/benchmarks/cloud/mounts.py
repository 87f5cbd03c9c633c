"""The servers under test, each over a bucket of its own and behind a link of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from davfusion.cache.index import Index
from tests.benchmarks.cloud.client import expect_files, get_files
from tests.benchmarks.cloud.link import Link, far
from tests.benchmarks.cloud.tree import Tree
from tests.benchmarks.servers import COMMAND, Server, serve_davfusion, serve_rclone
from tests.benchmarks.wire import AnswerError
from tests.clients.processes import largest_resident
from tests.servers import S3Server

UPLOAD_DELAY = 1
"""Seconds, of all servers."""
PATIENCE = 900.0
"""Seconds that a server may take to carry what it has."""
_LOOK_EVERY = 0.02


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command cost."""

    seconds: float
    cpu: float
    """Seconds."""
    peak: int
    """Bytes that were resident at the worst moment."""


class Mount(ABC):
    """A server of WebDAV that can be ended and begun anew."""

    def __init__(self, s3: S3Server, bucket: str, link: Link, own: Path) -> None:
        assert s3.directory is not None
        self.link, self.own = link, own
        self._s3, self._bucket = s3, bucket
        self._objects = s3.directory / bucket
        self._serving = contextlib.ExitStack()
        self._folders = (own / str(number) for number in count())
        self._local = self._new_folder()
        """What a server keeps on this machine, and its log."""
        self.server: Server | None = None

    @property
    def running(self) -> Server:
        """The server, which must have been started."""
        assert self.server is not None
        return self.server

    @property
    def url(self) -> str:
        """Without a `/` at its end."""
        return self.running.url

    def start(self) -> None:
        """Begin to serve with what is on this machine. Raises MissingError."""
        self.server = self._serving.enter_context(self._serve())

    def stop(self) -> None:
        """End the server in order."""
        self._serving.close()
        self.server = None

    @abstractmethod
    def restart_cold(self) -> None:
        """Serve anew with nothing but what is in the store."""

    @abstractmethod
    def settle(self, *trees: Tree) -> None:
        """Return when all that was written, which is these trees, is in the store. Raises AnswerError."""

    @abstractmethod
    def expect_stored(self, tree: Tree) -> None:
        """The store holds every file as it was put; the server may be begun anew. Raises AnswerError."""

    @abstractmethod
    def _serve(self) -> contextlib.AbstractContextManager[Server]:
        ...

    def _new_folder(self) -> Path:
        folder = next(self._folders)
        folder.mkdir(parents=True)
        return folder

    def _forget(self) -> None:
        self.stop()
        shutil.rmtree(self._local)
        self._local = self._new_folder()


class DavfusionMount(Mount):
    """davfusion, chunked, power-safe."""

    def restart_cold(self) -> None:
        """As the base says; what is known of the store comes back by `davfusion recover`."""
        self._forget()
        self.recover()
        self.start()

    def recover(self) -> Ended:
        """`davfusion recover` into the state directory, which must be empty. Raises AnswerError."""
        began = time.monotonic()
        with (self._local / "recover.log").open("w+") as log:
            process = subprocess.Popen([*COMMAND, "recover", self._address, "--state", str(self._state)], stdout=log,
                                       stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **self._s3.environ})
            peak, ended = 0, False
            while not ended:
                with contextlib.suppress(OSError, KeyError):  # it has just ended
                    peak = max(peak, largest_resident(process.pid))
                time.sleep(_LOOK_EVERY)
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                ended = pid == process.pid
            seconds = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                log.seek(0)
                raise AnswerError(f"davfusion recover: {process.returncode}: {log.read()[-1000:].strip()}")
        return Ended(seconds, usage.ru_utime + usage.ru_stime, peak)

    def forget(self) -> None:
        """End the server and lose its state directory."""
        self._forget()

    def settle(self, *trees: Tree) -> None:
        """Return when no change waits any more, as `davfusion status` would say; nothing is hurried."""
        index = Index(next(self._state.glob("shares/*/index.db")))
        try:
            deadline = time.monotonic() + PATIENCE
            while (counts := index.view().nodes.count_dirty()) != (0, 0):
                if counts[1] or time.monotonic() > deadline:
                    raise AnswerError(f"{counts[0]} changes still wait, {counts[1]} are parked")
                time.sleep(_LOOK_EVERY)
        finally:
            index.close()

    def expect_stored(self, tree: Tree) -> None:
        """By a server that knows nothing but the store."""
        self.restart_cold()
        expect_files(self.url, tree)
        get_files(self.url, tree, list(tree.samples()))

    @property
    def _state(self) -> Path:
        return self._local / "state"

    @property
    def _address(self) -> str:
        return f"s3://{self._bucket}?endpoint={self.link.endpoint}"

    def _serve(self) -> contextlib.AbstractContextManager[Server]:
        options = ["--layout", "chunked", "--upload-delay", str(UPLOAD_DELAY), "--state", str(self._state)]
        return serve_davfusion("davfusion", self._address, options, self._local, self._s3.environ)


class RcloneMount(Mount):
    """rclone with a cache on the disk, as its manual advises for WebDAV."""

    OPTIONS = ("--vfs-cache-mode", "full", "--vfs-write-back", f"{UPLOAD_DELAY}s")

    def restart_cold(self) -> None:
        """As the base says."""
        self._forget()
        self.start()

    def settle(self, *trees: Tree) -> None:
        """Return when every file is in the bucket in its whole length."""
        deadline = time.monotonic() + PATIENCE
        for tree in trees:
            for path in tree.paths():
                while not self._is_stored(path, tree.size):
                    if time.monotonic() > deadline:
                        raise AnswerError(f"{path} is not in the store after {PATIENCE:.0f} s")
                    time.sleep(_LOOK_EVERY)

    def expect_stored(self, tree: Tree) -> None:
        """By the bucket itself."""
        for path in tree.paths():
            if (self._objects / path[1:]).read_bytes() != tree.content(path):
                raise AnswerError(f"{path} has other bytes in the store")

    def _is_stored(self, path: str, size: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return (self._objects / path[1:]).stat().st_size == size
        return False

    def _serve(self) -> contextlib.AbstractContextManager[Server]:
        configuration = self._local / "rclone.conf"
        configuration.write_text(
            f"[far]\ntype = s3\nprovider = Rclone\nendpoint = {self.link.endpoint}\n"
            f"access_key_id = {self._s3.access_key}\nsecret_access_key = {self._s3.secret_key}\n")
        options = ["--config", str(configuration), "--cache-dir", str(self._local / "cache"), *self.OPTIONS]
        return serve_rclone(f"far:{self._bucket}", options, self._local)


MOUNTS: dict[str, type[Mount]] = {"davfusion": DavfusionMount, "rclone": RcloneMount}


@contextlib.contextmanager
def mounted(name: str, s3: S3Server, bucket: str, folder: Path) -> Iterator[Mount]:
    """A running server over a new bucket, until the end of the block. Raises MissingError."""
    own = folder / bucket
    own.mkdir()
    s3.make_bucket(bucket)
    with far(s3.port, own) as link:
        mount = MOUNTS[name](s3, bucket, link, own)
        try:
            mount.start()
            yield mount
        finally:
            mount.stop()
    shutil.rmtree(own)
    assert s3.directory is not None
    shutil.rmtree(s3.directory / bucket)
