"""Archives: many small files in one object, an ordinary ZIP that any tool opens.

The last member is a manifest (`davfusion.chunks.manifest`) that says which content each member is, with what ZIP
itself cannot hold. No archive needs ZIP64.
"""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import time
import zipfile
import zlib
from typing import BinaryIO

from davfusion.chunks.errors import ArchiveFullError, DamagedError
from davfusion.chunks.lines import Method, Part
from davfusion.chunks.manifest import MANIFEST, Manifest, ManifestWriter, Member, read_manifest
from davfusion.chunks.member_names import MemberNames
from davfusion.chunks.volume import parse_archive

__all__ = ["ArchiveWriter", "Manifest", "Member", "read_manifest", "unpack"]

LEVEL = 6
"""Of deflate: 1 is fast, 9 is small."""

WORTHWHILE = 0.9
"""A member is deflated when that leaves at most this share of its bytes."""

TRIAL = 1024 * 1024
"""Bytes at the beginning of a member by which that is decided; also the pieces of a longer one."""

LARGEST = 2**31 - 2**20
"""Bytes of an archive with all that `finish` adds."""

LARGEST_MEMBER = 2_000_000_000
"""Bytes; a little less than the archive, because a member may grow by being deflated."""

MOST_MEMBERS = 65_000

_LOCAL_HEADER = 30
_CENTRAL_HEADER = 46
_END = 22
_DESCRIPTOR = 16
_HAS_DESCRIPTOR = 0x08
_UNIX = 3
_EARLIEST = 315532800
"""1980-01-01, the first time that ZIP can say, and the last: 2107-12-31 23:59:58."""
_LATEST = 4354819198


class _Zip(zipfile.ZipFile):
    """A ZIP that is ended by `close` only; the standard one also writes its directory when it is forgotten."""

    def __del__(self) -> None:
        return


class ArchiveWriter:
    """Writes one archive to a file object that stands at its beginning. For one thread and one use.

    Nothing is complete before `finish`; a writer that is given up needs no end. `path` is where the archive will lie
    in the store; the parts name it. With `compress`, members that shrink by a tenth are deflated (longer ones by their
    first TRIAL bytes, and always at level 6). A file object that cannot seek works: sizes follow the bytes of members
    then. Memory is the manifest, about 1 KiB a member, and two pieces.
    """

    def __init__(self, file: BinaryIO, path: str, *, compress: bool = False, level: int = LEVEL,
                 share: str | None = None) -> None:
        if parse_archive(path) is None:
            raise ValueError(f"{path} is no path of an archive")
        self.path = path
        self.size = 0
        """Bytes written so far; after `finish`, those of the whole archive."""
        self._zip = _Zip(file, "w", allowZip64=False)
        self._compress, self._level = compress, level
        self._names = MemberNames(MANIFEST)
        self._manifest = ManifestWriter(share)
        self._directory = _END

    @property
    def count(self) -> int:
        """Members so far, without the manifest."""
        return self._manifest.count

    def add(self, content: int, path: str, modified: float, data: bytes, *, sha256: str | None = None) -> Part:
        """Add a file that is in memory whole. `path` is where it lies in the share, `sha256` of its bytes if known.

        Raises ArchiveFullError, and nothing is written then; OSError of the file object.
        """
        return self._add(content, path, modified, io.BytesIO(data), len(data), sha256)

    def add_stream(self, content: int, path: str, modified: float, file: BinaryIO, size: int, *,
                   sha256: str | None = None) -> Part:
        """Add the next `size` bytes of a file object, in pieces. Raises as `add`.

        Raises ValueError when there are fewer bytes; the archive is useless then.
        """
        return self._add(content, path, modified, file, size, sha256)

    def finish(self) -> None:
        """Write the manifest and the directory. The file object is complete then; it stays open and is not flushed."""
        info = _info(MANIFEST, time.time(), "deflate")
        self._zip.writestr(info, self._manifest.finish(), compresslevel=LEVEL)
        self._account(info)
        self._zip.close()
        self.size += self._directory

    # -- one member ---------------------------------------------------------------------------

    def _add(self, content: int, path: str, modified: float, file: BinaryIO, size: int, sha256: str | None) -> Part:
        if not path.startswith("/") or path == "/":
            raise ValueError(f"Not a path of a file: {path!r}")
        self._check_room(path, size)
        first = file.read(min(size, TRIAL))
        method = self._method(first)
        info = _info(self._names.of(path, content), modified, method)
        digest = self._write(info, first, file, size, wants_digest=sha256 is None)
        if info.file_size != size:
            raise ValueError(f"There were {info.file_size} bytes instead of {size} for {path!r}")
        part = Part(self.path, _data_offset(info), info.compress_size, size, method, info.CRC)
        self._manifest.add(Member(content, path, info.filename, modified, sha256 or digest, part))
        self._account(info)
        return part

    def _check_room(self, path: str, size: int) -> None:
        member = size + size // 1000 + 20 * len(path) + 2048
        if size > LARGEST_MEMBER or self.count >= MOST_MEMBERS:
            raise ArchiveFullError(f"An archive cannot hold a file of {size} bytes, or more than {MOST_MEMBERS} files")
        if self.size + member + self._manifest.size + self._directory > LARGEST:
            raise ArchiveFullError(f"The archive has no room for {size} more bytes")

    def _method(self, first: bytes) -> Method:
        if not self._compress:
            return "stored"
        packer = zlib.compressobj(self._level, zlib.DEFLATED, -zlib.MAX_WBITS)
        length = len(packer.compress(first)) + len(packer.flush())
        return "deflate" if length <= WORTHWHILE * len(first) else "stored"

    def _write(self, info: zipfile.ZipInfo, first: bytes, file: BinaryIO, size: int, *, wants_digest: bool) -> str:
        """Write the member; its SHA-256, or an empty text when nobody wants it."""
        digest = hashlib.sha256(first if wants_digest else b"")
        if len(first) == size:
            self._zip.writestr(info, first, compresslevel=self._level)
            return digest.hexdigest() if wants_digest else ""
        info.file_size = size
        with self._zip.open(info, "w") as member:
            piece, left = first, size - len(first)
            while piece:
                member.write(piece)
                piece = file.read(min(left, TRIAL))
                left -= len(piece)
                if wants_digest:
                    digest.update(piece)
        return digest.hexdigest() if wants_digest else ""

    def _account(self, info: zipfile.ZipInfo) -> None:
        descriptor = _DESCRIPTOR if info.flag_bits & _HAS_DESCRIPTOR else 0
        self.size = _data_offset(info) + info.compress_size + descriptor
        self._directory += _CENTRAL_HEADER + _variable(info)


