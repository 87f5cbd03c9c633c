"""The database of a share: transactions that are committed together, several processes, migrations."""

from __future__ import annotations

import errno
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from davfusion.cache.errors import CacheFullError
from davfusion.cache.index import Durability, Index, View
from davfusion.cache.index.database import Database


@pytest.fixture(params=Durability)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "index.db", durability=request.param)
    yield opened
    opened.close()


def add(name: str, amount: int = 1):  # type: ignore[no-untyped-def]
    def change(connection: sqlite3.Connection) -> int:
        connection.execute(
            "INSERT INTO counter (name, value) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value", (name, amount))
        return amount
    return change


def count(database: Database, name: str) -> int:
    row = database.reader().execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def test_many_threads_lose_nothing(database: Database) -> None:
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda number: database.write(add("n", number)), range(400)))
    assert results == list(range(400))
    assert count(database, "n") == sum(range(400))


def held_writer(database: Database) -> tuple[threading.Thread, threading.Event]:
    """A change under way that others queue up behind, until the event is set."""
    begun, go_on = threading.Event(), threading.Event()

    def change(connection: sqlite3.Connection) -> None:
        begun.set()
        assert go_on.wait(10)

    thread = threading.Thread(target=database.write, args=(change,))
    thread.start()
    assert begun.wait(10)
    return thread, go_on


def queue_up(database: Database, pool: ThreadPoolExecutor, changes: list):  # type: ignore[no-untyped-def, type-arg]
    futures = [pool.submit(database.write, change) for change in changes]
    while len(database._queue) < len(changes):
        threading.Event().wait(0.001)
    return futures


def test_a_change_that_fails_is_rolled_back_alone(database: Database) -> None:
    def failing(connection: sqlite3.Connection) -> None:
        add("bad")(connection)
        raise KeyError("mine")

    def wrong(connection: sqlite3.Connection) -> None:
        add("bad")(connection)
        connection.execute("SELECT nothing FROM nowhere")

    thread, go_on = held_writer(database)
    with ThreadPoolExecutor(8) as pool:
        futures = queue_up(database, pool, [add("good"), failing, add("good"), wrong, add("good")])
        go_on.set()
        errors = [future.exception(10) for future in futures]
    thread.join()
    assert [type(error) for error in errors] == [
        type(None), KeyError, type(None), sqlite3.OperationalError, type(None)]
    assert count(database, "good") == 3
    assert count(database, "bad") == 0


def test_a_commit_that_fails_reaches_everyone_in_it(database: Database) -> None:
    def fatal(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")
        raise OSError("the disk fails")

    thread, go_on = held_writer(database)
    with ThreadPoolExecutor(8) as pool:
        futures = queue_up(database, pool, [add("n"), fatal, add("n")])
        go_on.set()
        assert [type(future.exception(10)) for future in futures] == [OSError] * 3
    thread.join()
    assert count(database, "n") == 0
    assert database.write(add("n")) == 1, "the next one is not hurt"


def test_a_closed_database_refuses_and_hangs_nobody(tmp_path: Path) -> None:
    database = Database(tmp_path / "index.db")
    database.close()
    database.close()
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(database.write, add("n")) for _ in range(8)]:
            assert isinstance(future.exception(10), sqlite3.ProgrammingError)


def test_a_reader_sees_only_what_is_committed(database: Database) -> None:
    thread, go_on = held_writer(database)
    assert count(database, "n") == 0
    with ThreadPoolExecutor(1) as pool:
        (future,) = queue_up(database, pool, [add("n")])
        assert count(database, "n") == 0
        go_on.set()
        future.result(10)
    thread.join()
    assert count(database, "n") == 1


def test_reading_connections_cannot_write(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError):
        database.reader().execute("DELETE FROM counter")


def test_threads_that_end_leave_no_open_files(tmp_path: Path) -> None:
    database = Database(tmp_path / "index.db")
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc")
    count(database, "n")
    before = len(list(folder.iterdir()))
    for _ in range(30):
        thread = threading.Thread(target=count, args=(database, "n"))
        thread.start()
        thread.join()
    assert len(list(folder.iterdir())) <= before + 3
    database.close()


_WRITER = """
import sys
from pathlib import Path
from davfusion.cache.index import Index
from concurrent.futures import ThreadPoolExecutor

index = Index(Path(sys.argv[1]))
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda _: index.write(lambda view: view.operations.add("n", 1)), range(100)))
index.close()
"""


def test_processes_that_open_and_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    processes = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path)]) for _ in range(4)]
    try:
        assert [process.wait(60) for process in processes] == [0] * 4
    finally:
        for process in processes:
            process.kill()
            process.wait()
    index = Index(path)
    assert index.view().operations.counters()["n"] == 400
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    index.close()


