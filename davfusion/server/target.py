"""The request target: its forms (RFC 9112 section 3.2) and the path that it names."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from davfusion.server.errors import BadRequest

CONTROLS = bytes(range(0x20)) + b"\x7f"

_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]*)(?::[0-9]{0,5})?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SLASHES = re.compile(rb"/{2,}")


class Target(NamedTuple):
    """A request target taken apart."""

    path: str
    """Percent-decoded once, as latin-1 (PEP 3333): it starts with one slash, holds no empty, `.`
    or `..` segment and no control character, and its bytes are valid UTF-8. `*` is the server."""
    query: str
    """As sent."""
    authority: str | None
    """Host and port of an absolute-form target, which overrides the Host header."""


def parse_target(method: str, raw: str) -> Target:
    """Take a request target (latin-1 text) apart; BadRequest where it is not one."""
    if raw[:1] == "/":
        path, _, query = raw.partition("?")
        return Target(decode_path(path), query, None)
    if raw == "*":
        if method != "OPTIONS":
            raise _bad("The target * is for OPTIONS only.")
        return Target("*", "", None)
    return _absolute(raw)


def valid_authority(authority: str) -> bool:
    """Whether this can stand in a Host header: host and optional port, no user, no path."""
    return _AUTHORITY.fullmatch(authority) is not None


def decode_path(path: str) -> str:
    """The path as the application sees it; see `Target.path`."""
    plain = "%" not in path and "//" not in path and "/." not in path and "#" not in path
    if plain and path.isascii():
        return path
    if "#" in path:
        raise _bad("A request target has no #fragment; a # in a name is written %23.")
    if _BAD_ESCAPE.search(path):
        raise _bad("A percent sign in the path is not followed by two hexadecimal digits.")
    decoded = unquote_to_bytes(path.encode("latin-1"))
    if len(decoded.translate(None, CONTROLS)) != len(decoded):
        raise _bad("The path holds a control character.")
    try:
        decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad("The path is not UTF-8.") from None
    decoded = _SLASHES.sub(b"/", decoded)
    if b"/." in decoded and not {b".", b".."}.isdisjoint(decoded.split(b"/")):
        raise _bad("A path segment is . or ..; send the path that is meant.")
    return decoded.decode("latin-1")


def _absolute(raw: str) -> Target:
    scheme, separator, rest = raw.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise _bad("The request target is neither a path nor an http URL.")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if not authority or not valid_authority(authority):
        raise _bad("The host of the request target is malformed.")
    return Target(decode_path(slash + path or "/"), query, authority)


def _bad(reason: str) -> BadRequest:
    return BadRequest("400 Bad Request", reason)
