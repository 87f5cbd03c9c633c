"""Users and the text form of the file that holds them.

The file is JSON Lines in UTF-8. The first line names the format; every other line is one user:

    {"format": "davfusion users 1"}
    {"name": "alice", "password": "$argon2id$...", "default": "read", "shares": {"photos": "write"}}

`default` and `shares` may be missing. Everything else is an error: a misspelt right must not become another right.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from davfusion.accounts.errors import NoSuchUserError, UnusableError, UserExistsError
from davfusion.accounts.names import folded, usable_name
from davfusion.accounts.passwords import is_hash
from davfusion.accounts.rights import Right

_FORMAT = {"format": "davfusion users 1"}


class MalformedUsersError(ValueError):
    """The text is not that of a users file; says which line and why."""


@dataclass(frozen=True, slots=True)
class User:
    """One user; `default` is the right on shares that `shares` does not name, None leaves it to the share."""

    name: str
    password_hash: str = field(repr=False)
    default: Right | None = None
    shares: Mapping[str, Right] = field(default_factory=dict)


class Users:
    """All users as they were at one moment. Immutable. Names are found in any case."""

    def __init__(self, users: Iterable[User] = ()) -> None:
        """Raises UserExistsError for a name that comes twice."""
        self._by_key: dict[str, User] = {}
        for user in users:
            if folded(user.name) in self._by_key:
                raise UserExistsError(f"There is a user {user.name} already.")
            self._by_key[folded(user.name)] = user

    def __iter__(self) -> Iterator[User]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, name: str) -> User | None:
        """The user of this name, or None."""
        return self._by_key.get(folded(name))

    def get(self, name: str) -> User:
        """The user of this name. Raises NoSuchUserError."""
        found = self.find(name)
        if found is None:
            raise NoSuchUserError(f"There is no user {name!r}. `davfusion user list` shows them.")
        return found

    def added(self, user: User) -> Users:
        """These and one more. Raises UserExistsError."""
        return Users([*self, user])

    def changed(self, user: User) -> Users:
        """These, with the one of the same name replaced. Raises NoSuchUserError."""
        old = self.get(user.name)
        return Users(user if each is old else each for each in self)

    def removed(self, name: str) -> Users:
        """These without one. Raises NoSuchUserError."""
        old = self.get(name)
        return Users(each for each in self if each is not old)


def to_text(users: Users) -> str:
    """The content of a users file."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (_FORMAT, *map(_document, users)))


def from_text(text: str) -> Users:
    """The users of a users file. Raises MalformedUsersError."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines or _parsed(*lines[0]) != _FORMAT:
        raise MalformedUsersError(f"line 1: should be {json.dumps(_FORMAT)}")
    found: dict[str, User] = {}
    for number, line in lines[1:]:
        try:
            user = _user(_parsed(number, line))
        except (UnusableError, TypeError) as error:
            raise MalformedUsersError(f"line {number}: {error}") from None
        if folded(user.name) in found:
            raise MalformedUsersError(f"line {number}: there is a user {user.name} already")
        found[folded(user.name)] = user
    return Users(found.values())


def _document(user: User) -> dict[str, Any]:
    document: dict[str, Any] = {"name": user.name, "password": user.password_hash}
    if user.default is not None:
        document["default"] = user.default.value
    if user.shares:
        document["shares"] = {share: right.value for share, right in user.shares.items()}
    return document


def _parsed(number: int, line: str) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise MalformedUsersError(f"line {number}: is not a JSON object of its own") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _user(document: Any) -> User:
    """Raises UnusableError and TypeError."""
    if not isinstance(document, dict):
        raise TypeError("is not a JSON object")
    unknown = sorted(document.keys() - {"name", "password", "default", "shares"})
    if unknown:
        raise TypeError(f"{unknown[0]!r} is not a key of a user: there are name, password, default and shares")
    name, password = document.get("name"), document.get("password")
    if not isinstance(name, str) or usable_name(name) != name:
        raise TypeError("the name is missing or not in composed form (NFC)")
    if not isinstance(password, str) or not is_hash(password):
        raise TypeError(f"the password of {name} is not an argon2id hash; set it with `davfusion user passwd`")
    shares = document.get("shares", {})
    if not isinstance(shares, dict):
        raise TypeError('shares should be an object such as {"photos": "read"}')
    if len({folded(share) for share in shares}) < len(shares):
        raise TypeError("a share comes twice (case does not count)")
    default = document.get("default")
    return User(name, password, None if default is None else right_named(default),
                {share: right_named(right) for share, right in shares.items()})


def right_named(text: object) -> Right:
    """The right of this name. Raises UnusableError."""
    if not isinstance(text, str) or text not in {right.value for right in Right}:
        raise UnusableError(f"{text!r} is no right; write none, read or write.")
    return Right(text)
