"""The server: a listening socket, a lobby, threads that serve, and an orderly end."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from cheroot import wsgi

from davfusion.server.connection import FusionConnection, Service
from davfusion.server.gateway import ErrorStream, WsgiApp, base_environ
from davfusion.server.head import HeadParser
from davfusion.server.leadership import Leadership
from davfusion.server.lobby import Lobby
from davfusion.server.response import ServerIdentity
from davfusion.server.settings import ServerSettings
from davfusion.server.tls import Tls
from davfusion.server.workers import WorkerPool

log = logging.getLogger(__name__)

_SHUTDOWN_WAIT = 1.0


class FusionServer(wsgi.Server):
    """Serves a WSGI application over HTTP/1.1.

    `prepare` listens, `serve` runs in the calling thread until `stop`, which any thread may call.
    """

    def __init__(self, app: WsgiApp, settings: ServerSettings, *, listener: socket.socket | None = None) -> None:
        """`listener` is a bound TCP socket to use instead of the settings' host and port.

        Raises OSError or ssl.SSLError where the TLS files cannot be loaded.
        """
        super().__init__(
            (settings.host, settings.port),
            app,
            server_name=settings.server_name,
            request_queue_size=settings.backlog,
            reuse_port=settings.reuse_port,
        )
        self.settings = settings
        self.requests = WorkerPool(
            keep=settings.threads,
            limit=settings.max_threads + 1,
            reserve=settings.max_threads // 4,
            idle=settings.thread_idle,
            interrupt=self._interrupted,
        )
        self.tls = _load_tls(settings)
        self.url = ""
        self._given_listener = listener
        self._lobby: Lobby | None = None
        self._leadership: Leadership | None = None
        self._stop_requested = False

    def prepare(self) -> None:
        """Listen; `url` tells where. OSError where the address cannot be used."""
        listener = self._given_listener or listen(self.settings)
        listener.listen(self.settings.backlog)
        self.socket = listener
        host, port = listener.getsockname()[:2]
        self.bind_addr = (host, port)
        self.url = f"http{'s' if self.tls else ''}://{f'[{host}]' if ':' in host else host}:{port}/"
        service = self._service(host, port)
        self._lobby = Lobby(
            listener,
            self.settings,
            greet=lambda sock, address, on_close: FusionConnection(service, sock, address, on_close),
        )
        self._leadership = Leadership(self._lobby, self.requests, self.settings)
        self.ready = True

    def serve(self) -> None:
        """Serve until `stop`, then see the requests under way off."""
        if self._leadership is None or self._lobby is None:
            raise RuntimeError("prepare() comes before serve()")
        if self._stop_requested:
            self._leadership.stop()
        self._leadership.run()
        self.ready = False
        log.info("server stopping url=%s", self.url)
        self._leadership.see_off()
        ended = self.requests.stop(_SHUTDOWN_WAIT)
        self._lobby.cut_off()
        if not ended:
            self.requests.stop(_SHUTDOWN_WAIT)
        log.info("server stopped url=%s", self.url)

    def stop(self) -> None:
        """Make `serve` end its work and return. Does not wait for it."""
        self._stop_requested = True
        if self._leadership is not None:
            self._leadership.stop()

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """What cheroot has to say goes to logging."""
        log.log(level, "server message text=%r", msg, exc_info=sys.exc_info() if traceback else None)

    @property
    def interrupt(self) -> BaseException | None:
        """The SystemExit or KeyboardInterrupt by which an application ended the server."""
        return self._interrupt

    @interrupt.setter
    def interrupt(self, interrupt: BaseException | None) -> None:
        self._interrupt = interrupt
        self.stop()

    def _interrupted(self, interrupt: BaseException) -> None:
        self.interrupt = interrupt

    def _before_wait(self) -> None:
        if self._leadership is not None:
            self._leadership.before_wait()

    def _service(self, host: str, port: int) -> Service:
        environ = base_environ(
            host=host,
            port=port,
            https=self.tls is not None,
            server_name=self.settings.server_name,
            multiprocess=self.settings.reuse_port or self._given_listener is not None,
            errors=ErrorStream(log),
        )
        return Service(
            app=self.wsgi_app,
            settings=self.settings,
            environ=environ,
            parser=HeadParser(self.settings),
            identity=ServerIdentity(self.settings.server_name),
            tls=self.tls,
            stopping=lambda: self._stop_requested,
            crowded=lambda: self.requests.crowded,
            batching=lambda connection: self._leadership is not None and self._leadership.batches(connection),
            before_wait=self._before_wait,
        )


def serve(
    app: WsgiApp,
    settings: ServerSettings,
    *,
    ready: Callable[[str], Any],
    stop: threading.Event,
    listener: socket.socket | None = None,
    reload_tls: threading.Event | None = None,
) -> None:
    """Serve `app` in the calling thread until `stop` is set and the requests under way have ended.

    `ready` is called with the server's URL once connections are accepted. `listener` is a bound
    socket to listen on instead of the settings' address; it is closed at the end. Each time
    `reload_tls` is set, certificate and key are read again. Raises OSError where the address or the
    TLS files cannot be used, and what the application raised to end the server (SystemExit).
    """
    server = FusionServer(app, settings, listener=listener)
    server.prepare()
    ended = threading.Event()
    watchers = [threading.Thread(target=_stop_on, args=(stop, server), name="http-stop", daemon=True)]
    if reload_tls is not None and server.tls is not None:
        arguments = (reload_tls, ended, server.tls)
        watchers.append(threading.Thread(target=_reload_on, args=arguments, name="http-tls", daemon=True))
    for watcher in watchers:
        watcher.start()
    ready(server.url)
    try:
        server.serve()
    finally:
        ended.set()
    if server.interrupt is not None:
        raise server.interrupt


def listen(settings: ServerSettings) -> socket.socket:
    """A socket that listens on the settings' address; OSError where none of its addresses can be used."""
    flags = socket.AI_PASSIVE
    found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=flags)
    failure: OSError | None = None
    for family, _, _, _, address in found:
        both = family == socket.AF_INET6 and settings.host == "::" and socket.has_dualstack_ipv6()
        try:
            return socket.create_server(
                (str(address[0]), settings.port),
                family=family,
                backlog=settings.backlog,
                reuse_port=settings.reuse_port,
                dualstack_ipv6=both,
            )
        except OSError as error:
            failure = failure or error
    raise failure or OSError(f"no address for {settings.host}")


def _load_tls(settings: ServerSettings) -> Tls | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Tls(certificate=settings.tls_cert, key=settings.tls_key)


def _stop_on(stop: threading.Event, server: FusionServer) -> None:
    stop.wait()
    server.stop()


def _reload_on(reload: threading.Event, ended: threading.Event, tls: Tls) -> None:
    while not ended.is_set():
        if not reload.wait(1.0):
            continue
        reload.clear()
        try:
            tls.reload()
        except OSError as error:
            log.error("TLS files not reloaded, the old ones stay in use error=%r", error)
        else:
            log.info("TLS files reloaded")
