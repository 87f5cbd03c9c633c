"""Names of users and passwords: which can be used, and which are the same. Pure."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from davfusion.accounts.errors import UnusableError

NAME_MAX = 64
"""Characters in the name of a user."""
PASSWORD_MIN = 8
PASSWORD_MAX = 1024
"""Characters in a password."""

_RESERVED = frozenset({"anonymous"})
_SEPARATORS = frozenset(':/\\"')


@lru_cache(maxsize=256)
def folded(name: str) -> str:
    """The key under which names that people take for the same are the same: case and composition do not count."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def usable_name(name: str) -> str:
    """The name as it will be stored (NFC). Raises UnusableError.

    A colon cannot be sent (RFC 7617, 2); slashes, quotes and invisible characters make names that mislead.
    """
    stored = unicodedata.normalize("NFC", name)
    if not stored or stored != stored.strip():
        raise UnusableError("The name of a user cannot be empty and does not begin or end with a space.")
    if len(stored) > NAME_MAX:
        raise UnusableError(f"The name of a user has at most {NAME_MAX} characters.")
    if not stored.isprintable() or not _SEPARATORS.isdisjoint(stored):
        raise UnusableError(f"The name {name!r} has a character that names of users cannot have: "
                            'leave out : / \\ " and what cannot be printed.')
    if folded(stored) in _RESERVED:
        raise UnusableError(f"The name {stored} stands for whoever did not sign in; take another one.")
    return stored


def usable_password(password: str) -> str:
    """The password, if people can sign in with it. Raises UnusableError, whose text does not show it."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise UnusableError(f"A password has {PASSWORD_MIN} to {PASSWORD_MAX} characters.")
    if has_control(password):
        raise UnusableError("A password cannot have control characters such as tabs or line breaks.")
    try:
        password.encode("utf-8")
    except UnicodeEncodeError:
        raise UnusableError("The password is not valid text; type it in a terminal that uses UTF-8.") from None
    return password


def has_control(text: str) -> bool:
    """Whether there is a control character, which neither names nor passwords have (RFC 7617, 2)."""
    return any(unicodedata.category(each) == "Cc" for each in text)
