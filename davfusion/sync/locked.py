"""Files that somebody has open for writing are held back, but not for ever."""

from __future__ import annotations

from davfusion.cache.index import View

LONGEST_LOCK_WAIT = 300.0
"""Seconds for which an exclusively locked file is held back at most."""
LOCK_RECHECK = 5.0


def held_back(view: View, path: str, *, due: float) -> float | None:
    """Until when the file at a local path, due since `due`, is held back; None when it is not."""
    now = view.now()
    if now > due + LONGEST_LOCK_WAIT:
        return None
    if any(lock.exclusive for lock in view.locks_on(path)):
        return now + LOCK_RECHECK
    return None
