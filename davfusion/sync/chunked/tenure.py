"""The right to write to a chunked share: held while its lease is renewed in time, and by one engine at a time."""

from __future__ import annotations

import logging
import secrets
import threading
import time

from davfusion.cache.index import Index, View
from davfusion.chunks.errors import LeaseLostError
from davfusion.chunks.lease import Lease
from davfusion.store.errors import StoreError
from davfusion.store.interface import Store

log = logging.getLogger("davfusion.sync.chunked")

LEASE_SECONDS = 90.0
RENEW_SECONDS = 20.0
_OWNER = "owner"


class Tenure:
    """Takes a lease and renews it in a thread of its own. Thread-safe."""

    def __init__(self, store: Store, index: Index, *, host: str, seconds: float = LEASE_SECONDS,
                 renew_every: float = RENEW_SECONDS) -> None:
        self._lease = lease_of(store, index, host=host, seconds=seconds)
        self._seconds = seconds
        self._renew_every = renew_every
        self._renewed = -seconds
        self._renewing = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost: LeaseLostError | None = None
        """Somebody else has the lease now."""

    @property
    def is_held(self) -> bool:
        """Nobody else can have the lease now, nor for some seconds to come."""
        return self.lost is None and _running() - self._renewed < self._seconds / 2

    def begin(self) -> None:
        """Take the lease. Raises LeaseHeldError, StoreError."""
        asked = _running()
        self._lease.acquire()
        self._renewed = asked
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def ensure(self) -> None:
        """Renew the lease if nobody did lately, as after a sleep of the machine. Raises LeaseLostError, StoreError."""
        if self.lost is not None:
            raise self.lost
        if not self.is_held:
            self._renew()

    def abandon(self) -> None:
        """Renew the lease no more, and leave it as it is: whoever has this state directory can take it again."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def end(self) -> None:
        """Give the lease back, so that another need not wait."""
        self.abandon()
        if self._thread is None:
            return
        try:
            self._lease.release()
        except (StoreError, LeaseLostError) as error:
            log.info("lease not given back", extra={"problem": str(error)})

    def _run(self) -> None:
        while not self._ended.wait(self._renew_every):
            try:
                self._renew()
            except LeaseLostError as error:
                log.error("lease lost", extra={"problem": str(error)})
                return
            except Exception as error:
                log.warning("lease not renewed", extra={"problem": str(error)})

    def _renew(self) -> None:
        with self._renewing:
            asked = _running()
            try:
                self._lease.renew()
            except LeaseLostError as error:
                self.lost = error
                raise
            self._renewed = asked


def _running() -> float:
    """Seconds that also pass while the machine sleeps, where the system counts them."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


def lease_of(store: Store, index: Index, *, host: str, seconds: float = LEASE_SECONDS) -> Lease:
    """The lease on the share in a store for this state directory; `host` is for people."""
    return Lease(store, owner=_owner(index), host=host or "this computer", ttl=seconds, clock=index.now)


def _owner(index: Index) -> str:
    """Names this state directory among all that may write to the share."""
    def change(view: View) -> str:
        owner = view.operations.meta(_OWNER)
        if owner is None:
            owner = secrets.token_hex(16)
            view.operations.set_meta(_OWNER, owner)
        return owner
    return index.write(change)
