"""The head of a request: request line, headers and what they say about the body (RFC 9112).

Everything that two HTTP implementations could understand differently is refused, never repaired.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from davfusion.server.errors import BadRequest
from davfusion.server.recent import Recent
from davfusion.server.settings import ServerSettings
from davfusion.server.target import CONTROLS, parse_target, valid_authority

_CONTROL = frozenset(CONTROLS.decode("latin-1"))
_CONTROLS_BUT_TAB = CONTROLS.replace(b"\t", b"")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_VERSION = re.compile(r"HTTP/([0-9])\.([0-9])")
_DIGITS = re.compile(r"[0-9]{1,18}")
_MAX_KNOWN_NAMES = 1024
_MAX_KNOWN_LENGTH = 64
_KEPT = 256
"""Heads, and blocks of fields, that are kept at hand: clients send the same ones again and again."""
_LONGEST_KEPT = 1024
"""Bytes of a head that is kept, or of a block of fields."""
_CREDENTIALS = frozenset(("HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_PROXY_AUTHORIZATION"))

# Joining repeated fields with a comma (RFC 9110 section 5.3) would change what these say.
_ONCE = frozenset(
    (
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "HTTP_HOST",
        "HTTP_AUTHORIZATION",
        "HTTP_CONTENT_RANGE",
        "HTTP_DEPTH",
        "HTTP_DESTINATION",
        "HTTP_IF",
        "HTTP_IF_MODIFIED_SINCE",
        "HTTP_IF_RANGE",
        "HTTP_IF_UNMODIFIED_SINCE",
        "HTTP_LOCK_TOKEN",
        "HTTP_OC_TOTAL_LENGTH",
        "HTTP_ORIGIN",
        "HTTP_OVERWRITE",
        "HTTP_RANGE",
        "HTTP_X_EXPECTED_ENTITY_LENGTH",
        "HTTP_X_OC_MTIME",
    )
)


@dataclass(frozen=True, slots=True)
class Fields:
    """The header lines of a request and what they say. Clients tend to send the same ones again and again."""

    block: bytes | None
    """As they were sent; None where the request line overrides one of them."""
    http11: bool
    headers: dict[str, str]
    """By environ key: `HTTP_HOST`, `CONTENT_LENGTH`, latin-1 as PEP 3333 wants it. Names with an
    underscore are left out: they would look like their hyphenated twin. Not to be changed."""
    content_length: int
    """0 where the request has no body or a chunked one."""
    chunked: bool
    keep_alive: bool
    expects_continue: bool


class RequestHead(NamedTuple):
    """A request without its body. Text is latin-1 as PEP 3333 wants it."""

    method: str
    target: str
    """As sent."""
    path: str
    """See `target.Target.path`."""
    query: str
    protocol: str
    """As sent, `HTTP/1.1` for example."""
    fields: Fields


class HeadParser:
    """Parses heads; one per server, safe to use from several threads."""

    def __init__(self, settings: ServerSettings) -> None:
        self._max_target = settings.max_target
        self._max_head = settings.max_head
        self._max_headers = settings.max_headers
        # A plain dict is enough: entries are only added, each is right whoever adds it.
        self._keys: dict[str, str] = {}
        self._heads: Recent[bytes, RequestHead] = Recent(_KEPT)
        self._blocks: Recent[tuple[bytes, bool], Fields] = Recent(_KEPT)

    def parse(self, raw: bytes, known: Fields | None = None) -> RequestHead:
        """Parse a head without the blank line that ends it; BadRequest where it is refused.

        The same bytes give the same object, as a rule, and so do the same header lines. Credentials are not kept here:
        `known` are fields that the caller has from before, which are taken over where the same ones came again.
        """
        head = self._heads.values.get(raw)
        if head is not None:
            return head
        head = self._parse(raw, known)
        if head.fields.content_length or not _may_be_kept(raw, head.fields):
            return head  # what brings a body seldom goes to the same place again
        return self._heads.keep(raw, head)

    def _parse(self, raw: bytes, known: Fields | None) -> RequestHead:
        line, _, block = raw.partition(b"\r\n")
        method, target, protocol, http11 = self._request_line(line.decode("latin-1"))
        if len(raw) > self._max_head:
            raise _too_large()
        path, query, authority = parse_target(method, target)
        if authority is not None:
            fields = self._parse_fields(block, http11, authority)
        elif known is not None and known.block == block and known.http11 is http11:
            fields = known
        else:
            fields = self._fields(block, http11)
        return RequestHead(method, target, path, query, protocol, fields)

    def _fields(self, block: bytes, http11: bool) -> Fields:
        fields = self._blocks.values.get((block, http11))
        if fields is not None:
            return fields
        fields = self._parse_fields(block, http11, None)
        return self._blocks.keep((block, http11), fields) if _may_be_kept(block, fields) else fields

    def _parse_fields(self, block: bytes, http11: bool, authority: str | None) -> Fields:
        lines = block.decode("latin-1").split("\r\n") if block else []
        if len(block) - len(block.translate(None, _CONTROLS_BUT_TAB)) != max(2 * (len(lines) - 1), 0):
            raise _bad("The request head holds a control character or a line end other than CRLF.")
        if len(lines) > self._max_headers:
            raise _too_large()
        headers = self._headers(lines)
        if authority is not None:
            if http11 and "HTTP_HOST" not in headers:
                raise _bad("An HTTP/1.1 request has a Host header.")
            headers["HTTP_HOST"] = authority
        elif not valid_authority(headers.get("HTTP_HOST", " " if http11 else "")):
            raise _bad("An HTTP/1.1 request has one Host header, which names a host.")
        content_length, chunked = _framing(headers, http11)
        keep_alive = _keep_alive(headers.get("HTTP_CONNECTION"), http11)
        expects = http11 and _expects_continue(headers)
        sent = block if authority is None else None
        return Fields(sent, http11, headers, content_length, chunked, keep_alive, expects)

    def check_partial(self, raw: bytearray) -> None:
        """Refuse at once what no further bytes can turn into a head; BadRequest then."""
        line_end = raw.find(b"\n")
        if line_end < 0 and len(raw) > self._max_target:
            raise BadRequest("414 URI Too Long", "The request line is too long.")
        if len(raw) > self._max_head:
            raise _too_large()
        if raw and raw[0] != 0x0D and not raw[:1].isupper():
            raise _bad("This is not an HTTP request.")
        if line_end >= 0 and raw.count(b"\n") != raw.count(b"\r\n"):
            raise _bad("Lines of a request head end in CRLF.")

    def _request_line(self, line: str) -> tuple[str, str, str, bool]:
        if len(line) > self._max_target:
            raise BadRequest("414 URI Too Long", "The request line is too long.")
        if not (line.isascii() and line.isprintable()) and not _CONTROL.isdisjoint(line):
            raise _bad("The request line holds a control character or a line end other than CRLF.")
        try:
            method, target, protocol = line.split(" ")
        except ValueError:
            raise _bad("The request line is not method, target and version.") from None
        if protocol not in ("HTTP/1.1", "HTTP/1.0"):
            version = _VERSION.fullmatch(protocol)
            if version is None:
                raise _bad("The HTTP version is malformed.")
            if version[1] != "1":
                raise BadRequest("505 HTTP Version Not Supported", "This server speaks HTTP/1.1.")
        if not _METHOD.fullmatch(method):
            if _TOKEN.fullmatch(method):
                raise BadRequest("501 Not Implemented", "There is no such method.")
            raise _bad("The method is malformed.")
        if method == "CONNECT":
            raise BadRequest("501 Not Implemented", "This server is not a proxy.")
        return method, target, protocol, protocol != "HTTP/1.0"

    def _headers(self, lines: list[str]) -> dict[str, str]:
        headers: dict[str, str] = {}
        keys = self._keys
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise _bad("A header line has no colon.")
            key = keys.get(name)
            if key is None:
                key = self._environ_key(name)
            value = value.strip(" \t")
            if key in headers:
                if key in _ONCE:
                    raise _bad(f"The header {name} comes twice.")
                value = f"{headers[key]}{'; ' if key == 'HTTP_COOKIE' else ', '}{value}"
            headers[key] = value
        headers.pop("", None)
        return headers

    def _environ_key(self, name: str) -> str:
        if not _TOKEN.fullmatch(name):
            raise _bad("A header name is malformed.")
        key = name.upper().replace("-", "_")
        if "_" in name or key == "PROXY":
            # Some programs take HTTP_PROXY from the environment for their outgoing requests.
            key = ""
        elif key not in ("CONTENT_LENGTH", "CONTENT_TYPE"):
            key = f"HTTP_{key}"
        if len(self._keys) < _MAX_KNOWN_NAMES and len(name) <= _MAX_KNOWN_LENGTH:
            self._keys[name] = key
        return key


def _may_be_kept(raw: bytes, fields: Fields) -> bool:
    return len(raw) <= _LONGEST_KEPT and _CREDENTIALS.isdisjoint(fields.headers)


def _framing(headers: dict[str, str], http11: bool) -> tuple[int, bool]:
    """Length of the body and whether it is chunked (RFC 9112 section 6)."""
    coding = headers.get("HTTP_TRANSFER_ENCODING")
    length = headers.get("CONTENT_LENGTH")
    if coding is not None:
        if length is not None:
            raise _bad("Content-Length and Transfer-Encoding exclude each other.")
        if not http11:
            raise _bad("HTTP/1.0 has no Transfer-Encoding.")
        if coding.lower() != "chunked":
            if "chunked" in coding.lower().replace(" ", "").split(",")[:-1]:
                raise _bad("chunked is the last transfer coding and comes once.")
            raise BadRequest("501 Not Implemented", "The only transfer coding here is chunked.")
        return 0, True
    if length is None:
        return 0, False
    if not _DIGITS.fullmatch(length):
        raise _bad("Content-Length is not a number.")
    return int(length), False


def _keep_alive(connection: str | None, http11: bool) -> bool:
    if connection is None:
        return http11
    tokens = [token.strip(" \t") for token in connection.lower().split(",")]
    return "close" not in tokens and (http11 or "keep-alive" in tokens)


def _expects_continue(headers: dict[str, str]) -> bool:
    expect = headers.get("HTTP_EXPECT")
    if expect is None:
        return False
    if expect.lower() != "100-continue":
        raise BadRequest("417 Expectation Failed", "The only expectation known here is 100-continue.")
    return True


def _bad(reason: str) -> BadRequest:
    return BadRequest("400 Bad Request", reason)


def _too_large() -> BadRequest:
    return BadRequest("431 Request Header Fields Too Large", "The request head is too large.")
