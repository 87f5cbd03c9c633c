"""The manifest of an archive: which content each member is, and where it lies. It is the last member, as JSON."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from davfusion.chunks.errors import DamagedError, FormatError
from davfusion.chunks.lines import Part
from davfusion.chunks.range_file import RangeFile
from davfusion.chunks.records import as_float, check_part, dump, is_number, is_sha256, is_time, parse
from davfusion.store.interface import Store

MANIFEST = "davfusion-manifest.json"
"""The name of the member."""

FORMAT = 1

LARGEST = 512 * 1024 * 1024
"""Bytes; a larger manifest is damage, so that no object can fill the memory."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive."""

    content: int
    path: str
    """Where the file lay in the share when it was packed."""
    name: str
    """The name of the member."""
    modified: float
    """Seconds since the epoch, UTC."""
    sha256: str
    """Of the bytes of the file."""
    part: Part


@dataclass(frozen=True, slots=True)
class Manifest:
    """All members of an archive but the manifest itself, in order."""

    share: str | None
    members: tuple[Member, ...]


class ManifestWriter:
    """Collects the manifest of one archive. Not thread-safe."""

    def __init__(self, share: str | None) -> None:
        self._share = share
        self._members: list[str] = []
        self.size = 100
        """Bytes of the manifest so far, or a little more."""

    @property
    def count(self) -> int:
        """Members so far."""
        return len(self._members)

    def add(self, member: Member) -> None:
        """Raises ValueError for what no reader would take."""
        _check(member)
        part = member.part
        text = dump({
            "content": member.content, "path": member.path, "name": member.name, "modified": member.modified,
            "sha256": member.sha256, "crc32": part.crc32, "size": part.size, "offset": part.offset,
            "length": part.length, "method": part.method})
        self._members.append(text)
        self.size += len(text) + 2

    def finish(self) -> bytes:
        """The manifest: one line for each member, so that people can read it too."""
        head = f'{{"format":{FORMAT},"share":{dump(self._share)},"members":[\n'
        return (head + ",\n".join(self._members) + "\n]}\n").encode("ascii")


def read_manifest(store: Store, path: str) -> Manifest:
    """The manifest of the archive at the path, with two or three requests for most archives.

    Raises NotFoundError and other StoreErrors; DamagedError, FormatError.
    """
    file = RangeFile(store, path)
    try:
        with zipfile.ZipFile(cast(BinaryIO, file)) as archive:
            info = archive.getinfo(MANIFEST)
            if info.file_size > LARGEST:
                raise DamagedError(path, "its manifest is too large")
            content = archive.read(info)
    except KeyError as error:
        raise DamagedError(path, "it has no manifest") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise DamagedError(path, f"its manifest cannot be read ({error})") from error
    return _parse(content, path)


def _parse(content: bytes, path: str) -> Manifest:
    try:
        fields = parse(content)
        if not isinstance(fields, dict) or not is_number(fields.get("format"), 1):
            raise ValueError("it has no format")
        if fields["format"] != FORMAT:
            raise FormatError(path, f"Its manifest has the format {fields['format']}, which is not known here")
        share, members = fields["share"], fields["members"]
        if not (share is None or isinstance(share, str)) or not isinstance(members, list):
            raise ValueError("it has no members")
        return Manifest(share, tuple(_member(member, path) for member in members))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(path, f"its manifest is not in order ({error})") from error


def _member(fields: Any, path: str) -> Member:
    part = Part(path, fields["offset"], fields["length"], fields["size"], fields["method"], fields["crc32"])
    member = Member(fields["content"], fields["path"], fields["name"], as_float(fields["modified"]), fields["sha256"],
                    part)
    _check(member)
    return member


def _check(member: Member) -> None:
    check_part(member.part)
    if not is_number(member.content, 1) or not is_time(member.modified):
        raise ValueError("a member has no proper content or time")
    if type(member.path) is not str or not member.path.startswith("/") or type(member.name) is not str:
        raise ValueError("a member has no proper path or name")
    if member.sha256 is None or not is_sha256(member.sha256):
        raise ValueError("a member has no proper SHA-256")
