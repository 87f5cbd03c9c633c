"""Waiting for many sockets at once."""

from __future__ import annotations

import contextlib
import select
import selectors
from typing import Protocol


class Poller(Protocol):
    """Tells which descriptors are readable, again and again until they are read.

    One thread may wait while others watch and unwatch descriptors.
    """

    def watch(self, descriptor: int) -> None:
        """Begin to tell about an open descriptor."""

    def unwatch(self, descriptor: int) -> None:
        """Stop telling about it; to be called before it is closed."""

    def wait(self, seconds: float | None) -> list[int]:
        """The descriptors that are readable or broken; waits for the first of them, at most `seconds`."""

    def close(self) -> None:
        """Free what the poller holds. The descriptors stay open."""


def open_poller() -> Poller:
    """The best there is on this system."""
    return _EpollPoller() if hasattr(select, "epoll") else _SelectorPoller()


class _EpollPoller:
    """Without the objects that `selectors` makes of every event: half of the time of a wait."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.close = self._epoll.close

    def watch(self, descriptor: int) -> None:
        self._epoll.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        self._epoll.unregister(descriptor)

    def wait(self, seconds: float | None) -> list[int]:
        return [descriptor for descriptor, _ in self._epoll.poll(seconds)]


class _SelectorPoller:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.close = self._selector.close

    def watch(self, descriptor: int) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ)

    def unwatch(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)

    def wait(self, seconds: float | None) -> list[int]:
        return [key.fd for key, _ in self._selector.select(seconds)]
