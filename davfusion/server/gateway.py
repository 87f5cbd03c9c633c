"""From a parsed request to a WSGI application and back (PEP 3333)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from davfusion.server.body import Body
from davfusion.server.files import FileWrapper
from davfusion.server.head import RequestHead
from davfusion.server.response import Response

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Any], Iterable[bytes]]


class ErrorStream:
    """`wsgi.errors`: what the application writes there becomes log lines. Safe to use from several threads."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def write(self, text: str) -> int:
        """Log the text, which may be a part of a line."""
        if text.strip():
            self._log.error("application error text=%s", text.rstrip())
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Log each of the lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Every write is logged at once: there is nothing to flush."""


def base_environ(
    *, host: str, port: int, https: bool, server_name: str, multiprocess: bool, errors: ErrorStream
) -> Environ:
    """What is the same in every request to a server."""
    return {
        "SCRIPT_NAME": "",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_SOFTWARE": server_name,
        "ACTUAL_SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if https else "http",
        "wsgi.errors": errors,
        "wsgi.multithread": True,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
    }


def request_environ(shared: Environ, head: RequestHead, body: Body) -> Environ:
    """The environ of one request, given what it has in common with others, its headers among it.

    PATH_INFO is percent-decoded, REQUEST_URI is the target as it was sent.
    """
    environ = shared.copy()
    environ["REQUEST_METHOD"] = head.method
    environ["REQUEST_URI"] = head.target
    environ["PATH_INFO"] = head.path
    environ["QUERY_STRING"] = head.query
    environ["SERVER_PROTOCOL"] = head.protocol
    environ["wsgi.input"] = body
    return environ


def begin(app: WsgiApp, environ: Environ, response: Response) -> Iterable[bytes] | None:
    """Let the application answer. What it raises comes out, as do the errors of `Response`.

    An application may call `start_response` as late as with the first block of its result. Where a result has an
    attribute `is_late` that is true, it is returned instead of sent: its first block has to be waited for and may
    be asked for in any thread, and who has begun other requests meanwhile may find that they are waited for together.
    It is to be given to `finish`.
    """
    result = app(environ, response.begin)
    if getattr(result, "is_late", False):
        return result
    finish(result, response)
    return None


def finish(result: Iterable[bytes], response: Response) -> None:
    """Send what the application gave; raises as `begin` does."""
    try:
        _send(result, response)
        response.finish()
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()


def _send(result: Iterable[bytes], response: Response) -> None:
    if isinstance(result, FileWrapper) and not response.sent:
        response.write_file(result)
        return
    if isinstance(result, list | tuple) and len(result) == 1 and not response.sent:
        response.write_whole(result[0])
        return
    for block in result:
        if block:
            response.write(block)
        if response.over:
            return
