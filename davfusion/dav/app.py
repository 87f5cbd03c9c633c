"""The WSGI application: which share, who asks, which method, and one border for errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from wsgiref.types import StartResponse

from wsgidav.wsgidav_app import WsgiDAVApp

from davfusion.accounts.rights import Principal
from davfusion.cache.share import Share
from davfusion.dav import xml
from davfusion.dav.errors import HttpError, http_error
from davfusion.dav.hot_files import HotFiles
from davfusion.dav.href import decode, from_wsgi
from davfusion.dav.lock_storage import ShareLockStorage
from davfusion.dav.mounts import Location, Mounts
from davfusion.dav.options import dav_headers
from davfusion.dav.provider import ShareProvider
from davfusion.dav.rendered import Rendered
from davfusion.dav.request import (
    Authenticate,
    DavSettings,
    Pending,
    Request,
    Response,
    anonymous,
    document,
    empty,
    script_path,
    xml_document,
)
from davfusion.dav.request_server import ShareRequestServer
from davfusion.dav.shares_root import SharesRoot

log = logging.getLogger(__name__)
access_log = logging.getLogger("davfusion.access")

_SECURITY = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"), ("X-Frame-Options", "DENY")]
_ALL_METHODS = "OPTIONS, GET, HEAD, PROPFIND, PUT, DELETE, MKCOL, COPY, MOVE, PROPPATCH, LOCK, UNLOCK"


class DavFusionApp(WsgiDAVApp):  # type: ignore[misc]  # WsgiDAV has no types
    """A WsgiDAV application that answers by plain functions instead of its middleware stack.

    Runs under any WSGI server. Thread-safe.
    """

    def __init__(self, shares: Mapping[str, Share], *, settings: DavSettings | None = None,
                 authenticate: Authenticate = anonymous) -> None:
        """`shares` by their place: `/` for a single one, else `/name`. Raises ValueError for other places."""
        self.mounts = Mounts(shares)
        self.settings = settings or DavSettings()
        self._authenticate = authenticate
        self._root = SharesRoot(self.mounts.shares)
        self._rendered = {place: Rendered(share)
                          for place, share in self.mounts.shares.items()}
        self._files = {place: HotFiles(share) for place, share in self.mounts.shares.items()}
        super().__init__(wsgidav_config(
            self.mounts.shares, middleware_stack=[], http_authenticator={"accept_basic": False}))
        self._servers = {
            place: ShareRequestServer(provider) for place, provider in self.provider_map.items()}

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """WSGI. Errors become statuses; only what fails after the head was sent is raised to the server."""
        if access_log.isEnabledFor(logging.INFO):
            start_response = _Logged(environ, start_response)
        try:
            response = self._answer(environ)
        except Exception as error:
            response = _error_response(environ, error)
        if isinstance(response, Pending):
            return LateAnswer(environ, start_response, response)
        start_response(response.status_line, [*response.headers, *_SECURITY])
        return () if environ["REQUEST_METHOD"] == "HEAD" else response.body

    def _answer(self, environ: dict[str, Any]) -> Response | Pending:
        principal = self._sign_in(environ)
        environ["REMOTE_USER"] = principal.name
        location = None
        if environ["REQUEST_METHOD"] != "OPTIONS" or environ.get("PATH_INFO") != "*":
            location = self.mounts.locate(_decoded_path(environ), script_path(environ))
        if location is None:
            return self._outside_shares(environ, principal)
        if not principal.may(location.share.name, write=False):
            raise HttpError(403, "You have no rights on this share")
        return self._servers[location.place].answer(self._request(environ, location, principal))

    def _sign_in(self, environ: dict[str, Any]) -> Principal:
        principal = self._authenticate(environ)
        if principal is None:
            raise HttpError(401, "Please sign in", headers=[
                ("WWW-Authenticate", f'Basic realm="{self.settings.realm}", charset="UTF-8"')])
        return principal

    def _outside_shares(self, environ: dict[str, Any], principal: Principal) -> Response:
        if environ["REQUEST_METHOD"] == "OPTIONS" and environ.get("PATH_INFO") == "*":
            return empty(200, [("Allow", _ALL_METHODS), *dav_headers(read_only=False)])
        if environ.get("PATH_INFO", "").strip("/"):
            raise HttpError(404, "No share has this name")
        return self._root.answer(environ, principal)

    def _request(self, environ: dict[str, Any], location: Location, principal: Principal) -> Request:
        method: str = environ["REQUEST_METHOD"]
        request = Request(environ, method, location.share, location, principal, self.mounts, self.settings,
                          self._rendered[location.place], self._files[location.place])
        if method != "PUT":  # which does so itself if it has to
            request.look_up()
        return request


class LateAnswer:
    """The result of a call of the application whose answer is pending; `start_response` is called with the first block.

    PEP 3333 allows that to every application. A server that has other things to do may do them first: it knows by
    `is_late` that the first block is waited for, and may ask for it in another thread. Several that are begun before
    the first of them is asked for share what is slow, the flush of the index. Used once.
    """

    is_late = True

    def __init__(self, environ: Mapping[str, Any], start_response: StartResponse, pending: Pending) -> None:
        self._environ = environ
        self._start_response = start_response
        self._pending: Pending | None = pending

    def __iter__(self) -> Iterator[bytes]:
        response = self._finish()
        self._start_response(response.status_line, [*response.headers, *_SECURITY])
        return iter(response.body)

    def close(self) -> None:
        """Nobody asks for the answer any more: what was begun ends all the same."""
        if self._pending is not None:
            self._finish()

    def _finish(self) -> Response:
        pending, self._pending = self._pending, None
        try:
            if pending is None:
                raise RuntimeError("the answer was asked for twice")
            return pending.finish()
        except Exception as error:
            return _error_response(self._environ, error)


class _Logged:
    """A `start_response` that writes the line of the access log."""

    def __init__(self, environ: Mapping[str, Any], start_response: StartResponse) -> None:
        self._environ = environ
        self._start_response = start_response
        self._began = time.monotonic()

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        environ = self._environ
        access_log.info("request", extra={
            "method": environ["REQUEST_METHOD"], "path": environ.get("PATH_INFO", ""), "status": int(status[:3]),
            "seconds": round(time.monotonic() - self._began, 4), "client": environ.get("REMOTE_ADDR", ""),
            "user": environ.get("REMOTE_USER", "")})
        return self._start_response(status, headers, exc_info)


def wsgidav_config(shares: Mapping[str, Share], **options: Any) -> dict[str, Any]:
    """The configuration under which WsgiDAV's own application serves these shares, locks and properties included."""
    return {
        "provider_mapping": {place: ShareProvider(share) for place, share in shares.items()},
        "lock_storage": ShareLockStorage(shares),
        "logging": {"enable": False},
        "verbose": 1,
        **options,
    }


def _decoded_path(environ: Mapping[str, Any]) -> str:
    if environ["REQUEST_METHOD"] == "OPTIONS":
        raw: str = environ.get("REQUEST_URI", "")
        # cheroot leaves the path of OPTIONS as it came.
        if raw.startswith("/") and not environ.get("SCRIPT_NAME"):
            return decode(raw.partition("?")[0])
    return from_wsgi(environ.get("PATH_INFO", "")) or "/"


def _error_response(environ: Mapping[str, Any], error: Exception) -> Response:
    failure = http_error(error)
    if failure.status == 500:
        log.error("request failed", exc_info=error, extra={
            "method": environ["REQUEST_METHOD"], "path": environ.get("PATH_INFO", "")})
    headers = [*failure.headers, *([("Connection", "close")] if failure.close else [])]
    if failure.status in (204, 304):
        return empty(failure.status, headers)
    if failure.condition is not None:
        return xml_document(failure.status, xml.error_document(failure.condition), headers)
    return document(failure.status, (failure.message + "\n").encode("utf-8", "replace"),
                    "text/plain; charset=utf-8", headers)
