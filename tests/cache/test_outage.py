"""Writing into a folder that was never opened while the store is away: taken, and both kept if it comes to that."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from davfusion.cache.listing import Freshness
from davfusion.cache.share import CacheSettings, Share
from davfusion.store.errors import TemporaryError
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from davfusion.sync.engine import Engine


class Outage:
    """Every call fails while `on`."""

    on = False

    def __call__(self, call: Call) -> Fault | None:
        return Fault(before=TemporaryError("The store is away")) if self.on else None


def test_a_cold_folder_takes_files_while_the_store_is_away(tmp_path: Path) -> None:
    store, outage = MemoryStore(), Outage()
    store.store_fileobject(io.BytesIO(b"theirs"), "/cold/both.txt")
    settings = CacheSettings(upload_delay=0.0, freshness=Freshness(revalidate_after=0.0))
    share = Share(tmp_path, FaultyStore(store, outage), settings=settings)
    assert [node.path for node in share.children(share.find("/"))] == ["/cold"]  # type: ignore[arg-type]
    outage.on = True

    with pytest.raises(TemporaryError):
        share.find("/cold/both.txt")
    with pytest.raises(TemporaryError):
        share.find_place("/cold/both.txt")
    with share.receive(4) as incoming:
        incoming.write(b"ours")
        share.put("/cold/both.txt", incoming)
    assert share.find_known("/cold/both.txt") is not None

    outage.on = False
    share.index.write(lambda view: view.nodes.hasten(view.now()))
    engine = Engine(share)
    for _ in range(3):
        engine.run_due()
        cold = share.find("/cold")
        assert cold is not None
        names = [node.name for node in share.children(cold)]
    assert len(names) == 2 and "both.txt" in names
    contents = {store.get_file(f"/cold/{name}") for name in names}
    assert contents == {b"ours", b"theirs"} and store.get_file("/cold/both.txt") == b"theirs"
    share.close()
