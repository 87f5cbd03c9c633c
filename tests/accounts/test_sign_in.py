"""Who is let in, who is not, and at what cost."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path

import pytest

from davfusion.accounts import commands
from davfusion.accounts.addresses import TrustedProxies
from davfusion.accounts.errors import (
    SignInBusyError,
    SignInUnavailableError,
    TooManyFailuresError,
    UsersFileError,
)
from davfusion.accounts.failures import FailureLimits
from davfusion.accounts.rights import Principal, Right
from davfusion.accounts.sign_in import SignIn
from davfusion.accounts.users_file import UsersFile
from davfusion.logs import EventFormatter
from tests.accounts.signing import PASSWORDS, Clock, CountedPasswords, sent


@pytest.fixture
def passwords() -> CountedPasswords:
    return CountedPasswords()


@pytest.fixture
def sign_in(file: Path, clock: Clock, passwords: CountedPasswords) -> SignIn:
    return SignIn(UsersFile(file), clock=clock, passwords=passwords, share_defaults={"photos": Right.READ})


def name_of(principal: Principal | None) -> str | None:
    return None if principal is None else principal.name


@pytest.mark.parametrize(("given", "expected"), [
    ("alice", "alice"), ("ALICE", "alice"), ("bob", "bob"), ("Jürgen", "Jürgen"), ("ju\u0308rgen", "Jürgen")])
def test_right_passwords(sign_in: SignIn, given: str, expected: str) -> None:
    assert name_of(sign_in(sent(given, PASSWORDS[expected]))) == expected


@pytest.mark.parametrize(("name", "password"), [
    ("alice", "Correct horse"), ("alice", ""), ("alice", PASSWORDS["bob"]), ("bob", "a:colon"), ("bob", "colon:"),
    ("nobody", "correct horse"), ("alic", "correct horse"), ("admin", "admin")])
def test_wrong_passwords(sign_in: SignIn, name: str, password: str) -> None:
    assert sign_in(sent(name, password)) is None


def test_without_credentials(sign_in: SignIn, passwords: CountedPasswords) -> None:
    assert sign_in({"REMOTE_ADDR": "192.0.2.1"}) is None
    for header in ("", "Basic", "Bearer x", "Basic \udcff", "Basic " + "A" * 50_000):
        assert sign_in({"HTTP_AUTHORIZATION": header}) is None
    assert not passwords.checked


def test_rights_come_along(sign_in: SignIn) -> None:
    alice, bob, other = (sign_in(sent(name)) for name in ("alice", "bob", "Jürgen"))
    assert alice and bob and other
    assert alice.may("photos", write=True)
    assert bob.may("photos", write=False) and not bob.may("photos", write=True) and not bob.may("x", write=False)
    assert other.may("x", write=True) and other.may("photos", write=False) and not other.may("photos", write=True)


def test_a_password_is_hashed_once(sign_in: SignIn, passwords: CountedPasswords, clock: Clock) -> None:
    for _ in range(50):
        assert sign_in(sent("alice")) and sign_in(sent("alice", address="2001:db8::1"))
        assert sign_in(sent("alice", "wrong")) is None
        clock.advance(300)
    assert len(passwords.checked) == 2
    clock.advance(601)
    assert sign_in(sent("alice"))
    assert len(passwords.checked) == 3


def test_nothing_in_memory_is_the_password(sign_in: SignIn) -> None:
    environ = sent("alice")
    sign_in(environ)
    kept = repr(vars(sign_in)) + repr(vars(sign_in._verdicts)) + repr(vars(sign_in._file))
    assert PASSWORDS["alice"] not in kept and environ["HTTP_AUTHORIZATION"] not in kept


def test_unknown_users_cost_the_same_work(sign_in: SignIn, passwords: CountedPasswords) -> None:
    sign_in(sent("nobody", "some password"))
    assert passwords.checked == [None]
    assert passwords._nobody.split("$")[:4] == passwords.hash("some password").split("$")[:4]


@pytest.mark.parametrize("happens", [
    lambda file: commands.passwd(file, "alice", "another password"),
    lambda file: commands.remove(file, "alice"),
])
def test_what_was_right_ends_with_a_change(
        sign_in: SignIn, file: Path, passwords: CountedPasswords, happens: Callable[[Path], object]) -> None:
    assert sign_in(sent("alice"))
    happens(file)
    for _ in range(20):
        assert sign_in(sent("alice")) is None
    assert len(passwords.checked) == 2


def test_what_was_wrong_becomes_right_with_a_change(sign_in: SignIn, file: Path) -> None:
    for _ in range(2):
        assert sign_in(sent("alice", "another password")) is None
        assert sign_in(sent("carol", "carols password")) is None
    commands.passwd(file, "alice", "another password")
    commands.add(file, "carol", "carols password")
    assert sign_in(sent("alice", "another password")) and sign_in(sent("carol", "carols password"))


def test_rights_change_at_once(sign_in: SignIn, file: Path) -> None:
    before = sign_in(sent("alice"))
    commands.rights(file, "alice", default=Right.READ, shares={})
    after = sign_in(sent("alice"))
    assert before and after and before.may("x", write=True) and not after.may("x", write=True)


def guess(sign_in: SignIn, name: str, times: int, address: str = "192.0.2.1", first: int = 0) -> None:
    for number in range(first, first + times):
        assert sign_in(sent(name, f"guess {number}", address)) is None


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_guessing_is_slowed(sign_in: SignIn, clock: Clock, passwords: CountedPasswords, name: str) -> None:
    guess(sign_in, name, 5)
    with pytest.raises(TooManyFailuresError) as caught:
        sign_in(sent(name, PASSWORDS["alice"]))
    assert caught.value.retry_after == 2 and len(passwords.checked) == 5
    clock.advance(1.5)
    with pytest.raises(TooManyFailuresError) as caught:
        sign_in(sent(name.upper(), "guess again"))
    assert caught.value.retry_after == 1
    clock.advance(0.5)
    assert sign_in(sent(name, "guess once more")) is None
    with pytest.raises(TooManyFailuresError) as caught:
        sign_in(sent(name, "guess"))
    assert caught.value.retry_after == 4


def test_the_owner_is_not_locked_out(sign_in: SignIn) -> None:
    assert sign_in(sent("alice", address="198.51.100.1"))
    guess(sign_in, "alice", 5)
    guess(sign_in, "alice", 5, address="198.51.100.1")
    assert name_of(sign_in(sent("alice", address="203.0.113.9"))) == "alice"
    # who signed in before stays signed in, even where the guesses come from
    assert name_of(sign_in(sent("alice", address="198.51.100.1"))) == "alice"
    assert name_of(sign_in(sent("bob"))) == "bob"


def test_an_ipv6_network_is_one_address(sign_in: SignIn) -> None:
    for number in range(5):
        assert sign_in(sent("alice", f"guess {number}", f"2001:db8:1:2::{number:x}")) is None
    with pytest.raises(TooManyFailuresError):
        sign_in(sent("alice", address="2001:db8:1:2:ffff::1"))
    assert sign_in(sent("alice", address="2001:db8:1:3::1"))


def test_one_wrong_password_sent_for_ever_is_one_failure(sign_in: SignIn, passwords: CountedPasswords) -> None:
    """A drive that was mounted before the password changed."""
    for _ in range(1000):
        assert sign_in(sent("alice", "the old password")) is None
    assert sign_in(sent("alice")) and len(passwords.checked) == 2


def test_many_accounts_from_one_address(file: Path, clock: Clock) -> None:
    sign_in = SignIn(UsersFile(file), clock=clock, limits=FailureLimits(origin_free=6))
    for number in range(7):
        assert sign_in(sent(f"user{number}", "password")) is None
    with pytest.raises(TooManyFailuresError):
        sign_in(sent("alice"))
    assert sign_in(sent("alice", address="203.0.113.9"))


def test_forwarded_addresses_count_only_from_trusted_proxies(file: Path, clock: Clock) -> None:
    for proxies, locked_out in ((TrustedProxies(), True), (TrustedProxies(["192.0.2.1"]), False)):
        sign_in = SignIn(UsersFile(file), clock=clock, proxies=proxies)
        for number in range(5):
            sign_in(sent("alice", f"guess {number}", HTTP_X_FORWARDED_FOR=f"203.0.113.{number}"))
        environ = sent("alice", HTTP_X_FORWARDED_FOR="203.0.113.77")
        if locked_out:
            with pytest.raises(TooManyFailuresError):
                sign_in(environ)
        else:
            assert sign_in(environ)


def test_failures_are_logged_for_tools_that_ban(
        sign_in: SignIn, caplog: pytest.LogCaptureFixture) -> None:
    failregex = re.compile(r"^\S+ WARNING davfusion\.accounts sign-in failed client=(\S+) wait=\d+ user=")
    sign_in(sent("alice", "guess", "2001:db8::5"))
    sign_in(sent("x client=10.9.9.9 user=y", "guess", "192.0.2.7"))
    sign_in(sent("x\nforged", "guess", "192.0.2.8"))
    sign_in(sent("alice", address="192.0.2.9"))
    lines = [EventFormatter("%(message)s").format(record) for record in caplog.records
             if record.levelno >= logging.WARNING]
    found = [failregex.match(line) for line in lines]
    assert [match and match[1] for match in found] == ["2001:db8::5", "192.0.2.7"]
    assert all("guess" not in line and "\n" not in line for line in lines)


def test_a_users_file_that_breaks_lets_nobody_in_and_says_so(
        sign_in: SignIn, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = file.read_bytes()
    assert sign_in(sent("alice"))
    file.write_bytes(content[:-10])
    for name in ("alice", "bob", "nobody"):
        with pytest.raises(SignInUnavailableError) as caught:
            sign_in(sent(name, "password"))
        assert str(file) not in str(caught.value)
    assert [str(file) in vars(record)["reason"] for record in caplog.records
            if record.levelno == logging.ERROR] == [True]
    file.write_bytes(content)
    assert sign_in(sent("alice"))


def test_no_start_without_users(tmp_path: Path) -> None:
    with pytest.raises(UsersFileError):
        SignIn(UsersFile(tmp_path / "users"))


def test_memory_is_bounded(file: Path, clock: Clock) -> None:
    sign_in = SignIn(UsersFile(file), clock=clock, limits=FailureLimits(capacity=20), passwords=NoWork())
    assert sign_in(sent("alice"))
    for number in range(3000):
        sign_in(sent(f"user{number}", "password", f"10.0.{number // 250}.{number % 250}"))
    assert len(sign_in._failures) <= 60 and len(sign_in._verdicts) <= 1025
    # wrong passwords pushed no right one out
    sign_in._passwords = CountedPasswords()
    assert sign_in(sent("alice")) and not sign_in._passwords.checked


class NoWork(CountedPasswords):
    """Only the right password of alice, without hashing: for tests that send thousands."""

    def matches(self, expected: str | None, password: str) -> bool:
        return password == PASSWORDS["alice"]


class Gated(CountedPasswords):
    """Checks wait at a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Event()
        self.gate = threading.Event()

    def matches(self, expected: str | None, password: str) -> bool:
        self.arrived.set()
        assert self.gate.wait(30), "nobody opened the gate"
        return super().matches(expected, password)


