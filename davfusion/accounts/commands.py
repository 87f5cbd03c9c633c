"""What `davfusion user` does, without the command line around it.

Every function takes the users file and returns a sentence that says what was done, or raises AccountsError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from davfusion.accounts.errors import UnusableError
from davfusion.accounts.names import folded, usable_name, usable_password
from davfusion.accounts.passwords import Passwords
from davfusion.accounts.rights import Right
from davfusion.accounts.users import User, Users, right_named
from davfusion.accounts.users_file import UsersFile, change


def add(file: Path, name: str, password: str, *, default: Right | None = None,
        shares: Mapping[str, Right] | None = None) -> str:
    """Add a user; the file comes to be with the first one. Raises UnusableError, UserExistsError, UsersFileError."""
    user = User(usable_name(name), Passwords().hash(usable_password(password)), default, dict(shares or {}))
    change(file, lambda users: users.added(user), create=True)
    return f"Added {user.name}: {rights_text(user)}."


def passwd(file: Path, name: str, password: str) -> str:
    """Give a user another password; the old one ends at once. Raises UnusableError, NoSuchUserError, UsersFileError."""
    hashed = Passwords().hash(usable_password(password))
    users = change(file, lambda users: users.changed(replace(users.get(name), password_hash=hashed)))
    return f"The password of {users.get(name).name} is changed."


def rights(file: Path, name: str, *, default: Right | None, shares: Mapping[str, Right]) -> str:
    """Replace all rights of a user. Raises NoSuchUserError, UsersFileError."""
    users = change(file, lambda users: users.changed(
        replace(users.get(name), default=default, shares=dict(shares))))
    return f"{users.get(name).name}: {rights_text(users.get(name))}."


def remove(file: Path, name: str) -> str:
    """Remove a user. Raises NoSuchUserError, UsersFileError."""
    change(file, lambda users: users.removed(name))
    return f"Removed {name}."


def listed(file: Path) -> Users:
    """All users. Raises UsersFileError."""
    return UsersFile(file).current()


def rights_text(user: User) -> str:
    """The rights of a user, for people."""
    default = "as each share allows" if user.default is None else user.default.value
    if not user.shares:
        return f"{default} everywhere" if user.default is not None else default
    own = ", ".join(f"{share}={right.value}" for share, right in sorted(user.shares.items()))
    return f"{own}, elsewhere {default}"


def share_rights(options: Iterable[str], *, known: Iterable[str] | None = None) -> dict[str, Right]:
    """The rights in texts such as `photos=read`. Raises UnusableError; with `known`, also for other shares."""
    found: dict[str, Right] = {}
    names = None if known is None else {folded(name): name for name in known}
    for option in options:
        share, equals, right = option.rpartition("=")
        if not equals or not share:
            raise UnusableError(f"{option!r} is no right on a share; write it as photos=read.")
        if names is not None and folded(share) not in names:
            raise UnusableError(f"There is no share {share!r}; there are {', '.join(sorted(names.values()))}.")
        if folded(share) in {folded(each) for each in found}:
            raise UnusableError(f"The share {share!r} is given twice.")
        found[share] = right_named(right)
    return found
