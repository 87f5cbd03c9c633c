"""Makes sure that a share is served in the layout in which it lies in its store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from davfusion.cache.index import Index, View
from davfusion.chunks.journal import Journal
from davfusion.chunks.marker import Marker, create_marker, read_marker
from davfusion.chunks.volume import LEASE
from davfusion.store.errors import AlreadyExistsError, NotFoundError, TemporaryError
from davfusion.store.interface import Store

SHARE = "share"
"""Fact about the index of a chunked share: the id in the marker of its store."""
_LAYOUT = "layout"
_PLAIN, _CHUNKED = "plain", "chunked"


class LayoutError(Exception):
    """The share must not be served like this; the text says what to do."""


def claim_plain(store: Store, index: Index) -> None:
    """Make sure that the store holds no chunked share. Asks the store once in the life of an index.

    Raises LayoutError, StoreError.
    """
    layout = index.view().operations.meta(_LAYOUT)
    if layout == _CHUNKED:
        raise LayoutError(_other_state(_CHUNKED))
    if layout is None:
        if read_marker(store) is not None:
            raise LayoutError(
                "The store holds a share in the chunked layout. Serve it with --layout chunked; where it has not been "
                "served from this computer before, run `davfusion recover` first.")
        index.write(lambda view: view.operations.set_meta(_LAYOUT, _PLAIN))


def claim_chunked(store: Store, index: Index) -> Marker:
    """The marker of the share that lies in the store, made where the store is empty. Raises LayoutError, StoreError."""
    view = index.view()
    layout, known = view.operations.meta(_LAYOUT), view.operations.meta(SHARE)
    if layout == _PLAIN:
        raise LayoutError(_other_state(_PLAIN))
    marker = read_marker(store) or _create(store, known, index.now())
    if known is None and Journal(store, marker.share).head().last_number:
        raise LayoutError("The store holds a share that this state directory does not know. Bring it here with "
                          "`davfusion recover STORE --state DIR`; the store keeps what it has.")
    if known is not None and known != marker.share:
        raise LayoutError("The store holds another share than the one that was served from this state directory. "
                          "Give another directory with --state, or the address of the store that belongs to it.")
    if known is None:
        index.write(lambda view: note_share(view, marker.share))
    return marker


def note_share(view: View, share: str) -> None:
    """The index belongs to the chunked share of this id."""
    view.operations.set_meta(_LAYOUT, _CHUNKED)
    view.operations.set_meta(SHARE, share)


def _create(store: Store, known: str | None, now: float) -> Marker:
    if known is not None:
        raise LayoutError("The marker /davfusion.json of this share is not in the store any more. Make sure that the "
                          "address is right; if it is, put the object back from a backup.")
    occupied = next((path for path in _paths(store) if path != LEASE), None)
    if occupied is not None:
        raise LayoutError(f"The store holds files already ({occupied}), and not in the chunked layout. Give an empty "
                          "place, serve it with --layout plain, or carry it over with `davfusion convert`.")
    marker = Marker(share=uuid.uuid4().hex, created=now)
    try:
        create_marker(store, marker)
    except AlreadyExistsError:
        found = read_marker(store)
        if found is None:
            raise TemporaryError("The marker of the share was there and is gone", "/davfusion.json") from None
        return found
    return marker


def _paths(store: Store) -> Iterator[str]:
    try:
        yield from (entry.path for page in store.list_pages("/") for entry in page)
    except NotFoundError:
        return


def _other_state(layout: str) -> str:
    return (f"This state directory has served the share in the {layout} layout. Serve it with --layout {layout}, or "
            "give another directory with --state for another store.")
