"""What is on its way to the store: archives, a few at a time, and single large files beside them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from davfusion.cache.index import View
from davfusion.sync.chunked.carriage import Carriage, Stowed
from davfusion.sync.chunked.factory import Item

ARCHIVES = 8
"""Archives that travel at the same time at most."""
SINGLES = 3
"""Large files that travel at the same time at most; each sends several blocks at a time."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Contents on their way: those of an archive, or a large one."""

    items: Sequence[Item]
    interrupt: threading.Event
    is_archive: bool

    @property
    def size(self) -> int:
        """Bytes of the contents."""
        return sum(item.size for item in self.items)


class Transfers:
    """Transfers of one engine. For its scheduling thread alone."""

    def __init__(self, carriage: Carriage) -> None:
        self._carriage = carriage
        self._running: dict[Future[Stowed], Transfer] = {}
        self._line: deque[Sequence[Item]] = deque()
        """Archives that wait for their turn."""

    def __bool__(self) -> bool:
        return bool(self._running)

    @property
    def packing(self) -> bool:
        """Whether archives travel, or wait for it."""
        return bool(self._line) or any(transfer.is_archive for transfer in self._running.values())

    @property
    def free_singles(self) -> int:
        """How many large files more may travel."""
        return SINGLES - sum(not transfer.is_archive for transfer in self._running.values())

    def contents(self) -> set[int]:
        """The contents that are on their way or in line."""
        known = [*(transfer.items for transfer in self._running.values()), *self._line]
        return {item.content for items in known for item in items}

    def line_up(self, archives: Iterable[Sequence[Item]]) -> None:
        """Let archives travel, before those that are in line: what was saved just now does not wait for a mass."""
        self._line.extendleft(reversed(list(archives)))

    def start_archives(self, pool: ThreadPoolExecutor) -> None:
        """Start those in line for which there is room."""
        under_way = sum(transfer.is_archive for transfer in self._running.values())
        for _ in range(min(ARCHIVES - under_way, len(self._line))):
            items, interrupt = self._line.popleft(), threading.Event()
            future = pool.submit(self._carriage.put_archive, items, interrupt)
            self._running[future] = Transfer(items, interrupt, is_archive=True)

    def start_single(self, pool: ThreadPoolExecutor, item: Item) -> None:
        """Start a large file."""
        interrupt = threading.Event()
        future = pool.submit(self._carriage.put_blocks, item, interrupt)
        self._running[future] = Transfer([item], interrupt, is_archive=False)

    def ended(self, timeout: float) -> list[tuple[Transfer, Future[Stowed]]]:
        """What has ended, waited for up to `timeout` seconds."""
        finished, _ = wait(self._running, timeout=timeout, return_when=FIRST_COMPLETED)
        return [(self._running.pop(future), future) for future in finished]

    def interrupt_unwanted(self, view: View) -> None:
        """Interrupt large files that no file of the tree has any more."""
        for transfer in self._running.values():
            if not transfer.is_archive and not view.nodes.users(transfer.items[0].content):
                transfer.interrupt.set()

    def interrupt(self) -> None:
        """End everything, soon."""
        self._line.clear()
        for transfer in self._running.values():
            transfer.interrupt.set()
