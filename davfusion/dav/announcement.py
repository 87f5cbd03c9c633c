"""What the headers of a PUT say of the body to come, and of the file that it makes."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from davfusion.dav.body import announced_length
from davfusion.dav.checksum import BodyChecksum
from davfusion.dav.dates import LATEST
from davfusion.dav.errors import HttpError
from davfusion.dav.request import Request

_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(?:[ \t]*;[ \t\x21-\x7e]*)?", re.ASCII)
_GENERIC_TYPES = ("application/octet-stream", "application/x-www-form-urlencoded", "binary/octet-stream")
_NUMBER = re.compile(r"[0-9]{1,25}", re.ASCII)
_SAID = frozenset((
    "CONTENT_TYPE", "HTTP_CONTENT_ENCODING", "HTTP_CONTENT_MD5", "HTTP_CONTENT_RANGE", "HTTP_OC_CHECKSUM",
    "HTTP_OC_TOTAL_LENGTH", "HTTP_X_EXPECTED_ENTITY_LENGTH", "HTTP_X_OC_MTIME"))
"""The headers that say anything but Content-Length."""


class Announcement(NamedTuple):
    """Of one request. Sizes in bytes, times in seconds since the epoch."""

    length: int | None
    """What HTTP says; None where the body is sent in chunks."""
    expected: int | None = None
    """What must come, as far as it is known."""
    needed: int = 0
    """What has to have room, at least."""
    checksum: BodyChecksum | None = None
    """What it must add up to."""
    modified: float | None = None
    media_type: str | None = None
    """None where the client declared none that tells anything."""

    @classmethod
    def of(cls, request: Request) -> Announcement:
        """Raises HttpError 400 for what is malformed or cannot be, 415 for an encoding."""
        environ = request.environ
        length = announced_length(environ)
        if _SAID.isdisjoint(environ):
            return cls(length, length, length or 0)
        _check_headers(request)
        expected = _expected_length(request, length)
        return cls(length, expected, max(expected or 0, _total_length(request)), BodyChecksum.from_environ(environ),
                   asked_modified(request), _media_type(request))


def asked_modified(request: Request) -> float | None:
    """The time in X-OC-Mtime, in seconds since the epoch; None where absent. Raises HttpError 400."""
    text = request.header("X_OC_MTIME")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or not -LATEST <= seconds <= LATEST:
        raise HttpError(400, "X-OC-Mtime is not a time in seconds")
    return seconds


def _check_headers(request: Request) -> None:
    if request.header("CONTENT_RANGE") is not None:
        raise HttpError(400, "Content-Range is not accepted: a PUT replaces the whole file")
    if request.header("CONTENT_ENCODING") not in (None, "", "identity"):
        raise HttpError(415, "Content-Encoding is not accepted")


def _expected_length(request: Request, length: int | None) -> int | None:
    """Bytes that must arrive: Content-Length, or what Finder and ownCloud clients announce for a chunked body."""
    announced = request.header("X_EXPECTED_ENTITY_LENGTH")
    if announced is None:
        return length
    if _NUMBER.fullmatch(announced.strip()) is None:
        raise HttpError(400, "X-Expected-Entity-Length is not a number")
    if length is not None and length != int(announced):
        raise HttpError(400, "X-Expected-Entity-Length and Content-Length differ", close=True)
    return int(announced)


def _total_length(request: Request) -> int:
    total = (request.header("OC_TOTAL_LENGTH") or "").strip()
    return int(total) if _NUMBER.fullmatch(total) else 0


def _media_type(request: Request) -> str | None:
    declared = (request.environ.get("CONTENT_TYPE") or "").strip()
    if not declared or len(declared) > 200 or _MEDIA_TYPE.fullmatch(declared) is None:
        return None
    return None if declared.partition(";")[0].strip().lower() in _GENERIC_TYPES else declared
