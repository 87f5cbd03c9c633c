"""URLs that arrive inside headers: Destination, and the resource tags of If (RFC 4918, 10.3 and 8.3). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from davfusion.dav.href import BadPathError, decode

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class ForeignURLError(ValueError):
    """The URL names another server; to be answered with 502 where it is a Destination."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The scheme and host that the client used for this server, in lower case, default port left out."""

    scheme: str
    host: str

    @classmethod
    def of(cls, scheme: str, host: str) -> Origin:
        """The origin, normalised."""
        scheme, host = scheme.lower(), host.strip().lower()
        return cls(scheme, host.removesuffix(_DEFAULT_PORTS.get(scheme, "")))

    @classmethod
    def from_environ(cls, environ: Mapping[str, Any]) -> Origin:
        """The origin of a WSGI request."""
        host = environ.get("HTTP_HOST") or f"{environ.get('SERVER_NAME', '')}:{environ.get('SERVER_PORT', '')}"
        return cls.of(environ["wsgi.url_scheme"], host)


def url_path(raw: str, origin: Origin, *, any_origin: bool = False) -> str:
    """The decoded path of an absolute URI or of a path-absolute, as it came, `/` at its end included.

    The raw text is taken apart before it is decoded, once, so that `%3F`, `%23` and `;` stay part of the name.
    `any_origin` compares the path only: for servers behind a proxy that changes scheme or host. Raises
    ForeignURLError; BadPathError also for an unescaped `?` or `#`, because to cut the name there could overwrite
    another file.
    """
    text = raw.strip()
    try:
        parts = urlsplit(text)
    except ValueError:
        raise BadPathError("The URL is malformed") from None
    if "?" in text or "#" in text:
        raise BadPathError("The URL has an unescaped ? or #")
    if not parts.path.startswith("/") and not (parts.netloc and not parts.path):
        raise BadPathError("The URL is neither absolute nor an absolute path")
    if parts.netloc and not any_origin:
        theirs = Origin.of(parts.scheme or origin.scheme, parts.netloc.rpartition("@")[2])
        if theirs != origin:
            raise ForeignURLError(f"{theirs.scheme}://{theirs.host} is not this server")
    return decode(parts.path or "/")
