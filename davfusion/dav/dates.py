"""Dates as HTTP and WebDAV write them; seconds since the epoch, UTC, on our side."""

from __future__ import annotations

import time
from datetime import UTC
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache

LATEST = 253402300799
"""The last second of the year 9999, beyond which no date can be written."""


def http_date(seconds: float) -> str:
    """An IMF-fixdate (RFC 9110, 5.6.7); dates that cannot be written become the nearest that can."""
    return _http_date(min(max(int(seconds // 1), -62135596800), LATEST))


@lru_cache(maxsize=4096)
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def parse_http_date(text: str) -> float | None:
    """The time that any of the three forms of RFC 9110, 5.6.7 names, or None where the text is no date."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def _iso_date(seconds: int) -> str:
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}Z"


def iso_date(seconds: float) -> str:
    """The form of RFC 3339 that DAV:creationdate has (RFC 4918, 15.1)."""
    return _iso_date(min(max(int(seconds // 1), -62135596800), LATEST))
