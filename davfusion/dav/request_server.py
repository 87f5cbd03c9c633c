"""The methods of WebDAV for one share: WsgiDAV's RequestServer with every method replaced by ours."""

from __future__ import annotations

from collections.abc import Callable

from wsgidav.request_server import RequestServer

from davfusion.dav.errors import HttpError
from davfusion.dav.get import get
from davfusion.dav.locking import lock, unlock
from davfusion.dav.options import allow, options
from davfusion.dav.propfind import propfind
from davfusion.dav.proppatch import proppatch
from davfusion.dav.put import put
from davfusion.dav.request import Pending, Request, Response
from davfusion.dav.tree_methods import copy, delete, mkcol, move

Method = Callable[[Request], Response | Pending]

READ_METHODS: dict[str, Method] = {"OPTIONS": options, "GET": get, "HEAD": get, "PROPFIND": propfind}
WRITE_METHODS: dict[str, Method] = {
    "PUT": put, "DELETE": delete, "MKCOL": mkcol, "COPY": copy, "MOVE": move, "PROPPATCH": proppatch,
    "LOCK": lock, "UNLOCK": unlock,
}
_REFUSED = ("POST", "PATCH", "TRACE", "CONNECT")


class ShareRequestServer(RequestServer):  # type: ignore[misc]  # WsgiDAV has no types
    """Plain functions in place of WsgiDAV's generators; DavFusionApp calls `answer`, nobody calls the object itself.

    Thread-safe: holds nothing of a request.
    """

    def answer(self, request: Request) -> Response | Pending:
        """The answer of the method. Raises HttpError 403, 405 and 501, and whatever the method raises."""
        method = READ_METHODS.get(request.method)
        if method is not None:
            return method(request)
        method = WRITE_METHODS.get(request.method)
        if method is None and request.method in _REFUSED:
            raise HttpError(405, "This method is not for files", headers=[allow(request)])
        if method is None:
            raise HttpError(501, "This method is unknown here")
        if request.read_only:
            raise HttpError(403, "This share can only be read")
        return method(request)
