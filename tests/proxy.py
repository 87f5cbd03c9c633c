"""A TCP proxy in a process of its own: adds latency, goes down and up, freezes.

    with tcp_proxy(server.port, latency=0.03) as proxy:
        ... proxy.endpoint ...
        proxy.down()     # connections are reset, new ones refused
        proxy.up()
        proxy.freeze()   # connections stay, nothing passes
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PIECE = 65536


@dataclass
class Proxy:
    """A running proxy. Each command has taken effect when it returns."""

    port: int
    process: subprocess.Popen[str]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def down(self) -> None:
        self._tell("down")

    def up(self) -> None:
        """Accept and pass again, after `down` or `freeze`."""
        self._tell("up")

    def freeze(self) -> None:
        self._tell("freeze")

    def set_latency(self, seconds: float) -> None:
        """Seconds that every piece takes, in each direction."""
        self._tell(f"latency {seconds}")

    def connections(self) -> int:
        """Connections accepted since the start."""
        return int(self._tell("connections"))

    def sent(self) -> int:
        """Bytes that clients have sent since the start, heads of requests included."""
        return int(self._tell("sent"))

    def _tell(self, command: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@contextlib.contextmanager
def tcp_proxy(target: int, *, latency: float = 0.0) -> Iterator[Proxy]:
    """A proxy to a port of 127.0.0.1 until the end of the block."""
    process = subprocess.Popen([sys.executable, __file__, str(target), str(latency)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield Proxy(int(process.stdout.readline()), process)
    finally:
        process.kill()
        process.communicate()


class _Relay:
    """What runs in the process."""

    def __init__(self, target: int, latency: float) -> None:
        self.target, self.latency = target, latency
        self.port = 0
        self.accepted = self.sent = 0
        self.server: asyncio.Server | None = None
        self.writers: set[asyncio.StreamWriter] = set()
        self.passing = asyncio.Event()
        self.passing.set()

    async def listen(self) -> None:
        self.passing.set()
        if self.server is None:
            self.server = await asyncio.start_server(self.accept, "127.0.0.1", self.port)
            self.port = self.server.sockets[0].getsockname()[1]

    async def drop(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None
        for writer in list(self.writers):
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            self.writers.discard(writer)
            return
        self.writers.add(far_writer)
        await asyncio.gather(self.relay(reader, far_writer, self.count), self.relay(far_reader, writer))
        self.writers -= {writer, far_writer}

    def count(self, piece: bytes) -> None:
        self.sent += len(piece)

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
                    count: Callable[[bytes], None] = lambda _: None) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=256)
        receiving = asyncio.create_task(self.receive(reader, queue))
        try:
            while True:
                due, piece = await queue.get()
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                await self.passing.wait()
                if not piece:
                    break
                count(piece)
                writer.write(piece)
                await writer.drain()
        except OSError:
            writer.transport.abort()
        finally:
            receiving.cancel()
            writer.close()

    async def receive(self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        piece = b"-"
        while piece:
            try:
                piece = await reader.read(PIECE)
            except OSError:
                piece = b""
            await queue.put((asyncio.get_running_loop().time() + self.latency, piece))

    async def obey(self, command: str) -> str:
        match command.split():
            case ["down"]:
                await self.drop()
            case ["up"]:
                await self.listen()
            case ["freeze"]:
                self.passing.clear()
            case ["latency", seconds]:
                self.latency = float(seconds)
            case ["connections"]:
                return str(self.accepted)
            case ["sent"]:
                return str(self.sent)
            case _:
                return f"unknown: {command}"
        return "ok"


async def _main(target: int, latency: float) -> None:
    relay = _Relay(target, latency)
    await relay.listen()
    print(relay.port, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(await relay.obey(line), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
