"""A large folder gets another name, and a copy.

The time is that of the request; the traffic is counted until the change is in the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

from tests.benchmarks.cloud.client import exchange, list_folder, make_folders, put_files
from tests.benchmarks.cloud.mounts import Mount
from tests.benchmarks.cloud.saves import CONNECTIONS
from tests.benchmarks.cloud.tree import Tree
from tests.benchmarks.data import Scale
from tests.benchmarks.site import Task
from tests.benchmarks.wire import AnswerError, Client
from tests.benchmarks.work import Ask, Outcome


def move(mount: Mount, scale: Scale) -> Iterator[Task]:
    """MOVE, to a new name each time."""
    source = _stored(mount, scale)
    for number in count():
        target = f"/moved-{number}"
        yield _task(mount, scale, "MOVE", source, target)
        source = target


def copy(mount: Mount, scale: Scale) -> Iterator[Task]:
    """COPY, to a new name each time."""
    source = _stored(mount, scale)
    for number in count():
        yield _task(mount, scale, "COPY", source, f"/copied-{number}")


def _task(mount: Mount, scale: Scale, method: str, source: str, target: str) -> Task:
    ask = Ask(method, source + "/", (("Destination", f"{mount.url}{target}/"), ("Overwrite", "F")))

    def measure() -> Outcome:
        with Client(mount.url) as client:
            began = time.monotonic()
            exchange(client, ask, 201)
            outcome = Outcome(1, time.monotonic() - began)
        mount.settle()
        return outcome

    def check() -> None:
        found = len(list_folder(mount.url, target))
        if found != scale.moved:
            raise AnswerError(f"{target} shows {found} files instead of {scale.moved}")

    return Task(measure, check)


def _stored(mount: Mount, scale: Scale) -> str:
    tree = Tree("/members", 1, scale.moved)
    make_folders(mount.url, tree)
    put_files(mount.url, tree, CONNECTIONS)
    mount.settle(tree)
    return tree.folder_paths()[0]
