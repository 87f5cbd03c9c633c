"""A front worker: answers requests. Started by a supervisor as `python -m davfusion.processes.front`."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable

from davfusion import logs
from davfusion.dav.app import DavFusionApp
from davfusion.processes.application import open_application
from davfusion.processes.child import Supervised, unless_unusable
from davfusion.processes.handover import Handover
from davfusion.processes.opening import open_shares
from davfusion.server import ServerSettings, serve
from davfusion.settings import Config, ConfigError

_STOP_TIMEOUT = 8.0
"""Seconds for requests under way when stopping; the supervisor waits a little longer."""


def serve_until(stop: threading.Event, application: DavFusionApp, config: Config, listening: socket.socket, *,
                ready: Callable[[], None], reload: threading.Event) -> None:
    """Answer requests until `stop` is set and those under way have ended; `reload` reads the certificate again.

    Raises ConfigError when the certificate cannot be used.
    """
    settings = ServerSettings(host=config.host, port=listening.getsockname()[1], stop_timeout=_STOP_TIMEOUT,
                              tls_cert=config.tls_cert, tls_key=config.tls_key)
    try:
        serve(application, settings, listener=listening, ready=lambda _: ready(), stop=stop, reload_tls=reload)
    except ssl.SSLError as error:
        raise ConfigError(f"The certificate {config.tls_cert} and its key cannot be used: {error}.") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{error.filename or config.tls_cert} does not exist.") from error


def main() -> int:
    """Serve until SIGTERM; the exit code."""
    supervised = Supervised()
    handover = Handover.from_line(supervised.handover)
    logs.set_up(verbose=handover.verbose)
    if handover.core is not None:
        os.sched_setaffinity(0, {handover.core})
    shares = open_shares(handover.config, handover.state)
    application = open_application(handover.config, shares)
    listening = socket.socket(fileno=handover.listening)
    serve_until(supervised.stop, application, handover.config, listening, ready=supervised.report_ready,
                reload=supervised.reload)
    for opened in shares:
        opened.close()
    return 0


if __name__ == "__main__":
    sys.exit(unless_unusable(main))
