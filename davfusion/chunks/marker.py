"""The marker: the object that says that a store holds a chunked share, which, and in what format."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any, Literal

from davfusion.chunks.errors import DamagedError, FormatError
from davfusion.chunks.records import as_float, dump, is_time, parse
from davfusion.chunks.volume import MARKER
from davfusion.store.errors import NotFoundError
from davfusion.store.interface import IfAbsent, Store

FORMAT = 1
"""The format of a whole share that this davfusion reads and writes."""

TYPE = "davfusion share"
"""By this a marker of ours is told from any other file of its name."""

FILTERS: frozenset[str] = frozenset()
"""Filters of objects (compression, encryption) that this davfusion knows."""

LARGEST = 64 * 1024
"""Bytes; no marker of ours is larger."""

_HEX = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Marker:
    """What a share says of itself. It never changes after the share was made."""

    share: str
    """Random: 32 hexadecimal digits, those of a UUID."""
    created: float
    """Seconds since the epoch, UTC."""
    filters: tuple[str, ...] = ()
    """What is done to each object on its way into the store, in this order."""
    layout: Literal["chunked"] = "chunked"
    format: int = FORMAT


def read_marker(store: Store) -> Marker | None:
    """The marker of the share in the store; None when there is none, or a foreign file of its name.

    Raises FormatError for a share of another format, layout or filter; DamagedError for a marker of ours that is not
    in order; StoreError.
    """
    try:
        content = store.get_range(MARKER, 0, LARGEST + 1)
    except NotFoundError:
        return None
    fields = _fields(content)
    return None if fields is None else _marker(fields)


def create_marker(store: Store, marker: Marker) -> None:
    """Make the store a chunked share. Raises AlreadyExistsError when there is a marker, StoreError."""
    fields = {"type": TYPE, "format": marker.format, "layout": marker.layout, "share": marker.share,
              "created": marker.created, "filters": list(marker.filters)}
    _marker(fields)
    store.store_fileobject(io.BytesIO(dump(fields).encode("ascii") + b"\n"), MARKER, condition=IfAbsent())


def _fields(content: bytes) -> dict[str, Any] | None:
    try:
        fields = parse(content)
    except ValueError:
        return None
    ours = len(content) <= LARGEST and isinstance(fields, dict) and fields.get("type") == TYPE
    return fields if ours else None


def _marker(fields: dict[str, Any]) -> Marker:
    if fields.get("format") != FORMAT or type(fields["format"]) is not int:
        raise FormatError(MARKER, f"This share is in the format {fields.get('format')!r}, which is not known here")
    if fields.get("layout") != "chunked":
        raise FormatError(MARKER, f"This share has the layout {fields.get('layout')!r}, which is not known here")
    filters = fields.get("filters")
    if not isinstance(filters, list) or not all(isinstance(name, str) for name in filters):
        raise DamagedError(MARKER, "it does not list its filters")
    unknown = sorted(set(filters) - FILTERS)
    if unknown:
        raise FormatError(MARKER, f"This share uses {', '.join(unknown)}, which is not known here")
    share, created = fields.get("share"), as_float(fields.get("created"))
    if not isinstance(share, str) or not _HEX.fullmatch(share):
        raise DamagedError(MARKER, "it names no share")
    if not is_time(created):
        raise DamagedError(MARKER, "it does not say when the share was made")
    return Marker(share, created, tuple(filters))
