"""What can go wrong at a store. Typed, few, and the same for every backend.

Each error says whether trying again later can help (`retryable`), because that is what the engine
and the request path decide on. A backend translates its library's errors into these once, where
they are known; nothing above the store room sees a library's error.
"""


class StoreError(Exception):
    """Root of all errors of a store.

    `path` is the store path concerned, or None when the store as a whole is meant. The text is a
    sentence for a person and holds no secret. Instances survive pickling.
    """

    retryable = False
    is_over = True
    """The store answered, or has not got all of the request: what it has not done by now, it never does."""

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message, path)
        self.message = message
        self.path = path

    def __str__(self) -> str:
        return f"{self.message} ({self.path})" if self.path else self.message


class NotFoundError(StoreError):
    """The object or folder does not exist. Never used for "could not ask" or "the bucket is gone"."""


class AlreadyExistsError(StoreError):
    """Something exists where the operation was to create."""


class ConflictError(StoreError):
    """The object is not the version that the caller knows; nothing was changed."""


class InvalidPathError(StoreError):
    """The store cannot hold this name; it must be renamed."""


class TooLargeError(StoreError):
    """The object is larger than the store accepts."""


class PermissionDeniedError(StoreError):
    """The account may not do this."""


class SignInNeededError(StoreError):
    """The credentials are missing, wrong or expired; a person must sign in again."""

    retryable = True


class OutOfSpaceError(StoreError):
    """The store has no room left (quota or disk)."""

    retryable = True


class TemporaryError(StoreError):
    """The store could not be asked, or failed in a way that may pass: network, 5xx, timeout.

    Whether the operation took effect, or does yet, is unknown.
    """

    retryable = True
    is_over = False

    def __init__(self, message: str, path: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, path)
        self.args = (message, path, retry_after)
        self.retry_after = retry_after
        """Seconds after which the store asked to be tried again, or None."""


class RateLimitedError(TemporaryError):
    """The store asks for fewer requests, and did nothing."""

    is_over = True


class PermanentError(StoreError):
    """The store refused for a reason that trying again will not change."""


class TransferInterruptedError(StoreError):
    """The caller's interrupt event was set; nothing was published."""

    retryable = True
