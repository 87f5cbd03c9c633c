"""The border between the errors of the rooms below and HTTP: one table, used once per request."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from davfusion.accounts import errors as accounts
from davfusion.cache import errors as tree
from davfusion.dav.conditions import MalformedConditionError
from davfusion.dav.destination import ForeignURLError
from davfusion.dav.href import BadPathError
from davfusion.dav.if_header import MalformedIfError
from davfusion.store import errors as store

RETRY_AFTER = 5
"""Seconds after which a client may try again when the store named no time."""


class HttpError(Exception):
    """A request that ends with an error status.

    `message` is a sentence for a person. `condition` is the content of DAV:error, as XML with the prefix `D`
    (RFC 4918, 16), or None. `close`: the rest of the request body cannot be trusted, the connection must end.
    """

    def __init__(self, status: int, message: str = "", *, condition: str | None = None,
                 headers: Sequence[tuple[str, str]] = (), close: bool = False) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message or HTTPStatus(status).phrase
        self.condition = condition
        self.headers = tuple(headers)
        self.close = close

    def __str__(self) -> str:
        return f"{self.status} {self.message}"


_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (BadPathError, 400),
    (MalformedConditionError, 400),
    (MalformedIfError, 400),
    (ForeignURLError, 502),
    (accounts.TooManyFailuresError, 429),
    (accounts.SignInError, 503),
    (tree.NoSuchNodeError, 404),
    (tree.NodeExistsError, 409),
    (tree.NoParentError, 409),
    (tree.WrongKindError, 409),
    (tree.IntoItselfError, 403),
    (tree.CacheFullError, 507),
    (tree.LengthMismatchError, 400),
    (tree.LockConflictError, 423),
    (tree.StateInUseError, 503),
    (store.NotFoundError, 404),
    (store.AlreadyExistsError, 409),
    (store.ConflictError, 503),
    (store.InvalidPathError, 400),
    (store.TooLargeError, 413),
    (store.PermissionDeniedError, 403),
    (store.SignInNeededError, 502),
    (store.OutOfSpaceError, 507),
    (store.TemporaryError, 503),
    (store.TransferInterruptedError, 503),
    (store.StoreError, 502),
    (TimeoutError, 504),
)


def http_error(error: Exception) -> HttpError:
    """The HTTP error that tells a client what happened. Unknown errors become 500 and tell nothing of themselves."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, store.TemporaryError) and isinstance(error.__cause__, TimeoutError):
        return HttpError(504, str(error), headers=[("Retry-After", str(RETRY_AFTER))])
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return HttpError(status, str(error) or "", headers=_retry_after(error, status))
    return HttpError(500)


def _retry_after(error: Exception, status: int) -> list[tuple[str, str]]:
    if status not in (429, 503, 504):
        return []
    seconds = getattr(error, "retry_after", None)
    return [("Retry-After", str(RETRY_AFTER if seconds is None else max(1, round(seconds))))]
