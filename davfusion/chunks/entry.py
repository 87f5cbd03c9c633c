"""One entry of the journal, or one snapshot, as a file: gzip over a header, lines and an end that counts them."""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from davfusion.chunks.errors import DamagedError, FormatError
from davfusion.chunks.lines import Line
from davfusion.chunks.records import UnknownKindError, as_float, decode, dump, encode, is_number, is_time, key, parse
from davfusion.chunks.volume import LAST_NUMBER

FORMAT = 1
"""The format of entries and snapshots that this davfusion writes."""

LEVEL = 6
BATCH = 64 * 1024
PIECE = 256 * 1024
"""Bytes that are unpacked at a time."""

LONGEST_LINE = 256 * 1024 * 1024
"""Bytes; a longer line is damage, so that no object can fill the memory."""

_GZIP = 16 + zlib.MAX_WBITS
"""Asks zlib for the format of RFC 1952, with no name and no time in its header."""

_HEX = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: which entry of which share this is, and who wrote it when."""

    kind: Literal["journal", "snapshot"]
    number: int
    share: str
    """The share's id, as its marker says: 32 hexadecimal digits."""
    writer: str
    """Who wrote it, for people: the name of the machine."""
    id: str
    """Of this entry alone: 32 hexadecimal digits, random. By it a writer knows its own entry again."""
    written: float
    """Seconds since the epoch, by the clock of the writer."""
    format: int = FORMAT


class EntryWriter:
    """Writes one entry to a file object, which stays open. For one thread and one use.

    Nothing is complete before `finish`. Memory does not grow with the number of lines, but for the keys that
    find duplicates.
    """

    def __init__(self, file: BinaryIO, header: Header) -> None:
        _check_header(header)
        self._file = file
        self._packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
        self._waiting: list[str] = []
        self._length = 0
        self._seen = _Seen()
        self._write(dump(dataclasses.asdict(header)))

    def add(self, line: Line) -> None:
        """Write one line. Raises ValueError for a line that no reader would take, and for a second one of its kind."""
        text = encode(line)
        self._seen.add(line)
        self._write(text)

    def finish(self) -> None:
        """Write the end. The file object is complete then, and not flushed."""
        self._write(dump({"end": self._seen.count}))
        self._flush()
        self._file.write(self._packer.flush())

    def _write(self, text: str) -> None:
        self._waiting.append(text)
        self._length += len(text)
        if self._length >= BATCH:
            self._flush()

    def _flush(self) -> None:
        text = "".join(f"{line}\n" for line in self._waiting)
        self._file.write(self._packer.compress(text.encode("ascii")))
        self._waiting.clear()
        self._length = 0


class _Seen:
    """What the lines of an entry were about: at most one line of a kind is about the same."""

    def __init__(self) -> None:
        self.count = 0
        self._keys: dict[str, set[int | str]] = {}

    def add(self, line: Line) -> None:
        """Raises ValueError for the second line about the same."""
        kind, about = key(line)
        keys = self._keys.setdefault(kind, set())
        if about in keys:
            raise ValueError(f"there are two lines about {kind} {about}")
        keys.add(about)
        self.count += 1


def read_entry(pieces: Iterable[bytes], path: str = "") -> tuple[Header, Iterator[Line]]:
    """The header and the lines of an entry that comes in pieces. `path` is for errors only.

    What is wrong may be found at the very end: the lines count only once the iterator has ended by itself.
    Raises DamagedError, FormatError, and what `pieces` raises, from the call and from the iterator.
    """
    texts = _texts(pieces, path)
    first = next(texts, None)
    if first is None:
        raise DamagedError(path, "it is empty")
    return _parse_header(first, path), _lines(texts, path)


def _lines(texts: Iterator[bytes], path: str) -> Iterator[Line]:
    seen = _Seen()
    for text in texts:
        if text.startswith(b"{"):
            _check_end(text, seen.count, texts, path)
            return
        yield _decode(text, seen, path)
    raise DamagedError(path, "its end is missing")


def _decode(text: bytes, seen: _Seen, path: str) -> Line:
    try:
        line = decode(text)
        seen.add(line)
        return line
    except UnknownKindError as error:
        raise FormatError(path, f"It has lines of a kind that is not known here: {error}") from error
    except ValueError as error:
        raise DamagedError(path, str(error)) from error


def _check_end(text: bytes, count: int, texts: Iterator[bytes], path: str) -> None:
    try:
        end = parse(text)
    except ValueError as error:
        raise DamagedError(path, str(error)) from error
    if end.keys() != {"end"} or not is_number(end["end"]):
        raise DamagedError(path, "its end is not in order")
    if end["end"] != count:
        raise DamagedError(path, f"it has {count} lines where its end counts {end['end']}")
    if next(texts, None) is not None:
        raise DamagedError(path, "something follows its end")


# -- header --------------------------------------------------------------------------------------


def _parse_header(text: bytes, path: str) -> Header:
    try:
        fields = parse(text)
    except ValueError as error:
        raise DamagedError(path, f"its header cannot be read: {error}") from error
    if not isinstance(fields, dict) or not is_number(fields.get("format"), 1):
        raise DamagedError(path, "it has no proper header")
    if fields["format"] != FORMAT:
        raise FormatError(path, f"Its format {fields['format']} is not known here")
    return _header_of(fields, path)


def _header_of(fields: dict[str, Any], path: str) -> Header:
    if fields.keys() != {field.name for field in dataclasses.fields(Header)}:
        raise DamagedError(path, "its header has other fields than it should")
    header = Header(**{**fields, "written": as_float(fields["written"])})
    try:
        _check_header(header)
    except ValueError as error:
        raise DamagedError(path, str(error)) from error
    return header


def _check_header(header: Header) -> None:
    ids = (header.share, header.id)
    if (header.format != FORMAT or header.kind not in ("journal", "snapshot")
            or not is_number(header.number, 1, LAST_NUMBER) or type(header.writer) is not str
            or not is_time(header.written)
            or not all(type(text) is str and _HEX.fullmatch(text) for text in ids)):
        raise ValueError("its header is not in order")


# -- gzip ----------------------------------------------------------------------------------------


def _texts(pieces: Iterable[bytes], path: str) -> Iterator[bytes]:
    """The lines without their line feeds; the last one must have one too."""
    rest = b""
    for piece in _unpacked(pieces, path):
        *texts, end = piece.split(b"\n")
        if not texts:
            rest += end
        else:
            yield rest + texts[0]
            yield from texts[1:]
            rest = end
        if len(rest) > LONGEST_LINE:
            raise DamagedError(path, "a line is too long")
    if rest:
        raise DamagedError(path, "its last line is cut off")


def _unpacked(pieces: Iterable[bytes], path: str) -> Iterator[bytes]:
    """The content of one gzip member (RFC 1952) that ends where the pieces end, checksum and length checked."""
    unpacker = zlib.decompressobj(wbits=_GZIP)
    try:
        for piece in pieces:
            while piece and not unpacker.eof:
                yield unpacker.decompress(piece, PIECE)
                piece = unpacker.unconsumed_tail
            if unpacker.eof and (piece or unpacker.unused_data):
                raise DamagedError(path, "something follows its end")
    except zlib.error as error:
        raise DamagedError(path, f"it cannot be unpacked ({error})") from error
    if not unpacker.eof:
        raise DamagedError(path, "it ends early")
