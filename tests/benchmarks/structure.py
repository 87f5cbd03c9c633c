"""MOVE and COPY, one after the other on one connection, as people do them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

from lxml import etree

from tests.benchmarks.data import MEMBERS
from tests.benchmarks.site import Site, Task
from tests.benchmarks.wire import AnswerError, Client
from tests.benchmarks.work import Ask, Outcome

_COPIES = 100
_MOST_FOLDER_COPIES = 5

Steps = Iterator[tuple[str, str, str]]
"""Methods, sources and destinations."""


def move_file(site: Site) -> Task:
    """There and back again."""
    return Task(lambda: _timed(site, _there_and_back("/moved.bin", "/moved-again.bin"), group=2))


def move_folder(site: Site) -> Task:
    """The folder with a thousand files, there and back again."""
    return Task(lambda: _timed(site, _there_and_back("/members/", "/members-moved/"), group=2),
                lambda: _expect_members(site, "/members/"))


def copy_file(site: Site) -> Task:
    """To a hundred names in turn."""
    steps = (("COPY", "/moved.bin", f"/put/copy-{number % _COPIES:02}.bin") for number in count())
    return Task(lambda: _timed(site, steps))


def copy_folder(site: Site) -> Task:
    """The folder with a thousand files, to a new name each time; the copies are deleted afterwards."""
    _expect_members(site, "/members/")
    made: list[str] = []

    def steps() -> Steps:
        for number in range(_MOST_FOLDER_COPIES):
            made.append(f"/put/members-{number}/")
            yield "COPY", "/members/", made[-1]

    def check() -> None:
        for folder in made:
            _expect_members(site, folder)
            site.look(Ask("DELETE", folder), 200, 204)
        site.server.settle()
    return Task(lambda: _timed(site, steps()), check)


def _there_and_back(one: str, other: str) -> Steps:
    while True:
        yield "MOVE", one, other
        yield "MOVE", other, one


def _timed(site: Site, steps: Steps, *, group: int = 1) -> Outcome:
    """Steps until the time is over, in whole groups."""
    outcome = Outcome()
    with Client(site.url) as client:
        began = time.monotonic()
        for method, source, target in steps:
            ask = Ask(method, source, (("Destination", site.url + target), ("Overwrite", "T")))
            client.send(ask.wire(client.host))
            status, _ = client.receive()
            if status not in (201, 204):
                raise AnswerError(f"{method} {source}: {status}")
            outcome.operations += 1
            outcome.seconds = time.monotonic() - began
            if outcome.seconds >= site.seconds and outcome.operations % group == 0:
                break
    return outcome


def _expect_members(site: Site, folder: str) -> None:
    body = site.look(Ask("PROPFIND", folder, (("Depth", "1"),)), 207)
    found = sum(1 for _ in etree.fromstring(body).iter("{DAV:}response")) - 1
    if found != MEMBERS:
        raise AnswerError(f"{folder} shows {found} files instead of {MEMBERS}")
