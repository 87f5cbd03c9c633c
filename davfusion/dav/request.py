"""A request as the methods see it, and the answer that they give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from davfusion.accounts.rights import Principal
from davfusion.cache.node import Node
from davfusion.cache.share import Share
from davfusion.dav.destination import Origin, url_path
from davfusion.dav.errors import HttpError
from davfusion.dav.hot_files import HotFiles
from davfusion.dav.href import from_wsgi, href, xml_href
from davfusion.dav.mounts import Location, Mounts, spelled_path, spelled_place
from davfusion.dav.rendered import Rendered
from davfusion.store.errors import StoreError

Environ = Mapping[str, Any]

_STATUS_LINES = {each.value: f"{each.value} {each.phrase}" for each in HTTPStatus}


Authenticate = Callable[[Environ], Principal | None]
"""Tells who sent a request; None asks the client to sign in. May raise SignInError."""


ANYBODY = Principal("anonymous")


def anonymous(environ: Environ) -> Principal:
    """Everyone is the same person and may do everything."""
    del environ
    return ANYBODY


@dataclass(frozen=True, slots=True)
class DavSettings:
    """What can be chosen about WebDAV. Times in seconds."""

    lock_timeout: float = 600.0
    """Granted when the client names no time."""
    lock_timeout_max: float = 3600.0
    """The longest that is granted; clients refresh."""
    infinite_depth_limit: int = 20_000
    """The most resources below a folder that one PROPFIND of infinite depth lists; 0 refuses them all."""
    any_destination_host: bool = False
    """Behind a proxy that changes scheme or host: compare only the path of Destination and If."""
    realm: str = "davfusion"
    """Named to people who must sign in."""


@dataclass(slots=True)
class Request:
    """One request to a share. Nobody changes it; it is not frozen because a frozen one takes thrice as long to make.

    `path` and `node` are there once `look_up` was called.
    """

    environ: Environ
    method: str
    share: Share
    location: Location
    principal: Principal
    mounts: Mounts
    settings: DavSettings
    rendered: Rendered
    """Answers about this share that may still be true."""
    files: HotFiles
    """Files of this share that are at hand."""
    path: str = field(init=False)
    """The local path as the share spells it."""
    node: Node | None = field(init=False)
    """What is there; None: certainly nothing."""

    def look_up(self) -> None:
        """Find what the URL names. Raises StoreError when the store had to be asked."""
        location = self.location
        look_up = spelled_place if self.method in ("PUT", "MKCOL") else spelled_path
        try:
            self.path, self.node = look_up(location.share, location.path)
        except StoreError:
            if self.method != "OPTIONS":
                raise
            # What the server can do does not depend on a store that is away.
            self.path, self.node = location.path, None

    def header(self, name: str) -> str | None:
        """A header by its WSGI name without `HTTP_`, or None."""
        value: str | None = self.environ.get("HTTP_" + name)
        return value

    @property
    def read_only(self) -> bool:
        """Whether this person may change nothing in this share."""
        return self.share.read_only or not self.principal.may(self.share.name, write=True)

    def locate(self, raw_url: str) -> Location | None:
        """The place that a URL in a header names; None where it is on this server but in no share.

        Raises BadPathError, ForeignURLError.
        """
        origin = Origin.from_environ(self.environ)
        path = url_path(raw_url, origin, any_origin=self.settings.any_destination_host)
        script_name = script_path(self.environ)
        if script_name and not (path + "/").startswith(script_name + "/"):
            return None
        return self.mounts.locate(path[len(script_name):] or "/", script_name)

    def spelled(self, location: Location) -> tuple[str, Node | None]:
        """The local path of a destination as its share spells it, and what is there."""
        return spelled_place(location.share, location.path)

    def href(self, node: Node) -> str:
        """The URL path of a node of this share, as for a header."""
        return href(self.location.prefix, node.path, is_folder=node.is_folder)

    def xml_href(self, path: str, *, is_folder: bool) -> str:
        """The URL path of a local path of this share, as for XML."""
        return xml_href(self.location.prefix, path, is_folder=is_folder)

    def existing(self) -> Node:
        """What is at the path. Raises HttpError 404."""
        if self.node is None:
            raise HttpError(404, "Nothing is here")
        return self.node

    def depth(self, *, default: str, allowed: tuple[str, ...]) -> str:
        """The Depth header in lower case. Raises HttpError 400 for a value that is not allowed."""
        value = (self.header("DEPTH") or default).strip().lower()
        if value not in allowed:
            raise HttpError(400, f"Depth must be one of: {', '.join(allowed)}")
        return value


def script_path(environ: Environ) -> str:
    """The decoded URL path below which the application lies, without `/` at the end. Raises BadPathError."""
    name: str = environ.get("SCRIPT_NAME", "")
    return from_wsgi(name).rstrip("/") if name else name


@dataclass(slots=True)
class Response:
    """An answer; `body` is ignored by the server for HEAD, 204 and 304."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: Iterable[bytes] = ()

    @property
    def status_line(self) -> str:
        """As WSGI wants it."""
        return _STATUS_LINES[self.status]


@dataclass(slots=True)
class Pending:
    """An answer that is known when something ends that was begun."""

    finish: Callable[[], Response]
    """To be called once, by any thread; waits for it. Raises as a method does."""


def empty(status: int, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """An answer without a body."""
    given = list(headers)
    return Response(status, given if status in (204, 304) else [*given, ("Content-Length", "0")])


def document(status: int, body: bytes, media_type: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """An answer whose body is at hand."""
    return Response(status, [*headers, ("Content-Type", media_type), ("Content-Length", str(len(body)))], [body])


def xml_document(status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """An answer in XML."""
    return document(status, body, "application/xml; charset=utf-8", headers)
