"""OPTIONS (RFC 9110, 9.3.7; RFC 4918, 10.1): what can be done here."""

from __future__ import annotations

from davfusion.dav.request import Request, Response, empty

_READING = ["GET", "HEAD", "PROPFIND"]
_CHANGING = ["DELETE", "COPY", "MOVE", "PROPPATCH", "LOCK", "UNLOCK"]
_CREATING = ["PUT", "MKCOL", "LOCK"]


def options(request: Request) -> Response:
    """200 on any URL, mapped or not: clients ask before they create."""
    headers = [allow(request), *dav_headers(read_only=request.read_only)]
    return empty(200, [*headers, ("Accept-Ranges", "bytes")])


def allow(request: Request) -> tuple[str, str]:
    """The Allow header for the request's URL as it is now."""
    methods = ["OPTIONS"]
    if request.node is not None:
        methods += _READING
    if not request.read_only and request.node is None:
        methods += _CREATING
    elif not request.read_only and request.node is not None:
        methods += _CHANGING if request.node.is_folder else ["PUT", *_CHANGING]
    return "Allow", ", ".join(methods)


def dav_headers(*, read_only: bool) -> list[tuple[str, str]]:
    """The compliance classes; Office and Windows look for MS-Author-Via."""
    return [("DAV", "1, 3" if read_only else "1, 2, 3"), ("MS-Author-Via", "DAV")]
