"""What is read by a server that knows nothing but the store."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.benchmarks.cloud.client import get_files, list_folder, make_folders, put_files
from tests.benchmarks.cloud.mounts import Mount
from tests.benchmarks.cloud.tree import Tree
from tests.benchmarks.data import Scale
from tests.benchmarks.site import Task
from tests.benchmarks.wire import AnswerError
from tests.benchmarks.work import Outcome


def read(mount: Mount, scale: Scale) -> Iterator[Task]:
    """All files of a folder, one after the other on one connection."""
    tree = _stored(mount, scale)
    paths = tree.paths()

    def measure() -> Outcome:
        began = time.monotonic()
        get_files(mount.url, tree, paths)
        return Outcome(len(paths), time.monotonic() - began)

    while True:
        mount.restart_cold()
        yield Task(measure)


def listing(mount: Mount, scale: Scale) -> Iterator[Task]:
    """The folder with one PROPFIND of Depth 1."""
    tree = _stored(mount, scale)

    def measure() -> Outcome:
        began = time.monotonic()
        found = list_folder(mount.url, tree.folder_paths()[0])
        outcome = Outcome(1, time.monotonic() - began)
        if found != dict.fromkeys(tree.paths(), str(tree.size)):
            raise AnswerError(f"{len(found)} files, or other ones, instead of {scale.cold}")
        return outcome

    while True:
        mount.restart_cold()
        yield Task(measure)


def _stored(mount: Mount, scale: Scale) -> Tree:
    tree = Tree("/cold", 1, scale.cold)
    make_folders(mount.url, tree)
    put_files(mount.url, tree, 4)
    mount.settle(tree)
    return tree
