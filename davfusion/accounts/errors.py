"""What can go wrong with accounts. The texts are sentences for people and hold no secret."""

from __future__ import annotations

import math


class AccountsError(Exception):
    """Root of what goes wrong when the users file is read or changed; the text says what to do."""


class UsersFileError(AccountsError):
    """The users file cannot be read, understood or written. Never means that there are no users."""


class UnusableError(AccountsError):
    """A name, a password or a right cannot be used as it was given."""


class UserExistsError(AccountsError):
    """A user has this name already."""


class NoSuchUserError(AccountsError):
    """No user has this name."""


class SignInError(Exception):
    """Root of sign-ins that were not decided. The text is fit for whoever sent the request.

    `retry_after` tells, in whole seconds from 1, when to try again.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = max(1, math.ceil(retry_after))


class TooManyFailuresError(SignInError):
    """Too many wrong passwords came from here or for this account; this one was not looked at."""


class SignInBusyError(SignInError):
    """So many sign-ins wait for their check that this one was turned away."""


class SignInUnavailableError(SignInError):
    """The users could not be read or the password could not be checked."""
