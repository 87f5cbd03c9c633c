"""The lease: who writes to a share. One davfusion at a time, and a crashed one does not block for ever."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from davfusion.chunks.errors import LeaseHeldError, LeaseLostError
from davfusion.chunks.records import as_float, dump, is_number, is_time, parse
from davfusion.chunks.volume import LEASE
from davfusion.store.errors import AlreadyExistsError, ConflictError, NotFoundError, TemporaryError
from davfusion.store.interface import Condition, IfAbsent, IfVersion, Store

log = logging.getLogger("davfusion.chunks.lease")

TTL = 90.0
"""Seconds without a renewal after which a lease counts as left behind."""

SKEW = 30.0
"""Seconds by which clocks may differ; they are waited for beyond the end of another's lease."""

LONGEST_TTL = 24 * 3600.0
"""Seconds that a lease can ask for, so that none holds for ever."""

TRIES = 4
"""How often what changes under our hands is looked at again."""

LARGEST = 16 * 1024
"""Bytes that are read of the object."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the object says. Times are seconds since the epoch, by the clock of the owner."""

    owner: str
    host: str
    acquired: float
    renewed: float
    ttl: float
    counter: int
    """Of writes of the object, so that no two are of the same bytes."""


UNREADABLE = Claim("", "an unknown machine", 0.0, 0.0, TTL, 0)


@dataclass(frozen=True, slots=True)
class _Found:
    claim: Claim
    version: str | None
    modified: float


class Lease:
    """The right of one process to write to the share in a store. Safe for several threads.

    `owner` names the state directory: random, kept in it, so that after a crash the same one goes on at once. `clock`
    tells seconds since the epoch. Two owners at a time are impossible where the store decides conditions itself;
    elsewhere what was written is read back, and a second owner shows at the next renewal. Only `acquire` and `renew`
    can tell; a call that ends with a StoreError may be repeated.
    """

    def __init__(self, store: Store, *, owner: str, host: str, ttl: float = TTL,
                 clock: Callable[[], float] = time.time) -> None:
        self._store, self._owner, self._host, self._ttl, self._clock = store, owner, host, ttl, clock
        self._lock = threading.Lock()
        self._claim: Claim | None = None
        self._version: str | None = None

    def acquire(self) -> None:
        """Take the lease. Raises LeaseHeldError while another has it, also when another was faster; StoreError."""
        with self._lock:
            self._claim = None
            for _ in range(TRIES):
                if self._try_to_take():
                    return
            raise LeaseHeldError("a machine that is starting now", self._clock(), self._clock() + self._ttl)

    def check_free(self) -> None:
        """Raise LeaseHeldError while another has the lease; takes nothing. Raises StoreError."""
        found = self._look()
        if found is not None and found.claim.owner != self._owner:
            _check_expired(found, self._clock())

    def renew(self) -> None:
        """Say that we are still there; to be called several times in each `ttl`.

        Raises LeaseLostError when another took the lease, or nobody has it; StoreError.
        """
        with self._lock:
            claim = self._claim
            if claim is None:
                raise LeaseLostError
            wanted = dataclasses.replace(claim, renewed=self._clock(), counter=claim.counter + 1)
            if not self._put(wanted, _if_version(self._version)) and not self._renew_found(wanted):
                self._claim = None
                raise LeaseLostError

    def release(self) -> None:
        """Give the lease back; nothing happens when it is not ours any more. Raises StoreError."""
        with self._lock:
            if self._claim is None:
                return
            found = self._look()
            if found is not None and _same(found.claim, self._claim):
                with contextlib.suppress(ConflictError):
                    self._store.delete(LEASE, is_dir=False, if_version=found.version)
            self._claim = None

    # -- taking and keeping ---------------------------------------------------------------------

    def _try_to_take(self) -> bool:
        """False when the object was changed meanwhile. Raises LeaseHeldError."""
        found, now = self._look(), self._clock()
        claim = Claim(self._owner, self._host, now, now, self._ttl, 1)
        if found is None:
            return self._put(claim, IfAbsent())
        if found.claim.owner != self._owner:
            _check_expired(found, now)
            log.warning("lease taken over", extra={"host": found.claim.host, "renewed": found.claim.renewed})
        return self._put(dataclasses.replace(claim, counter=found.claim.counter + 1), _if_version(found.version))

    def _renew_found(self, wanted: Claim) -> bool:
        """Renew over what is there, if that is our own claim: an earlier renewal whose answer was lost."""
        found = self._look()
        if found is None or not _same(found.claim, wanted):
            return False
        return self._put(dataclasses.replace(wanted, counter=found.claim.counter + 1), _if_version(found.version))

    def _put(self, claim: Claim, condition: Condition) -> bool:
        """Write the claim; False when the condition did not hold, or another overwrote it at once."""
        content = io.BytesIO(dump(dataclasses.asdict(claim)).encode("ascii") + b"\n")
        try:
            version = self._store.store_fileobject(content, LEASE, condition=condition).version
        except (AlreadyExistsError, ConflictError):
            return False
        if not self._store.capabilities.conditional_write:
            found = self._look()
            if found is None or not _same(found.claim, claim):
                return False
            version = found.version
        self._claim, self._version = claim, version
        return True

    def _look(self) -> _Found | None:
        """What is there; None when nothing is. TemporaryError when it changes faster than it can be read."""
        for _ in range(TRIES):
            try:
                there = self._store.get_metadata(LEASE)
                content = self._store.get_range(LEASE, 0, LARGEST, if_version=there.version)
            except NotFoundError:
                return None
            except ConflictError:
                continue
            return _Found(_parse(content), there.version, there.modified)
        raise TemporaryError("The lease of the share changes all the time", LEASE)


def _if_version(version: str | None) -> Condition:
    return None if version is None else IfVersion(version)


def _same(claim: Claim, other: Claim) -> bool:
    """Whether both come from one `acquire`."""
    return (claim.owner, claim.acquired) == (other.owner, other.acquired)


def _check_expired(found: _Found, now: float) -> None:
    """Raise LeaseHeldError unless the owner was silent for its whole time.

    The later counts of when the store says that the lease was written and when the owner says so; but an owner whose
    clock is ahead of ours is not believed where the store tells the time, because it could block for ever.
    """
    believed = found.modified <= 0 or found.claim.renewed <= now + SKEW
    renewed = max(found.modified, found.claim.renewed) if believed else found.modified
    expires = renewed + min(found.claim.ttl, LONGEST_TTL) + SKEW
    if now < expires:
        raise LeaseHeldError(found.claim.host, renewed, expires)


def _parse(content: bytes) -> Claim:
    """The claim. One that cannot be read is of nobody, and ends when it is old enough."""
    try:
        fields = parse(content)
        claim = Claim(fields["owner"], fields["host"], as_float(fields["acquired"]), as_float(fields["renewed"]),
                      as_float(fields["ttl"]), fields["counter"])
    except (ValueError, KeyError, TypeError):
        return UNREADABLE
    proper = (isinstance(claim.owner, str) and isinstance(claim.host, str) and is_number(claim.counter)
              and all(is_time(seconds) for seconds in (claim.acquired, claim.renewed, claim.ttl)))
    return claim if proper else UNREADABLE
