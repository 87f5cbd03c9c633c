"""What of cheroot this server relies on, so that a new release that changes it is noticed."""

from __future__ import annotations

import inspect

from cheroot import wsgi

from davfusion.server import FusionServer, ServerSettings


def test_the_interrupt_of_a_server_is_a_property() -> None:
    assert isinstance(inspect.getattr_static(wsgi.Server, "interrupt"), property)
    assert wsgi.Server._interrupt is None


def test_what_a_server_is_made_of() -> None:
    """The constructor starts nothing; `start` is prepare and serve."""
    server = FusionServer(lambda environ, start_response: [b""], ServerSettings(port=0))
    assert isinstance(server, wsgi.Server)
    assert server.wsgi_app is not None
    assert not server.ready
    assert "self.prepare()" in inspect.getsource(wsgi.Server.start)
    assert "self.serve()" in inspect.getsource(wsgi.Server.start)


def test_started_as_any_cheroot_server() -> None:
    """A program that knows cheroot only can run it: `start` blocks, `stop` ends it."""
    import threading
    import urllib.request

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    server = FusionServer(app, ServerSettings(port=0))
    thread = threading.Thread(target=server.start)
    thread.start()
    try:
        for _ in range(1000):
            if server.ready:
                break
            thread.join(0.01)
        with urllib.request.urlopen(server.url, timeout=10) as answer:
            assert answer.read() == b"ok"
    finally:
        server.stop()
        thread.join(10)
    assert not thread.is_alive()
