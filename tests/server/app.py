"""A WSGI application that shows what a server hands it, and misbehaves on request."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

BIG = 5 * 1024 * 1024 + 17
PATTERN = bytes(range(251)) * (BIG // 251 + 1)
BIG_BYTES = PATTERN[:BIG]


class ProbeApp:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.body_errors: list[Exception] = []
        self.body_error = threading.Event()
        self.entered = threading.Event()
        self.release = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        self.calls.append((environ["REQUEST_METHOD"], path))
        name = path.strip("/").replace("-", "_") if path != "*" else "environ"
        handler = getattr(self, f"do_{name}", self.do_environ)
        return handler(environ, start_response)

    def do_environ(self, environ, start_response):
        shown = {k: v for k, v in environ.items() if isinstance(v, str | bool | int)}
        return _whole(start_response, json.dumps(shown).encode())

    def do_ok(self, environ, start_response):
        return _whole(start_response, b"ok")

    def do_processor_time(self, environ, start_response):
        return _whole(start_response, str(time.process_time()).encode())

    def do_echo(self, environ, start_response):
        """Length and hash of the body, read as a large upload is."""
        body = environ["wsgi.input"]
        digest, length, buffer = hashlib.sha256(), 0, bytearray(1 << 20)
        try:
            while size := body.readinto(buffer):
                digest.update(memoryview(buffer)[:size])
                length += size
        except Exception as error:
            self.body_errors.append(error)
            self.body_error.set()
            raise
        assert body.complete
        return _whole(start_response, f"{length} {digest.hexdigest()}".encode())

    def do_patient(self, environ, start_response):
        """Catches the body's error and answers by itself."""
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            return _whole(start_response, repr(error).encode(), status="409 Conflict")
        return _whole(start_response, b"whole")

    def do_lines(self, environ, start_response):
        return _whole(start_response, repr(environ["wsgi.input"].readlines()).encode())

    def do_pieces(self, environ, start_response):
        """What the methods of a body give, one after the other, and the rest: `?read:5,readline`."""
        body = environ["wsgi.input"]
        calls = (call.partition(":") for call in environ["QUERY_STRING"].split(","))
        found = [getattr(body, name)(*([int(size)] if size else [])) for name, _, size in calls]
        found.append(body.read())
        assert body.complete
        return _whole(start_response, repr(found).encode())

    def do_refuse(self, environ, start_response):
        """Answers without reading the body."""
        return _whole(start_response, b"no", status="401 Unauthorized")

    def do_empty(self, environ, start_response):
        start_response("204 No Content", [("Content-Length", "0")])
        return []

    def do_unchanged(self, environ, start_response):
        start_response("304 Not Modified", [("ETag", '"1"')])
        return [b"never sent"]

    def do_stream(self, environ, start_response):
        start_response("200 OK", [])
        return (b"part %d;" % number for number in range(5))

    def do_written(self, environ, start_response):
        write = start_response("200 OK", [])
        write(b"first ")
        return [b"second"]

    def do_boom(self, environ, start_response):
        raise RuntimeError("a secret detail")

    def do_boom_midway(self, environ, start_response) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"half"
        raise RuntimeError("a secret detail")

    def do_boom_replaced(self, environ, start_response):
        import sys

        start_response("200 OK", [("X-Old", "1")])
        try:
            raise ValueError("late")
        except ValueError:
            start_response("503 Service Unavailable", [], sys.exc_info())
        return [b"later"]

    def do_short(self, environ, start_response):
        start_response("200 OK", [("Content-Length", "10")])
        return [b"four"]

    def do_long(self, environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return [b"fourteen"]

    def do_split(self, environ, start_response):
        return _whole(start_response, b"x", headers=[("X-Note", "a\r\nSet-Cookie: b=c")])

    def do_framed(self, environ, start_response):
        return _whole(start_response, b"x", headers=[("Transfer-Encoding", "chunked")])

    def do_big(self, environ, start_response):
        return _whole(start_response, BIG_BYTES)

    def do_file(self, environ, start_response):
        """`?offset,count` of a file of the pattern; `pipe` hides that it is a file."""
        offset, count, kind = (environ["QUERY_STRING"] or f"0,{BIG},file").split(",")
        file = tempfile.TemporaryFile()  # noqa: SIM115
        file.write(BIG_BYTES)
        file.seek(int(offset))
        source = file if kind == "file" else _ReadOnly(file)
        start_response("200 OK", [("Content-Length", count)] if int(count) else [])
        return environ["wsgi.file_wrapper"](source)

    def do_hold(self, environ, start_response):
        self.entered.set()
        self.release.wait(30)
        return _whole(start_response, b"held")


class _ReadOnly:
    def __init__(self, file) -> None:
        self.read = file.read
        self.close = file.close


def _whole(start_response, body, *, status="200 OK", headers=()):
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers])
    return [body]
