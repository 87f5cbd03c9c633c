"""The users file: what is in it, who changes it, and who sees the change."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import stat
import threading
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davfusion.accounts.errors import NoSuchUserError, UserExistsError, UsersFileError
from davfusion.accounts.names import folded
from davfusion.accounts.rights import Right
from davfusion.accounts.users import MalformedUsersError, User, Users, from_text, to_text
from davfusion.accounts.users_file import UsersFile, change

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2E$RdescudvJCsgt3ub+b+dWRWJTmaaJObG+GbWLzyMfJo"
OTHER = HASH.replace("Rdesc", "Sdesc")
HEAD = '{"format": "davfusion users 1"}\n'


def line(**keys: object) -> str:
    return json.dumps({"name": "alice", "password": HASH, **keys}) + "\n"


def add(name: str) -> Callable[[Users], Users]:
    return lambda users: users.added(User(name, HASH))


def names(users: Users) -> list[str]:
    return [user.name for user in users]


RIGHT = st.sampled_from(Right)
NAME = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8).filter(
    lambda name: folded(name) != "anonymous").map(lambda name: unicodedata.normalize("NFC", name))
USER = st.builds(User, NAME, st.sampled_from([HASH, OTHER]), st.none() | RIGHT,
                 st.lists(st.tuples(st.text(), RIGHT), max_size=3, unique_by=lambda pair: folded(pair[0])).map(dict))


@given(st.lists(USER, max_size=4, unique_by=lambda user: folded(user.name)))
def test_what_is_written_is_read(users: list[User]) -> None:
    text = to_text(Users(users))
    assert list(from_text(text)) == users
    assert text.count("\n") == len(users) + 1


@pytest.mark.parametrize(("text", "where"), [
    ("", "line 1"),
    ("\n\n", "line 1"),
    (line(), "line 1"),
    ('{"format": "davfusion users 2"}\n', "line 1"),
    (HEAD + "alice:secret\n", "line 2"),
    (HEAD + "[]\n", "line 2"),
    (HEAD + "\n" + line(right="none"), "line 3"),
    (HEAD + line(share={}), "line 2"),
    (HEAD + line(default="all"), "line 2"),
    (HEAD + line(default=True), "line 2"),
    (HEAD + line(shares={"photos": "readonly"}), "line 2"),
    (HEAD + line(shares={"photos": "read", "Photos": "write"}), "line 2"),
    (HEAD + line(shares=["photos"]), "line 2"),
    (HEAD + line(name="a:b"), "line 2"),
    (HEAD + line(name="Ju\u0308rgen"), "line 2"),
    (HEAD + line(name=7), "line 2"),
    (HEAD + line(password="secret"), "line 2"),
    (HEAD + line(password=HASH[:40]), "line 2"),
    (HEAD + line(password=None), "line 2"),
    (HEAD + line() + line(name="ALICE"), "line 3"),
    (HEAD + line()[:-2] + ', "name": "bob"}', "line 2"),
    (HEAD + "[" * 100_000, "line 2"),
    (HEAD + line()[:40], "line 2"),
])
def test_what_is_no_users_file(text: str, where: str) -> None:
    with pytest.raises(MalformedUsersError, match=where) as caught:
        from_text(text)
    assert "secret" not in str(caught.value)


def test_errors_tell_the_file_and_the_line(tmp_path: Path) -> None:
    file = tmp_path / "users"
    with pytest.raises(UsersFileError, match="user add"):
        UsersFile(file).current()
    for content in (b"\xff", b"", HEAD.encode() + b"oops"):
        file.write_bytes(content)
        with pytest.raises(UsersFileError, match=str(file)):
            UsersFile(file).current()
        with pytest.raises(UsersFileError, match=str(file)):
            change(file, add("alice"), create=True)
        assert file.read_bytes() == content
    with pytest.raises(UsersFileError, match="cannot be read"):
        UsersFile(tmp_path).current()
    with pytest.raises(UsersFileError, match="cannot be read"):
        change(tmp_path / "none", add("alice"))
    with pytest.raises(UsersFileError, match="missing"):
        change(tmp_path / "missing" / "users", add("alice"), create=True)


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "users"
    before = os.umask(0)
    try:
        change(file, add("alice"), create=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    change(file, add("bob"))
    # the group may be the server's, everybody is too much
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.program("root")
def test_the_owner_stays(tmp_path: Path) -> None:
    file = tmp_path / "users"
    change(file, add("alice"), create=True)
    os.chown(file, 12345, 54321)
    change(file, add("bob"))
    status = file.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 54321, 0o600)


def test_a_change_is_on_the_disk_when_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "users"
    flushed: list[tuple[int, bool]] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        fsync(descriptor)
        flushed.append((os.fstat(descriptor).st_ino, file.exists()))

    monkeypatch.setattr(os, "fsync", recorded)
    change(file, add("alice"), create=True)
    # the bytes before the name, then the name
    assert flushed == [(file.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    real, link = tmp_path / "etc" / "users", tmp_path / "users"
    link.symlink_to(real)
    change(link, add("alice"), create=True)
    assert link.is_symlink() and names(UsersFile(link).current()) == names(UsersFile(real).current()) == ["alice"]


def test_a_file_open_to_everybody_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "users"
    change(file, add("alice"), create=True)
    UsersFile(file).current()
    assert not caplog.records
    file.chmod(0o644)
    UsersFile(file).current()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_what_fails_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "users"
    change(file, add("alice"), create=True)
    before = file.read_bytes(), file.stat().st_ino
    with pytest.raises(UserExistsError):
        change(file, add("Alice"))
    with pytest.raises(NoSuchUserError):
        change(file, lambda users: users.removed("bob"))
    with pytest.raises(NoSuchUserError):
        change(file, lambda users: users.changed(User("bob", HASH)))
    assert (file.read_bytes(), file.stat().st_ino) == before
    assert {each.name for each in tmp_path.iterdir()} == {"users", "users.lock"}


def test_a_writer_that_died_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    file = tmp_path / "users"
    (tmp_path / "users.new").write_text("half a li")
    (tmp_path / "users.lock").touch()
    change(file, add("alice"), create=True)
    assert names(UsersFile(file).current()) == ["alice"]
    assert not (tmp_path / "users.new").exists()


def test_changes_are_seen_at_once(tmp_path: Path) -> None:
    file = tmp_path / "users"
    change(file, add("alice"), create=True)
    users = UsersFile(file)
    assert names(users.current()) == ["alice"]
    change(file, add("bob"))
    assert names(users.current()) == ["alice", "bob"]
    change(file, lambda users: users.removed("ALICE"))
    assert names(users.current()) == ["bob"]
    change(file, lambda users: users.changed(User("bob", OTHER, Right.READ)))
    assert users.current().get("BOB") == User("bob", OTHER, Right.READ)


def test_the_same_users_are_the_same_object(tmp_path: Path) -> None:
    file = tmp_path / "users"
    change(file, add("alice"), create=True)
    users = UsersFile(file)
    first = users.current()
    assert users.current() is first
    os.utime(file, (1, 1))
    assert users.current() is first


def test_a_change_within_one_tick_of_the_file_system_is_seen(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same size, same inode, same times: only the bytes tell, as long as the file is that young."""
    file = tmp_path / "users"
    file.write_text(HEAD + line())
    stamp = file.stat()
    users = UsersFile(file, now=lambda: stamp.st_ctime + 1.0)
    assert users.current().get("alice").password_hash == HASH

    monkeypatch.setattr(os, "stat", lambda path: stamp)
    file.write_text((HEAD + line()).replace(HASH, OTHER))
    assert users.current().get("alice").password_hash == OTHER


