"""Puts files off whose contents could not get into the store."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from davfusion.cache.index import Index, View
from davfusion.store.errors import StoreError
from davfusion.sync.chunked.factory import Item
from davfusion.sync.retry import Backoff

BATCH = 200
"""Files put off in one transaction."""


def postpone(index: Index, items: Sequence[Item], error: StoreError, backoff: Backoff, random: Random) -> int:
    """Note with all files of these contents why they wait, and for how long: together, as they were; returns how many.

    Those that got another content meanwhile are left as they are.
    """
    view = index.view()
    users = [user for item in items for user in view.nodes.users(item.content)]
    attempts = 1 + min((user.attempts for user in users), default=0)
    due = view.now() + backoff.delay(attempts, error, random)

    def put_off(view: View, batch: Sequence[tuple[int, int | None]]) -> None:
        for node, content in batch:
            record = view.nodes.get(node)
            if record is not None and record.content == content:
                view.nodes.update(node, attempts=attempts, problem=error.message, due=due)

    for start in range(0, len(users), BATCH):
        batch = [(user.id, user.content) for user in users[start:start + BATCH]]
        index.write(lambda view, batch=batch: put_off(view, batch))  # type: ignore[misc]
    return len(users)
