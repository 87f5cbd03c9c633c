"""What can go wrong with a chunked share in its store, apart from errors of the store itself."""

from __future__ import annotations

from datetime import UTC, datetime


class ChunksError(Exception):
    """Root of the errors of this room. The text is a sentence for a person. Instances survive pickling."""


class DamagedError(ChunksError):
    """An object of the share is not what was written: truncated, changed, missing or contradictory.

    `path` is its store path, `reason` says what is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"The object {self.path} is damaged: {self.reason}"


class FormatError(ChunksError):
    """An object is in a format, or uses a filter, that this davfusion does not know."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason} ({self.path}); it was written by a newer davfusion: update davfusion here"


class ArchiveFullError(ChunksError):
    """An archive cannot take the member; put it into the next one. Nothing was written."""


class EntryTakenError(ChunksError):
    """Another entry has this number in the journal: somebody else writes to the share."""

    def __init__(self, number: int, writer: str, entry_id: str) -> None:
        super().__init__(number, writer, entry_id)
        self.number = number
        self.writer = writer
        self.entry_id = entry_id

    def __str__(self) -> str:
        return (f"Change {self.number} of the share was written by {self.writer}; only one davfusion may write "
                "to a share: stop one of the two")


class LeaseHeldError(ChunksError):
    """Another davfusion writes to the share. Times are seconds since the epoch."""

    def __init__(self, host: str, renewed: float, expires: float) -> None:
        super().__init__(host, renewed, expires)
        self.host = host
        self.renewed = renewed
        self.expires = expires

    def __str__(self) -> str:
        return (f"Another davfusion on {self.host} writes to this share, last seen {_when(self.renewed)}; stop it, or "
                f"if it is gone for good, try again after {_when(self.expires)}")


class LeaseLostError(ChunksError):
    """The lease is not ours any more; nothing may be written until it is acquired again."""

    def __str__(self) -> str:
        return ("Another davfusion has taken over this share; nothing more is written from here. "
                "Stop one of the two, then start this one again")


def _when(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} seconds since 1970"