def _info(name: str, modified: float, method: Method) -> zipfile.ZipInfo:
    """The header of a member. Raises ValueError for a time that is no number.

    ZIP's own time has two seconds and no zone; UTC is written. The extra field 0x5455 says it to the second, where it
    fits, and tools believe that first.
    """
    seconds = int(modified // 1)
    info = zipfile.ZipInfo(name, time.gmtime(min(max(seconds, _EARLIEST), _LATEST))[:6])
    if -2**31 <= seconds < 2**31:
        info.extra = struct.pack("<HHBl", 0x5455, 5, 1, seconds)
    info.create_system = _UNIX
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.compress_type = zipfile.ZIP_DEFLATED if method == "deflate" else zipfile.ZIP_STORED
    return info


def _variable(info: zipfile.ZipInfo) -> int:
    """Bytes of the name and the extra field, which are the same in both headers of a member."""
    return len(info.filename.encode()) + len(info.extra)


def _data_offset(info: zipfile.ZipInfo) -> int:
    return info.header_offset + _LOCAL_HEADER + _variable(info)


def unpack(part: Part, stored: bytes) -> bytes:
    """The content of a part from the stored bytes of its range. Raises DamagedError when they are not those."""
    if len(stored) != part.length:
        raise DamagedError(part.object, f"there are {len(stored)} bytes at {part.offset} instead of {part.length}")
    content = stored if part.method == "stored" else _inflated(part, stored)
    if len(content) != part.size or zlib.crc32(content) != part.crc32:
        raise DamagedError(part.object, f"the bytes at {part.offset} are not those that were written")
    return content


def _inflated(part: Part, stored: bytes) -> bytes:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(stored, part.size + 1)
    except zlib.error as error:
        raise DamagedError(part.object, f"the bytes at {part.offset} cannot be unpacked ({error})") from error
    if not unpacker.eof or unpacker.unused_data:
        raise DamagedError(part.object, f"the bytes at {part.offset} do not end where they should")
    return content
