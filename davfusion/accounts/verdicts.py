"""What was found out about Authorization headers, so that a password is hashed once and not per request."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from davfusion.accounts.rights import Principal
from davfusion.accounts.users import Users


@dataclass(slots=True)
class Verdict:
    """Whom a header signs in, None for nobody; true as long as the users are these."""

    principal: Principal | None
    users: Users
    expires: float


class Verdicts:
    """Verdicts by header, for a limited time since their last use, in limited number. Thread-safe.

    Headers are not kept: the keys are MACs (BLAKE2, RFC 7693) with a secret that only this process has. Wrong
    passwords have a room of their own and cannot push right ones out.
    """

    def __init__(self, *, lifetime: float = 600.0, capacity: int = 1024,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """`lifetime` in seconds; `capacity` for right and for wrong ones each."""
        self._secret = secrets.token_bytes(32)
        self._lifetime = lifetime
        self._capacity = capacity
        self._clock = clock
        self._lock = threading.Lock()
        self._right: dict[bytes, Verdict] = {}
        self._wrong: dict[bytes, Verdict] = {}

    def __len__(self) -> int:
        return len(self._right) + len(self._wrong)

    def key(self, header: str) -> bytes:
        """Different for different headers, and of no use outside of this process."""
        return hashlib.blake2b(header.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=32).digest()

    def find(self, key: bytes, users: Users) -> Verdict | None:
        """The verdict that holds under these users. Takes no lock."""
        verdict = self._right.get(key) or self._wrong.get(key)
        if verdict is None or verdict.users is not users:
            return None
        now = self._clock()
        if now >= verdict.expires:
            return None
        verdict.expires = now + self._lifetime
        return verdict

    def remember(self, key: bytes, principal: Principal | None, users: Users) -> None:
        """Keep what was found out under these users."""
        room = self._wrong if principal is None else self._right
        with self._lock:
            if key not in room and len(room) >= self._capacity:
                del room[min(room, key=lambda each: room[each].expires)]
            # Under other users the same header may have had the other verdict.
            (self._right if principal is None else self._wrong).pop(key, None)
            room[key] = Verdict(principal, users, self._clock() + self._lifetime)
