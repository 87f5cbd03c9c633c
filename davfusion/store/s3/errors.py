"""The meaning of what an S3 server answers, translated once."""

from __future__ import annotations

import email.utils
import time

from davfusion.store.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidPathError,
    NotFoundError,
    OutOfSpaceError,
    PermanentError,
    PermissionDeniedError,
    RateLimitedError,
    SignInNeededError,
    StoreError,
    TemporaryError,
    TooLargeError,
)
from davfusion.store.interface import Condition, IfAbsent, IfVersion

SIGN_IN = frozenset({
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
    "InvalidSecurity", "MissingSecurityHeader", "NotSignedUp", "UnauthorizedAccess"})
SLOW_DOWN = frozenset({"SlowDown", "Throttling", "ThrottlingException", "TooManyRequests",
                       "RequestLimitExceeded"})
PASSING = frozenset({"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "IncompleteBody",
                     "BadDigest", "NoSuchUpload", "InternalError", "ServiceUnavailable"})
NO_SPACE = frozenset({"QuotaExceeded", "StorageFull", "XMinioStorageFull", "InsufficientStorage",
                      "XMinioAdminBucketQuotaExceeded", "TotalStorageExceeded"})
BAD_NAME = frozenset({"KeyTooLongError", "KeyTooLong", "InvalidObjectName", "XMinioInvalidObjectName",
                      "InvalidURI"})
WRONG_REGION = frozenset({"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
                          "IllegalLocationConstraintException"})

NO_CODE = "NoCode"
"""Stands for the Code of an answer that should have one: it does not come from an S3 server."""


def from_response(status: int, code: str, path: str | None, retry_after: float | None = None) -> StoreError:
    """The error for a response that is not a success. `code` is the XML body's Code, NO_CODE,
    or empty where there can be none.

    A missing bucket is TemporaryError without a path: it concerns the store, and uploads wait for it.
    """
    said = f"{status} {code}".strip()
    if status in (404, 410) and code == NO_CODE:
        return TemporaryError("The server does not answer as an S3 server; is the address of the store right?")
    by_code = _by_code(code, path, retry_after)
    if by_code is not None:
        return by_code
    if 500 <= status <= 599 and status not in (501, 505, 507):
        return TemporaryError(f"The store failed ({said})", path, retry_after)
    if 300 <= status <= 399:
        return _wrong_region()
    match status:
        case 401:
            return SignInNeededError("The store does not accept the credentials", path)
        case 403:
            return PermissionDeniedError(f"The store does not allow this ({said})", path)
        case 404 | 410:
            return NotFoundError("There is nothing here", path)
        case 408 | 425:
            return TemporaryError(f"The store waited too long ({said})", path, retry_after)
        case 412:
            return ConflictError("The object has changed in the meantime", path)
        case 413:
            return TooLargeError("The store does not accept an object of this size", path)
        case 429:
            return RateLimitedError("The store asks for fewer requests", path, retry_after)
        case 501:
            return PermanentError("The store does not know this request; if it is a conditional write, set "
                                  "conditional=no in the address of the store", path)
        case 507:
            return OutOfSpaceError("The store has no room left", path)
    return PermanentError(f"The store refused the request ({said})", path)


def _by_code(code: str, path: str | None, retry_after: float | None) -> StoreError | None:
    if code == "NoSuchBucket":
        return TemporaryError("The bucket does not exist; create it or correct the address of the store")
    if code in SIGN_IN:
        return SignInNeededError(f"The store does not accept the credentials ({code})")
    if code == "AccessDenied":
        return PermissionDeniedError("The store does not allow this (AccessDenied)", path)
    if code == "RequestTimeTooSkewed":
        return TemporaryError("The clock of this machine is wrong; set it, the store refuses its requests")
    if code in SLOW_DOWN:
        return RateLimitedError(f"The store asks for fewer requests ({code})", path, retry_after)
    if code in PASSING:
        return TemporaryError(f"The store could not do it now ({code})", path, retry_after)
    if code in NO_SPACE:
        return OutOfSpaceError(f"The store has no room left ({code})", path)
    if code == "EntityTooLarge":
        return TooLargeError("The store does not accept an object of this size", path)
    if code in BAD_NAME:
        return InvalidPathError("The store cannot hold this name; rename it", path)
    return _wrong_region() if code in WRONG_REGION else None


def _wrong_region() -> StoreError:
    return PermanentError("The bucket is in another region; set ?region=... in the address of the store")


def for_condition(error: StoreError, condition: Condition) -> StoreError:
    """What the refusal of a write means: of IfAbsent, that something exists; of IfVersion, a change."""
    if isinstance(error, NotFoundError):
        if isinstance(condition, IfVersion):
            return ConflictError("The object is gone", error.path)
        return TemporaryError("The store could not take the object; is its address right?", error.path)
    if isinstance(error, ConflictError) and isinstance(condition, IfAbsent):
        return AlreadyExistsError("There is something here already", error.path)
    return error


def retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After field (RFC 9110, 10.2.3), or None."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
