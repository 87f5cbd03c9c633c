"""OPTIONS (RFC 9110, 9.3.7; RFC 4918, 10.1): what can be done here."""

from __future__ import annotations

from davfusion.dav.request import Request, Response, empty
from davfusion.dav.tree_methods import allowed_on_existing


def options(request: Request) -> Response:
    """200 on any URL, mapped or not: clients ask before they create."""
    headers = [("Allow", allowed_on_existing(request)), *dav_headers(read_only=request.read_only)]
    return empty(200, [*headers, ("Accept-Ranges", "bytes")])


def dav_headers(*, read_only: bool) -> list[tuple[str, str]]:
    """The compliance classes; Office and Windows look for MS-Author-Via."""
    return [("DAV", "1, 3" if read_only else "1, 2, 3"), ("MS-Author-Via", "DAV")]