def test_many_connections_of_one_client_pay_once(file: Path) -> None:
    passwords = Gated()
    sign_in = SignIn(UsersFile(file), passwords=passwords)
    with ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(sign_in, sent("alice")) for _ in range(40)]
        assert passwords.arrived.wait(30)
        passwords.gate.set()
        assert {name_of(answer.result(30)) for answer in answers} == {"alice"}
    assert len(passwords.checked) == 1


def test_guesses_at_the_same_time_are_counted_one_by_one(file: Path) -> None:
    sign_in = SignIn(UsersFile(file), passwords=CountedPasswords())
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(sign_in, sent("alice", f"guess {number}")) for number in range(16)]
        errors = [answer.exception(30) for answer in answers]
    assert errors.count(None) == 5
    assert all(isinstance(error, TooManyFailuresError) for error in errors if error is not None)


def test_who_has_to_wait_is_told_without_a_turn(file: Path) -> None:
    passwords = Gated()
    passwords.gate.set()
    sign_in = SignIn(UsersFile(file), passwords=passwords)
    guess(sign_in, "alice", 5)
    passwords.gate.clear()
    passwords.arrived.clear()
    with ThreadPoolExecutor(2) as pool:
        turn = pool.submit(sign_in, sent("bob"))
        assert passwords.arrived.wait(30)
        try:
            refused = pool.submit(sign_in, sent("alice", "guess again"))
            assert isinstance(refused.exception(30), TooManyFailuresError)
        finally:
            passwords.gate.set()
        assert name_of(turn.result(30)) == "bob"


def test_a_crowd_is_turned_away_instead_of_holding_every_thread(file: Path) -> None:
    passwords = Gated()
    sign_in = SignIn(UsersFile(file), passwords=passwords, limits=FailureLimits(origin_free=100))
    with ThreadPoolExecutor(60) as pool:
        answers = [pool.submit(sign_in, sent(f"user{number}", "password")) for number in range(40)]
        # with the gate still shut
        refused = [answer.exception() for answer in islice(as_completed(answers, timeout=30), 24)]
        assert all(isinstance(error, SignInBusyError) for error in refused)
        # another connection of one who waits already is not turned away, another header is
        waiting = [number for number, answer in enumerate(answers) if not answer.done()]
        again = [pool.submit(sign_in, sent(f"user{number}", "password")) for number in waiting]
        with pytest.raises(SignInBusyError):
            pool.submit(sign_in, sent("alice")).result(30)
        passwords.gate.set()
        errors = [answer.exception(30) for answer in [*answers, *again]]
    assert errors.count(None) == 32
    assert name_of(sign_in(sent("alice"))) == "alice"