def test_an_old_file_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(HEAD + line())
    users = UsersFile(file, now=lambda: time.time() + 60)
    first = users.current()
    read: list[Path] = []

    class Watched(type(file)):  # type: ignore[misc]
        def open(self, *arguments: object, **options: object) -> object:
            read.append(self)
            return super().open(*arguments, **options)

    users.path = Watched(file)
    assert users.current() is first and not read
    file.write_text(HEAD + line(name="bob"))
    assert names(users.current()) == ["bob"] and read


def test_a_file_that_breaks_is_an_error_and_not_an_absence_of_users(tmp_path: Path) -> None:
    file = tmp_path / "users"
    change(file, add("alice"), create=True)
    users = UsersFile(file)
    users.current()
    content = file.read_bytes()
    for damage in (b"", content[:-5], b"\xff"):
        file.write_bytes(damage)
        with pytest.raises(UsersFileError):
            users.current()
    file.unlink()
    with pytest.raises(UsersFileError):
        users.current()
    file.write_bytes(content)
    assert names(users.current()) == ["alice"]


def _add_many(file: str, first: int) -> None:
    for number in range(first, first + 15):
        change(Path(file), add(f"user{number}"), create=True)


def test_several_processes_lose_no_change(tmp_path: Path) -> None:
    file = tmp_path / "users"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add_many, args=(str(file), first)) for first in (0, 100, 200)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(names(UsersFile(file).current())) == sorted(
        f"user{number}" for first in (0, 100, 200) for number in range(first, first + 15))


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    file = tmp_path / "users"
    change(file, add("alice"), create=True)
    users, over = UsersFile(file), threading.Event()
    seen: list[int] = []
    failed: list[Exception] = []

    def read() -> None:
        try:
            while not over.is_set():
                seen.append(len(users.current()))
        except UsersFileError as error:
            failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(30):
        change(file, add(f"user{number}"))
    over.set()
    for reader in readers:
        reader.join()
    assert not failed and set(seen) <= set(range(1, 32)) and len(users.current()) == 31