def test_another_process_killed_in_a_transaction_leaves_nothing_of_it(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db")
    index.write(lambda view: view.operations.add("n", 1))
    program = ("import os, sys; from pathlib import Path; from davfusion.cache.index import Index\n"
               "def change(view):\n    view.operations.add('n', 100)\n    print('in', flush=True)\n"
               "    os.kill(os.getpid(), 9)\n"
               "Index(Path(sys.argv[1])).write(change)")
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "index.db")], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"in\n"
    assert process.wait(10) == -9
    index.write(lambda view: view.operations.add("n", 1))
    assert index.view().operations.counters()["n"] == 2
    index.close()


def test_data_version_tells_of_other_connections(tmp_path: Path) -> None:
    index, other = Index(tmp_path / "index.db"), Index(tmp_path / "index.db")
    before = index.data_version()
    assert index.data_version() == before
    other.write(lambda view: view.operations.add("n", 1))
    after = index.data_version()
    assert after != before
    index.write(lambda view: view.operations.add("n", 1))
    assert index.data_version() != after
    index.close()
    other.close()


def test_migrations_run_once_and_entity_tags_survive_reopening(tmp_path: Path) -> None:
    def make(view: View) -> int:
        return view.nodes.insert(folder=1, parent=1, name="a", modified=1.0, created=1.0)

    index = Index(tmp_path / "index.db")
    index.write(make)
    before = index.view().find("/a")
    index.close()
    index = Index(tmp_path / "index.db")
    assert before is not None and index.view().find("/a") == before
    index.close()
    other = Index(tmp_path / "other.db")
    other.write(make)
    same = other.view().find("/a")
    assert same is not None and same.etag != before.etag, "another index gives other tags"
    other.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE counter (other TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(sqlite3.OperationalError):
        Index(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("counter",)]
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("durability", Durability)
def test_a_full_disk_is_told_as_such_and_hurts_nothing_else(tmp_path: Path, durability: Durability) -> None:
    """The limit of the size of files plays the full disk; in a process of its own, which it is for."""
    program = """
import resource, signal, sys
from pathlib import Path
from davfusion.cache.errors import CacheFullError
from davfusion.cache.index import Durability, Index
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
index = Index(Path(sys.argv[1]), durability=Durability(sys.argv[2]))
index.write(lambda view: view.operations.set_meta("small", "1"))
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    index.write(lambda view: view.operations.set_meta("large", "x" * 3_000_000))
except Exception as error:
    print(type(error).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
index.write(lambda view: view.operations.set_meta("after", "1"))
view = index.view()
print(view.operations.meta("small"), view.operations.meta("large"), view.operations.meta("after"))
index.close()
"""
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path / "index.db"), durability.value],
                         capture_output=True, text=True, timeout=60)
    assert run.stdout.split("\n")[1] == "1 None 1", run
    assert run.stdout.split("\n")[0] in (CacheFullError.__name__, "OperationalError"), run




def test_a_flush_lets_nobody_else_take_the_log_away(tmp_path: Path) -> None:
    """Whoever opens and closes the file of a database beside SQLite drops the locks that SQLite holds for the process
    (POSIX); then another process takes itself for the last one, and removes the log under those who use it."""
    database = Database(tmp_path / "index.db", durability=Durability.PROCESS_SAFE)
    database.write(lambda connection: connection.execute("UPDATE counter SET value = 7 WHERE name = 'sequence'"))
    database.flush()
    log = tmp_path / "index.db-wal"
    before = log.stat().st_ino
    visitor = ("import sqlite3, sys; connection = sqlite3.connect(sys.argv[1]); "
               "connection.execute('SELECT count(*) FROM node').fetchone(); connection.close()")
    subprocess.run([sys.executable, "-c", visitor, str(tmp_path / "index.db")], check=True, timeout=60)
    assert log.exists() and log.stat().st_ino == before
    database.write(lambda connection: connection.execute("UPDATE counter SET value = 8 WHERE name = 'sequence'"))
    database.close()


def test_a_flush_writes_only_when_something_was_committed(tmp_path: Path) -> None:
    database = Database(tmp_path / "index.db", durability=Durability.PROCESS_SAFE)
    database.write(lambda connection: connection.execute("UPDATE counter SET value = 7 WHERE name = 'sequence'"))
    database.flush()
    flushed = (tmp_path / "index.db-wal").read_bytes()
    database.flush()
    assert (tmp_path / "index.db-wal").read_bytes() == flushed
    database.close()


def test_writers_that_come_together_share_commits(database: Database) -> None:
    together = threading.Barrier(8)

    def write() -> None:
        for _ in range(50):
            together.wait(30)
            database.write(add("n"))

    before = database._commits
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(write) for _ in range(8)]:
            future.result()
    assert count(database, "n") == 400
    assert database._commits - before < 200


