"""Listings of folders."""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from tests.benchmarks.site import Site, Task
from tests.benchmarks.wire import AnswerError
from tests.benchmarks.work import Ask, Work

BODY = (b'<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/>'
         b"<D:getcontentlength/><D:getlastmodified/><D:getetag/></D:prop></D:propfind>")
"""What drives ask for and every server has at hand: Apache opens a database per file for any other."""


def propfind(count: int, connections: int) -> Callable[[Site], Task]:
    """PROPFIND, Depth 1, of a folder with so many files."""
    ask = Ask("PROPFIND", f"/listed/{count}/", (("Depth", "1"), ("Content-Type", "application/xml")), BODY)

    def prepare(site: Site) -> Task:
        body = site.look(ask, 207)
        responses = sum(1 for _ in etree.fromstring(body).iter("{DAV:}response"))
        sizes = [element.text for element in etree.fromstring(body).iter("{DAV:}getcontentlength")]
        if responses != count + 1 or sizes.count("16") != count:
            raise AnswerError(f"{responses} responses with {sizes.count('16')} right sizes for {count} files")
        drive = site.exact if connections == 1 else site.drive
        work = Work((ask,), frozenset((207,)), len(body), connections)
        return Task(lambda: drive(site.url, work, site.seconds))
    return prepare
