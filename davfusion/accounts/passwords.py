"""Passwords are kept as argon2id hashes (RFC 9106)."""

from __future__ import annotations

import base64
import secrets
import unicodedata

import argon2
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from davfusion.accounts.errors import SignInUnavailableError

_MEMORY = 19 * 1024
"""KiB per hash: a NAS checks passwords too, and one check at a time is this much in every process."""
_PASSES = 2
_SALT, _HASH = 16, 32
"""Bytes."""


class Passwords:
    """Makes and checks hashes; a check takes some ten milliseconds of one core on purpose. Thread-safe."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=_PASSES, memory_cost=_MEMORY, parallelism=1, hash_len=_HASH, salt_len=_SALT)
        self._nobody = _unmatchable()

    def hash(self, password: str) -> str:
        """The hash in PHC form, with a salt of its own."""
        return self._hasher.hash(_prepared(password))

    def matches(self, expected: str | None, password: str) -> bool:
        """Whether the password is the one of this hash. Without a hash (no such user): False, after the same work.

        Raises SignInUnavailableError when it could not be computed, as when memory is short.
        """
        try:
            return self._hasher.verify(expected or self._nobody, _prepared(password)) and expected is not None
        except VerifyMismatchError:
            return False
        except VerificationError as error:
            raise SignInUnavailableError("The password cannot be checked at the moment", retry_after=5) from error


def is_hash(text: str) -> bool:
    """Whether this is the PHC form of an argon2id hash."""
    if not text.startswith("$argon2id$"):
        return False
    try:
        argon2.extract_parameters(text)
    except InvalidHashError:
        return False
    return True


def _prepared(password: str) -> bytes:
    """The bytes that are hashed: composed and decomposed spellings are one password (RFC 8265, 4.2; RFC 7617, 2.1)."""
    spaces = "".join(" " if unicodedata.category(each) == "Zs" else each for each in password)
    return unicodedata.normalize("NFC", spaces).encode("utf-8")


def _unmatchable() -> str:
    """A hash of the same cost that no known password has."""
    def coded(size: int) -> str:
        return base64.b64encode(secrets.token_bytes(size)).decode("ascii").rstrip("=")
    return f"$argon2id$v=19$m={_MEMORY},t={_PASSES},p=1${coded(_SALT)}${coded(_HASH)}"