def test_who_writes_alone_waits_for_nobody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: database.write(add("n")), range(100)))
    database.write(add("n"))  # the others do not come: that is noticed
    monkeypatch.setattr("davfusion.cache.index.database.GATHERING", 60.0)
    began = time.monotonic()
    for _ in range(20):
        database.write(add("n"))
    assert time.monotonic() - began < 30


def test_the_turn_of_a_killed_process_passes_on(tmp_path: Path) -> None:
    database = Database(tmp_path / "index.db")
    program = ("import sys; from pathlib import Path; from davfusion.cache.index.turn import Turn\n"
               "with Turn(Path(sys.argv[1])).taken():\n    print('mine', flush=True); sys.stdin.read()")
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "index.db.turn")],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"mine\n"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(database.write, add("n"))
        assert not waiting.done()
        process.kill()
        process.wait()
        waiting.result(10)
    assert count(database, "n") == 1
    database.close()


def test_an_index_without_turns_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems refuse such locks: SQLite's own keep writers apart then."""
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr("davfusion.cache.index.turn.fcntl.flock", refuse)
    first, second = Database(tmp_path / "index.db"), Database(tmp_path / "index.db")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: (first, second)[number % 2].write(add("n")), range(100)))
    assert count(first, "n") == 100
    first.close()
    second.close()


def add_all(connection: sqlite3.Connection, amounts: Sequence[int]) -> list[int | Exception]:
    """Add each to the number of x; 0 is refused."""
    return [add("x", amount)(connection) if amount else ValueError("refused") for amount in amounts]


def test_what_one_thread_begins_before_it_asks_is_one_commit(database: Database) -> None:
    watching = sqlite3.connect(database._path)
    asked = [database.begin(add_all, amount) for amount in (1, 2, 3)]
    assert count(database, "x") == 0
    before = watching.execute("PRAGMA data_version").fetchone()
    assert asked[2]() == 3
    assert count(database, "x") == 6
    after = watching.execute("PRAGMA data_version").fetchone()
    assert before != after
    assert [result() for result in asked[:2]] == [1, 2]
    assert watching.execute("PRAGMA data_version").fetchone() == after
    watching.close()


def test_what_was_begun_next_to_each_other_is_changed_by_one_call(database: Database) -> None:
    called: list[tuple[str, list[str]]] = []

    def note(kind: str) -> Callable[[sqlite3.Connection, Sequence[str]], Sequence[str]]:
        def change(connection: sqlite3.Connection, items: Sequence[str]) -> Sequence[str]:
            called.append((kind, list(items)))
            return items
        return change

    some, other = note("some"), note("other")
    asked = [database.begin(change, item) for change, item in ((some, "a"), (some, "b"), (other, "c"), (some, "d"))]
    assert [result() for result in asked] == ["a", "b", "c", "d"]
    assert called == [("some", ["a", "b"]), ("other", ["c"]), ("some", ["d"])]


def test_what_is_refused_is_refused_alone(database: Database) -> None:
    first, refused, last = (database.begin(add_all, amount) for amount in (1, 0, 1))
    assert (first(), last()) == (1, 1)
    with pytest.raises(ValueError, match="refused"):
        refused()
    assert count(database, "x") == 2


def test_what_was_begun_and_fails_in_its_midst_fails_with_its_companions(database: Database) -> None:
    def fail(connection: sqlite3.Connection, items: Sequence[None]) -> Sequence[None]:
        add("x", 100)(connection)
        raise ValueError("failed")

    asked = [database.begin(add_all, 1), database.begin(fail, None), database.begin(add_all, 1)]
    for result in asked:
        with pytest.raises(ValueError, match="failed"):
            result()
    assert count(database, "x") == 0
    assert database.write(add("x")) == 1


def test_any_writer_commits_what_others_began_and_is_not_kept_by_them(database: Database) -> None:
    """Nobody waits for what was begun: who comes next commits it, and who waits is woken although others are first."""
    begun = database.begin(add_all, 10)
    database.write(add("x"))
    assert count(database, "x") == 11
    assert begun() == 10
    entered, leave = threading.Event(), threading.Event()

    def hold(connection: sqlite3.Connection) -> None:
        entered.set()
        leave.wait(10)

    with ThreadPoolExecutor(2) as threads:
        holding = threads.submit(database.write, hold)
        assert entered.wait(10)
        database.begin(add_all, 10)
        waiting = threads.submit(database.write, add("x"))
        deadline = time.monotonic() + 10
        while len(database._queue) < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        leave.set()
        assert waiting.result(10) == 1
        holding.result(10)
    assert count(database, "x") == 22
