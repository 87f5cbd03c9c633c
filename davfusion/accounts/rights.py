"""What a person may do with a share: the one place that answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from davfusion.accounts.names import folded


class Right(StrEnum):
    """What somebody may do with a share; WRITE includes READ."""

    NONE = "none"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of one person: `shares` by the folded names of shares, `otherwise` for all others."""

    otherwise: Right = Right.WRITE
    shares: Mapping[str, Right] = field(default_factory=dict)

    @classmethod
    def of(cls, *, own_default: Right | None, own: Mapping[str, Right],
           share_defaults: Mapping[str, Right]) -> Rights:
        """The rights that a person has by settings; all keys are names of shares.

        What was said about this person and this share counts first, then the person's own default, then what the
        share gives everybody who signed in, then WRITE.
        """
        base = share_defaults if own_default is None else {}
        merged = {folded(name): right for each in (base, own) for name, right in each.items()}
        return cls(Right.WRITE if own_default is None else own_default, merged)

    def allows(self, share: str, *, write: bool) -> bool:
        """Whether the share of this name may be read or, with `write`, changed."""
        right = self.shares.get(folded(share), self.otherwise) if self.shares else self.otherwise
        return right is Right.WRITE or (right is Right.READ and not write)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and what that person may do. Locks belong to the name."""

    name: str
    rights: Rights = field(default_factory=Rights)

    def may(self, share: str, *, write: bool) -> bool:
        """Whether this person may read or, with `write`, change the share of this name."""
        return self.rights.allows(share, write=write)
