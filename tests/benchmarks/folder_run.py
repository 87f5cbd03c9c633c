"""Runs the rows about a folder of this machine, on davfusion and its peers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.benchmarks import data, driver
from tests.benchmarks.findings import Findings
from tests.benchmarks.measure import Sites, measure, wait_until_idle
from tests.benchmarks.rows import Row
from tests.benchmarks.servers import DAVFUSION, MissingError, Server, make_certificate, start
from tests.benchmarks.site import Drive, Site
from tests.benchmarks.usage import proportional_bytes, resident_bytes

Tell = Callable[[str], None]


def run(folder: Path, scale: data.Scale, chosen: list[Row], peers: Iterable[str], seconds: float, rounds: int,
        drive: Drive, tell: Tell, found: Findings) -> None:
    """All rows, on servers that run all the time."""
    data.make(folder / "files", scale, listings={row.listing for row in chosen} - {0})
    with contextlib.ExitStack() as stack:
        servers = dict(_servers(stack, folder, chosen, {*DAVFUSION, *peers}, found.missing, tell))
        found.servers.update({name: server.version for (name, _), server in servers.items()})
        sites = {key: Site(server=server, scale=scale, files=folder / "files", seconds=seconds, drive=drive,
                           exact=driver.drive) for key, server in servers.items()}
        found.memory.update(_memory_at_rest(sites))
        found.results.update(measure(chosen, sites, rounds, tell))
        for name, memory in found.memory.items():
            memory["end_resident_bytes"] = resident_bytes(servers[name, False].process.pid)


def _servers(stack: contextlib.ExitStack, folder: Path, chosen: list[Row], allowed: set[str],
             missing: dict[str, str], tell: Tell) -> Iterator[tuple[tuple[str, bool], Server]]:
    needed = {(name, row.tls): None for row in chosen for name in row.servers if name in allowed}
    try:
        certificate = make_certificate(folder) if any(tls for _, tls in needed) else None
    except MissingError as error:
        missing["TLS"] = str(error)
        needed = {key: None for key in needed if not key[1]}
        certificate = None
    for name, tls in needed:
        called = f"{name} with TLS" if tls else name
        tell(f"starting {called}")
        files = folder / called.replace(" ", "-")
        data.copy(folder / "files", files)
        own = files.with_suffix(".own")
        try:
            yield (name, tls), stack.enter_context(start(name, files, own, certificate if tls else None))
        except MissingError as error:
            missing[called] = str(error)


def _memory_at_rest(sites: Sites) -> dict[str, dict[str, int]]:
    """After each server has answered once and has come to rest."""
    memory = {}
    for (name, tls), site in sites.items():
        if tls:
            continue
        site.warm_up()
        wait_until_idle(site.server)
        pid = site.server.process.pid
        memory[name] = {"idle_resident_bytes": resident_bytes(pid), "idle_proportional_bytes": proportional_bytes(pid)}
    return memory
