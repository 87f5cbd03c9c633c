"""What of cheroot's inner parts this server relies on, so that a new release that changes them is noticed."""

from __future__ import annotations

import inspect

from cheroot import wsgi
from cheroot.workers import threadpool


def test_parts_of_the_thread_pool() -> None:
    source = inspect.getsource(threadpool.WorkerThread)
    for call in (
        "server.requests.get()",
        "conn.communicate()",
        "server.put_conn(conn)",
        "conn.close()",
        "_SHUTDOWNREQUEST",
    ):
        assert call in source
    pool = threadpool.ThreadPool(wsgi.Server(("127.0.0.1", 0), None))
    assert pool._threads == []
    assert pool._queue.qsize() == 0
    assert pool.get == pool._queue.get


def test_the_interrupt_of_a_server_is_a_property() -> None:
    assert isinstance(inspect.getattr_static(wsgi.Server, "interrupt"), property)
