"""Range requests (RFC 9110, 14): which parts of a file to send. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from davfusion.dav.dates import parse_http_date

MAX_RANGES = 16
_SPEC = re.compile(r"([0-9]{1,19})-([0-9]{1,19})?|-([0-9]{1,19})", re.ASCII)


class UnsatisfiableRangeError(ValueError):
    """No range lies within the file; to be answered with 416."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes [start, stop) of a file."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Bytes."""
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """The value of Content-Range for a file of `size` bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def requested_ranges(header: str | None, size: int) -> list[ByteRange]:
    """The ranges to send from a file of `size` bytes; empty means the whole file.

    A header that is malformed, of another unit or that asks for more than MAX_RANGES parts is ignored, as a
    server may (RFC 9110, 14.2), and so is any on an empty file. Raises UnsatisfiableRangeError.
    """
    if header is None or size == 0:
        return []
    unit, equals, specs = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return []
    matches = [_SPEC.fullmatch(spec.strip(" \t")) for spec in specs.split(",") if spec.strip(" \t")]
    if not matches or len(matches) > MAX_RANGES:
        return []
    ranges: list[ByteRange] = []
    for match in matches:
        if match is None:
            return []
        first, last, suffix = match.groups()
        if first is not None and last is not None and int(last) < int(first):
            return []
        found = _suffix(int(suffix), size) if suffix is not None else _from(int(first), last, size)
        if found is not None:
            ranges.append(found)
    if not ranges:
        raise UnsatisfiableRangeError(header)
    if sum(each.length for each in ranges) > size:
        return []
    return ranges


def if_range_holds(header: str | None, etag: str, modified: float) -> bool:
    """Whether If-Range (RFC 9110, 13.1.5) lets Range take effect; absent means yes."""
    if header is None:
        return True
    value = header.strip()
    if value.startswith(('"', "W/")):
        return value == etag and not value.startswith("W/")
    return parse_http_date(value) == int(modified // 1)


def _from(first: int, last: str | None, size: int) -> ByteRange | None:
    if first >= size:
        return None
    return ByteRange(first, size if last is None else min(int(last) + 1, size))


def _suffix(length: int, size: int) -> ByteRange | None:
    return ByteRange(max(0, size - length), size) if length else None
