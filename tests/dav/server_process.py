"""A process that serves one share: `python -m tests.dav.server_process APP SERVER STATE [STORE]`.

APP is `ours` or `stock` (WsgiDAV's own application over our provider), SERVER `cheroot` or `fusion`. Prints its
URL when it listens and ends when its input ends.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp

from davfusion.cache.share import Share
from davfusion.dav.app import DavFusionApp, wsgidav_config
from davfusion.server import ServerSettings, serve
from davfusion.store.local import LocalStore
from davfusion.store.memory import MemoryStore


def application(kind: str, share: Share) -> Callable[..., Any]:
    if kind == "ours":
        return DavFusionApp({"/": share})
    app: Callable[..., Any] = WsgiDAVApp(wsgidav_config(
        {"/": share}, simple_dc={"user_mapping": {"*": True}}, add_header_MS_Author_Via=True))
    return app


def serve_with_cheroot(app: Callable[..., Any], stop: threading.Event) -> None:
    server = wsgi.Server(("127.0.0.1", 0), app, timeout=2)
    server.prepare()
    print(f"http://127.0.0.1:{server.bind_addr[1]}/", flush=True)
    threading.Thread(target=lambda: (stop.wait(), server.stop())).start()
    server.serve()


def main() -> None:
    kind, server, state, *store = sys.argv[1:]
    share = Share(Path(state), LocalStore(store[0]) if store else MemoryStore())
    app = application(kind, share)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    if server == "cheroot":
        serve_with_cheroot(app, stop)
    else:
        serve(app, ServerSettings(port=0), ready=lambda url: print(url, flush=True), stop=stop)


if __name__ == "__main__":
    main()
