"""What a load generator is asked to do, and what it reports: the same for all generators and servers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; `path` is percent-encoded and begins at the server's root."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def wire(self, host: str) -> bytes:
        """The request as HTTP/1.1."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body or self.method in ("PUT", "POST"):
            lines.append(f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + self.body


@dataclass(frozen=True, slots=True)
class Work:
    """A ring of requests that is gone round for a time.

    Each thread or process of a generator takes its own share of a ring that is long enough, so that no two write to
    one path.
    """

    ring: tuple[Ask, ...]
    statuses: frozenset[int]
    length: int | None
    """Bytes of every body; None where it may differ, such as that of an answer to PUT."""
    connections: int = 1


@dataclass(slots=True)
class Outcome:
    """What one run came to. `errors` are sentences; with any of them the numbers do not count."""

    operations: int = 0
    seconds: float = 0.0
    bytes: int = 0
    """Of bodies, either way."""
    errors: list[str] = field(default_factory=list)
    p50: float | None = None
    """Median time of one request in milliseconds, where the generator tells."""
    p99: float | None = None
    notes: list[str] = field(default_factory=list)
    cpu: float | None = None
    """Seconds of CPU, where not the server did the work."""
