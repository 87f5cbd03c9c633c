"""What is to be reached."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Measure(Enum):
    """What a goal is about; all but the rate are to be small."""

    RATE = "rate"
    SECONDS = "seconds"
    REQUESTS = "store requests"
    READS = "object reads"
    SENT = "bytes to the store"


@dataclass(frozen=True, slots=True)
class Goal:
    """A rate of at least so many times that of a peer; or at most so much of something, or so many times a peer's."""

    amount: float
    peer: str | None = None
    subject: str = "davfusion"
    of: Measure = Measure.RATE
