"""What `davfusion user` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from davfusion.accounts import commands
from davfusion.accounts.errors import AccountsError, NoSuchUserError, UnusableError, UserExistsError, UsersFileError
from davfusion.accounts.rights import Right
from davfusion.accounts.sign_in import SignIn
from davfusion.accounts.users_file import UsersFile
from tests.accounts.signing import sent


def test_the_life_of_a_user(tmp_path: Path) -> None:
    file = tmp_path / "users"
    commands.add(file, "Jürgen", "first password", shares={"photos": Right.READ})
    sign_in = SignIn(UsersFile(file))
    assert sign_in(sent("Jürgen", "first password"))
    commands.passwd(file, "jürgen", "second password")
    assert sign_in(sent("Jürgen", "first password")) is None
    principal = sign_in(sent("Jürgen", "second password"))
    assert principal and principal.may("photos", write=False) and not principal.may("photos", write=True)
    commands.rights(file, "JÜRGEN", default=Right.WRITE, shares={})
    principal = sign_in(sent("Jürgen", "second password"))
    assert principal and principal.name == "Jürgen" and principal.may("photos", write=True)
    commands.remove(file, "jürgen")
    assert sign_in(sent("Jürgen", "second password")) is None
    assert list(commands.listed(file)) == []


def test_what_cannot_be_done(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(UserExistsError):
        commands.add(file, "ALICE", "another password")
    with pytest.raises(UnusableError):
        commands.add(file, "a:b", "another password")
    with pytest.raises(UnusableError):
        commands.add(file, "carol", "short")
    with pytest.raises(UnusableError):
        commands.passwd(file, "alice", "")
    for attempt in (lambda: commands.passwd(file, "carol", "some password"), lambda: commands.remove(file, "carol"),
                    lambda: commands.rights(file, "carol", default=None, shares={})):
        with pytest.raises(NoSuchUserError, match="carol"):
            attempt()
    assert file.read_bytes() == before


def test_only_adding_makes_a_file(tmp_path: Path) -> None:
    file = tmp_path / "users"
    for attempt in (lambda: commands.passwd(file, "carol", "some password"), lambda: commands.remove(file, "carol"),
                    lambda: commands.listed(file)):
        with pytest.raises(UsersFileError):
            attempt()
    assert not file.exists()


def test_no_password_is_written_down(tmp_path: Path) -> None:
    file = tmp_path / "users"
    said = commands.add(file, "alice", "correct horse") + commands.passwd(file, "alice", "battery staple")
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir()).decode()
    shown = said + repr(list(commands.listed(file)))
    assert all(secret not in written + shown for secret in ("horse", "staple"))
    assert "$argon2id" in written and "$argon2id" not in shown


@pytest.mark.parametrize(("default", "shares", "text"), [
    (None, {}, "as each share allows"),
    (Right.READ, {}, "read everywhere"),
    (Right.NONE, {"b": Right.WRITE, "a": Right.READ}, "a=read, b=write, elsewhere none"),
])
def test_rights_for_people(file: Path, default: Right | None, shares: dict[str, Right], text: str) -> None:
    assert commands.add(file, "carol", "some password", default=default, shares=shares) == f"Added carol: {text}."


def test_rights_from_people() -> None:
    assert commands.share_rights(["photos=read", "a=b=none"]) == {"photos": Right.READ, "a=b": Right.NONE}
    assert commands.share_rights(["PHOTOS=write"], known=["Photos"]) == {"PHOTOS": Right.WRITE}
    for options in (["photos"], ["=read"], ["photos=rw"], ["photos=READ"], ["photos="], ["a=read", "A=none"]):
        with pytest.raises(AccountsError):
            commands.share_rights(options)
    with pytest.raises(UnusableError, match=r"phtos.*Photos"):
        commands.share_rights(["phtos=none"], known=["Photos"])
