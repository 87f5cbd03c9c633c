"""Who sent a request: Basic authentication against the users file."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from davfusion.accounts.addresses import TrustedProxies, origin
from davfusion.accounts.basic import Credentials, credentials
from davfusion.accounts.errors import SignInBusyError, SignInUnavailableError, TooManyFailuresError, UsersFileError
from davfusion.accounts.failures import FailureLimits, Failures
from davfusion.accounts.names import folded
from davfusion.accounts.passwords import Passwords
from davfusion.accounts.rights import Principal, Right, Rights
from davfusion.accounts.users import User, Users
from davfusion.accounts.users_file import UsersFile
from davfusion.accounts.verdicts import Verdicts

log = logging.getLogger("davfusion.accounts")

_QUEUE = 16
"""Different headers that may wait for their check; each takes some ten milliseconds."""


class SignIn:
    """Tells who sent a request, and what that person may do. Thread-safe.

    A header is checked against its hash once; after that, one `stat` and one keyed hash per request. Every change of
    the users file counts from the next request on. Failures are counted per process.
    """

    def __init__(self, users: UsersFile, *, share_defaults: Mapping[str, Right] | None = None,
                 proxies: TrustedProxies | None = None, limits: FailureLimits | None = None,
                 passwords: Passwords | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`share_defaults`: what a share, by its name, gives to users of whom nothing else is said.

        Raises UsersFileError when the users file cannot be used.
        """
        self._file = users
        self._share_defaults = dict(share_defaults or {})
        self._proxies = proxies or TrustedProxies()
        self._passwords = passwords or Passwords()
        self._failures = Failures(limits, clock=clock)
        self._verdicts = Verdicts(clock=clock)
        self._queue = _Queue(_QUEUE)
        self._complaint = ""
        users.current()

    def __call__(self, environ: Mapping[str, Any]) -> Principal | None:
        """Whom the Authorization header of a WSGI request signs in; None asks to sign in.

        Raises TooManyFailuresError, SignInBusyError, SignInUnavailableError.
        """
        header: str | None = environ.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        users = self._users()
        key = self._verdicts.key(header)
        verdict = self._verdicts.find(key, users)
        if verdict is not None:
            return verdict.principal
        asked = credentials(header)
        if asked is None:
            log.debug("authorization not understood", extra={"client": self._proxies.client(environ)})
            return None
        return self._check(key, asked, self._proxies.client(environ))

    def _users(self) -> Users:
        try:
            users = self._file.current()
        except UsersFileError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.error("nobody can sign in", extra={"reason": str(error)})
            raise SignInUnavailableError("Nobody can sign in at the moment; the log of the server tells why",
                                         retry_after=30) from error
        self._complaint = ""
        return users

    def _check(self, key: bytes, asked: Credentials, client: str) -> Principal | None:
        account, place = folded(asked.name), origin(client)
        self._refuse_if_waiting(account, place)
        with self._queue.turn(key):
            users = self._users()
            verdict = self._verdicts.find(key, users)
            if verdict is not None:
                return verdict.principal
            # Those before in the queue may have been wrong guesses of the same account.
            self._refuse_if_waiting(account, place)
            user = users.find(asked.name)
            right = self._passwords.matches(None if user is None else user.password_hash, asked.password)
            principal = self._principal(user) if right and user is not None else None
            self._verdicts.remember(key, principal, users)
            if principal is None:
                self._count_failure(asked.name, client)
            else:
                self._failures.succeeded(account, place)
            return principal

    def _refuse_if_waiting(self, account: str, place: str) -> None:
        wait = self._failures.wait(account, place)
        if wait > 0:
            raise TooManyFailuresError("Too many wrong passwords; wait, then try again", retry_after=wait)

    def _count_failure(self, name: str, client: str) -> None:
        wait = self._failures.failed(folded(name), origin(client))
        # For tools that ban addresses: the address comes first, the name, which the client chose, last.
        log.warning("sign-in failed", extra={"client": client, "wait": round(wait), "user": name})

    def _principal(self, user: User) -> Principal:
        return Principal(user.name, Rights.of(
            own_default=user.default, own=user.shares, share_defaults=self._share_defaults))


class _Queue:
    """One check of a password at a time: each takes memory and a core, and is seen by the next."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._turn = threading.Lock()
        self._counting = threading.Lock()
        self._waiting: dict[bytes, int] = {}

    @contextmanager
    def turn(self, key: bytes) -> Iterator[None]:
        """Wait for the turn. Raises SignInBusyError when too many other keys wait; the same key takes one place,
        because a client opens many connections at once."""
        with self._counting:
            if key not in self._waiting and len(self._waiting) >= self._places:
                raise SignInBusyError("Too many people sign in at this moment; try again", retry_after=1)
            self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            with self._turn:
                yield
        finally:
            with self._counting:
                self._waiting[key] -= 1
                if not self._waiting[key]:
                    del self._waiting[key]
