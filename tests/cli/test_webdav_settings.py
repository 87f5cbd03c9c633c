"""What a configuration file says about WebDAV reaches those who ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.clients.serving import served, session

LOCK = b'<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>'


@pytest.fixture
def ask(tmp_path: Path) -> Iterator:
    """Serves a share `files` by some settings; sends it requests."""
    (tmp_path / "store").mkdir()
    started = []

    def start(settings: str):
        file = tmp_path / "davfusion.toml"
        file.write_text(f'{settings}\n[[share]]\nname = "files"\nstore = "{tmp_path}/store"\n')
        context = served(None, "--config", str(file), state=tmp_path / "state")
        started.append(context)
        url = context.__enter__().url

        def send(method: str, path: str, **options) -> requests.Response:
            return session().request(method, f"{url}files/{path}", timeout=30, **options)

        return send

    yield start
    for context in started:
        context.__exit__(None, None, None)


def granted(answer: requests.Response) -> str:
    assert answer.status_code in (200, 201), answer.text
    return answer.text.partition("Second-")[2].partition("<")[0]


def test_lock_times(ask) -> None:
    send = ask("lock_timeout = 120\nlock_timeout_max = 900")
    assert granted(send("LOCK", "unnamed", data=LOCK)) == "120"
    assert granted(send("LOCK", "endless", data=LOCK, headers={"Timeout": "Infinite"})) == "900"


def test_infinite_depth_is_refused_where_the_limit_is_none(ask) -> None:
    send = ask("infinite_depth_limit = 0")
    assert send("PROPFIND", "", headers={"Depth": "1"}).status_code == 207
    refused = send("PROPFIND", "", headers={"Depth": "infinity"})
    assert (refused.status_code, "propfind-finite-depth" in refused.text) == (403, True)


@pytest.mark.parametrize(("settings", "status"), [("any_destination_host = true", 201), ("", 502)])
def test_destinations_on_another_host(ask, settings: str, status: int) -> None:
    send = ask(settings)
    assert send("PUT", "a", data=b"a").status_code == 201
    headers = {"Destination": "https://drive.example/files/b"}
    assert send("MOVE", "a", headers=headers).status_code == status
