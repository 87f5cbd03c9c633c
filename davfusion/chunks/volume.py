"""Where the objects of a chunked share lie in its store. All paths are store paths."""

from __future__ import annotations

import re
import secrets

MARKER = "/davfusion.json"
LEASE = "/lease.json"
ARCHIVES = "/archives"
BLOCKS = "/blocks"
JOURNAL = "/journal"
SNAPSHOTS = "/snapshots"

LAST_NUMBER = 10**12 - 1
"""The last number that an entry of the journal can have."""

_ARCHIVE = re.compile(r"/archives/([0-9a-f]{32})\.zip", re.ASCII)
_BLOCK = re.compile(r"/blocks/([0-9a-f]{2})/(\1[0-9a-f]{62})", re.ASCII)
_ENTRY = re.compile(r"/(?:journal|snapshots)/([0-9]{12})\.json\.gz", re.ASCII)


def new_archive_id() -> str:
    """A random name that no other archive has."""
    return secrets.token_hex(16)


def archive_path(archive_id: str) -> str:
    """The path of an archive, by its 32 hexadecimal digits."""
    return _formed(f"{ARCHIVES}/{archive_id}.zip", _ARCHIVE)


def parse_archive(path: str) -> str | None:
    """The id of the archive at the path; None when the path is not one of an archive."""
    match = _ARCHIVE.fullmatch(path)
    return match[1] if match else None


def block_path(sha256: str) -> str:
    """The path of the block with this content, by its SHA-256 in 64 hexadecimal digits."""
    return _formed(f"{BLOCKS}/{sha256[:2]}/{sha256}", _BLOCK)


def parse_block(path: str) -> str | None:
    """The SHA-256 of the content of the block at the path; None when the path is not one of a block."""
    match = _BLOCK.fullmatch(path)
    return match[2] if match else None


def journal_path(number: int) -> str:
    """The path of an entry of the journal; numbers begin at 1."""
    return f"{JOURNAL}/{_digits(number)}.json.gz"


def parse_journal(path: str) -> int | None:
    """The number of the entry at the path; None when the path is not one of an entry."""
    return _number(path) if path.startswith(JOURNAL + "/") else None


def snapshot_path(number: int) -> str:
    """The path of the snapshot of the tree as it is after entry `number`."""
    return f"{SNAPSHOTS}/{_digits(number)}.json.gz"


def parse_snapshot(path: str) -> int | None:
    """The number of the snapshot at the path; None when the path is not one of a snapshot."""
    return _number(path) if path.startswith(SNAPSHOTS + "/") else None


def is_data(path: str) -> bool:
    """Whether the path is one of an archive or a block: of what contents lie in."""
    return parse_archive(path) is not None or parse_block(path) is not None


def _formed(path: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(path):
        raise ValueError(f"Not a name of the chunked layout: {path}")
    return path


def _digits(number: int) -> str:
    if not 1 <= number <= LAST_NUMBER:
        raise ValueError(f"Numbers of entries are 1 to {LAST_NUMBER}: {number}")
    return f"{number:012d}"


def _number(path: str) -> int | None:
    match = _ENTRY.fullmatch(path)
    return int(match[1]) or None if match else None
