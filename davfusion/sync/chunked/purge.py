"""Removes the rows of nodes that neither the local tree nor the journal has."""

from __future__ import annotations

from davfusion.cache.index import View

BATCH = 200
"""Rows that one transaction changes, about."""


def purge_some(view: View) -> bool:
    """Remove some nodes that are in neither tree; whether there may be more.

    What lies below one goes with it where the journal had it there, and is to be removed where it had it elsewhere.
    """
    room = BATCH
    vanished = view.journalled.vanished(BATCH)
    for node in vanished:
        children = view.nodes.children_after(node, "", room)
        for child in children:
            if child.synced_parent == node:
                view.journalled.note_removed(child.id)
            view.nodes.update(child.id, parent=None, name=None, content=None)
            view.locks.remove_on(child.id)
        if len(children) < room:
            view.nodes.remove(node)
        room -= len(children) + 1
        if room <= 0:
            break
    return bool(vanished)
