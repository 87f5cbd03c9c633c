"""An HTTP server that answers as a test says, for what no real server can be made to do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Close the connection after so many bytes of the body."""
    length: bool = True
    """Send a Content-Length, unless the body is chunked."""


@dataclass
class Script:
    endpoint: str
    answers: list[Answer] = field(default_factory=list)
    """Given out in order; the last one again and again."""
    requests: list[str] = field(default_factory=list)
    """Method and target of what was asked."""

    def answer(self, *answers: Answer) -> None:
        self.answers[:] = answers


@contextlib.contextmanager
def scripted_server() -> Iterator[Script]:
    script = Script("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            script.requests.append(f"{self.command} {self.path}")
            answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.length and "Transfer-Encoding" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[:answer.cut])
            self.close_connection = answer.cut is not None

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    script.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
