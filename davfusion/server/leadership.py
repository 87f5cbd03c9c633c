"""Who serves: one thread leads and answers at once what needs no waiting, the others follow.

The leader waits for all connections and answers most requests itself: no other thread takes part, which with
one interpreter lock is by far the fastest. As soon as an answer has to wait, for the client or for anything
that the application does, another thread takes the lead and this one becomes an ordinary worker.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable

from davfusion.server.connection import FusionConnection, Turn
from davfusion.server.lobby import Lobby
from davfusion.server.settings import ServerSettings
from davfusion.server.workers import Urgency, WorkerPool

log = logging.getLogger(__name__)

_PATIENCE = 0.004
"""Seconds between two looks at the leader: a request that is found twice has kept it too long."""
_DOZE_AFTER = 50
_SHORT_TICK = 0.02
_FRESH_GRACE = 1.0
_SLOW = 0.012
"""Seconds that a leader may take to finish what it began, on average; where it takes longer, the pool does it."""
_SLOW_PAUSE = 0.25
"""Seconds for which it does, before a leader tries again."""
_TOGETHER = 32
"""So many answers at most are begun before they are finished, so that none waits long."""


class _Term:
    """The time in which one thread leads.

    `serving` holds the connection that the leader is answering on. Who takes it out decides: the leader
    at the end of the request, and it goes on leading, or who deposes it. `unfinished` holds those whose answers
    were begun, in the same manner: who deposes the leader takes them and has a worker finish them.
    """

    __slots__ = ("count", "finishing", "leader", "over", "serving", "unfinished")

    def __init__(self, leader: int) -> None:
        self.leader = leader
        self.serving: deque[FusionConnection] = deque()
        self.unfinished: deque[FusionConnection] = deque()
        self.finishing = False
        self.count = 0
        self.over = False


class Leadership:
    """Lets the threads of a pool serve the connections of a lobby."""

    def __init__(self, lobby: Lobby, pool: WorkerPool, settings: ServerSettings) -> None:
        self._lobby = lobby
        self._pool = pool
        self._pooled_methods = settings.pooled_methods
        self._batched_methods = settings.batched_methods & settings.pooled_methods
        self._finishing_takes = 0.0
        """Seconds, of late: a moving average."""
        self._slow_until = 0.0
        self._stop_timeout = settings.stop_timeout
        self._term = _Term(0)
        self._stopping = False
        self._vacant = threading.Event()
        self._dozing = False
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def run(self) -> None:
        """Serve until `stop`."""
        threading.Thread(target=self._watch, name="http-watch", daemon=True).start()
        self._pool.give(self._lead)
        self._vacant.wait()
        self._bell.put(None)

    def stop(self) -> None:
        """Make `run` return soon. Any thread may call this."""
        self._stopping = True
        self._lobby.wake()

    def see_off(self) -> None:
        """After `run`: stop listening, see the requests under way off, then close what is left.

        Requests that have arrived are served, a fresh connection gets a moment for its first one.
        Returns when no connection is left, or after the time set for it.
        """
        lobby = self._lobby
        lobby.stop_accepting()
        began = time.monotonic()
        while lobby.connections:
            lobby.gather(_SHORT_TICK)
            while lobby.ready:
                self._attend(lobby.ready.popleft(), self._term)
            now = time.monotonic()
            if now > began + self._stop_timeout:
                break
            lobby.dismiss(fresh_too=now > began + _FRESH_GRACE)
        lobby.close()

    def before_wait(self) -> None:
        """The calling thread is about to wait for a client: it must not lead while it does."""
        term = self._term
        if term.leader == threading.get_ident():
            self._depose(term)

    def batches(self, connection: FusionConnection) -> bool:
        """Whether a leader may begin the request that is to be answered, to finish it with others. Any thread."""
        return (connection.method in self._batched_methods and connection.body_at_hand
                and time.monotonic() >= self._slow_until)  # fmt: skip

    def _lead(self) -> None:
        term = self._term = _Term(threading.get_ident())
        try:
            while not self._stopping:
                if not self._lead_round(term):
                    return
        except BaseException:
            if not term.over:
                self._hand_over(term)
                self._pool.give(self._lead, Urgency.LEADING)
            raise
        self._vacant.set()

    def _lead_round(self, term: _Term) -> bool:
        """See to all that has come, then finish what was begun; whether the calling thread still leads."""
        lobby = self._lobby
        if not lobby.ready:
            lobby.gather()
        if not self._attend_ready(term):
            return False
        if not term.unfinished:
            return True
        # What came in the meantime may be finished together with it.
        lobby.gather(0)
        return self._attend_ready(term) and self._finish_begun(term)

    def _attend_ready(self, term: _Term) -> bool:
        ready = self._lobby.ready
        while ready:
            if not self._attend(ready.popleft(), term):
                return False
            if len(term.unfinished) >= _TOGETHER and not self._finish_begun(term):
                return False
        return True

    def _finish_begun(self, term: _Term) -> bool:
        """Finish what was begun; whether the calling thread still leads."""
        began = time.monotonic()
        leading = term.finishing = True
        while leading and term.unfinished:
            leading = self._carry(term, term.unfinished.popleft(), FusionConnection.finish)
        term.finishing = False
        self._note_finishing(time.monotonic() - began)
        return leading

    def _note_finishing(self, seconds: float) -> None:
        self._finishing_takes += (seconds - self._finishing_takes) / 8
        if self._finishing_takes > _SLOW:
            # The first time that a leader tries again decides.
            self._finishing_takes = _SLOW
            self._slow_until = time.monotonic() + _SLOW_PAUSE

    def _attend(self, connection: FusionConnection, term: _Term) -> bool:
        """See to one connection; whether the calling thread still leads."""
        if connection.stream.closed:
            return True  # an earlier event of the same round made room by closing it
        try:
            turn = connection.receive()
        except Exception:
            # One connection must never end the server for all others.
            log.exception("connection failed client=%s", connection.remote_addr)
            turn = Turn.CLOSE
        if turn is Turn.ANSWER and self._at_once(connection):
            return self._carry(term, connection, FusionConnection.begin)
        if turn is Turn.ANSWER or turn is Turn.WORK:
            self._lobby.unwatch(connection)
            slow = turn is Turn.ANSWER and connection.method in self._pooled_methods
            urgency = Urgency.PATIENT if slow else Urgency.USUAL
            self._pool.give(functools.partial(self._work, connection), urgency)
        elif turn is Turn.CLOSE:
            self._lobby.drop(connection)
        return True

    def _at_once(self, connection: FusionConnection) -> bool:
        # Without a thread that could follow, the leader would be caught in the first request that waits.
        if connection.dawdles or self._stopping or not self._pool.spare:
            return False
        return connection.method not in self._pooled_methods or self.batches(connection)

    def _carry(self, term: _Term, connection: FusionConnection, step: Callable[[FusionConnection], Turn]) -> bool:
        """Take the leader's next step with a connection; whether the calling thread still leads."""
        turn = Turn.CLOSE
        term.serving.append(connection)
        term.count += 1
        if self._dozing:
            self._dozing = False
            self._bell.put(None)
        try:
            turn = step(connection)
        except Exception:
            log.exception("connection failed client=%s", connection.remote_addr)
        finally:
            leading = _taken(term)
            connection.postponed = False
            if not leading:
                self._give_back(connection, turn)
            elif turn is Turn.REST:
                connection.resting_since = self._lobby.now
            elif turn is Turn.FINISH:
                connection.postponed = True
                term.unfinished.append(connection)
            elif turn is Turn.AGAIN:
                self._lobby.postpone(connection)
            elif turn is Turn.CLOSE:
                self._lobby.drop(connection)
        return leading

    def _work(self, connection: FusionConnection) -> None:
        """Serve a connection in a thread that does not lead."""
        turn = Turn.CLOSE
        try:
            turn = connection.work()
        except Exception:
            log.exception("connection failed client=%s", connection.remote_addr)
        finally:
            self._give_back(connection, turn)

    def _finish(self, connections: list[FusionConnection]) -> None:
        """Finish answers that a leader began who leads no more."""
        for connection in connections:
            turn = Turn.CLOSE
            try:
                turn = connection.finish()
            except Exception:
                log.exception("connection failed client=%s", connection.remote_addr)
            finally:
                self._give_back(connection, turn)

    def _give_back(self, connection: FusionConnection, turn: Turn) -> None:
        if turn is Turn.REST:
            self._lobby.watch(connection)
        elif turn is Turn.CLOSE:
            with self._lobby.lock:
                pass  # who deposed this thread has let go of the connection
            connection.close()
        elif turn is Turn.FINISH:
            self._finish([connection])
        else:
            self._pool.give(functools.partial(self._work, connection))

    def _hand_over(self, term: _Term) -> None:
        """The term is over: have a worker finish what its leader began."""
        left: list[FusionConnection] = []
        with self._lobby.lock, contextlib.suppress(IndexError):
            while True:
                connection = term.unfinished.popleft()
                self._lobby.unwatch_locked(connection)
                connection.postponed = False
                left.append(connection)
        if left:
            self._pool.give(functools.partial(self._finish, left))

    def _depose(self, term: _Term, *, dawdles: bool = False) -> None:
        """Let another thread lead while this term's leader is answering, if it is.

        `dawdles` is what is remembered of the connection that it is answering on.
        """
        with self._lobby.lock:
            if not term.serving:
                return
            try:
                connection = term.serving.pop()
            except IndexError:
                return
            self._lobby.unwatch_locked(connection)
            # What was slow while answers were finished is nothing that this connection is to blame for.
            connection.dawdles = dawdles and not term.finishing
            term.over = True
        self._hand_over(term)
        self._pool.give(self._lead, Urgency.LEADING)

    def _watch(self) -> None:
        """Depose leaders that are kept too long, awake only while there is something to do."""
        quiet = 0
        while not self._vacant.is_set():
            term = self._term
            count = term.count
            time.sleep(_PATIENCE)
            if term is self._term and count == term.count:
                self._depose(term, dawdles=True)
                quiet += 1
            else:
                quiet = 0
            if quiet > _DOZE_AFTER:
                quiet = 0
                self._dozing = True
                if not self._term.serving and not self._vacant.is_set():
                    self._bell.get()


def _taken(term: _Term) -> bool:
    try:
        term.serving.pop()
    except IndexError:
        return False
    return True
