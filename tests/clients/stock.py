"""WsgiDAV's own application with our provider, locks and properties, under cheroot's own server.

That the provider keeps WsgiDAV's contracts is a test, not a way to run davfusion: there is no engine here.
Run as a process: `python -m tests.clients.stock STORE STATE`; prints the address when it is ready.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def stock_served(store: str, *, state: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """The address of a stock WsgiDAV server over a share, killed at the end."""
    state.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-m", "tests.clients.stock", store, str(state)],
                               env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), f"ended with {process.poll()}"
        yield url
    finally:
        process.kill()
        process.communicate()


def main(address: str, state: Path) -> None:
    from cheroot.wsgi import Server
    from wsgidav.wsgidav_app import WsgiDAVApp

    from davfusion.cache.share import Share
    from davfusion.dav.app import wsgidav_config
    from davfusion.store.address import open_store

    share = Share(state, open_store(address, environ=os.environ))
    app = WsgiDAVApp(wsgidav_config({"/": share}, simple_dc={"user_mapping": {"*": True}}))
    server = Server(("127.0.0.1", 0), app)
    server.prepare()
    print(f"http://127.0.0.1:{server.bind_addr[1]}/", flush=True)
    server.serve()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
