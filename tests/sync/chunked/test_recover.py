"""A share whose state directory is lost, at any moment: what the journal says comes back, and life goes on."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import pytest

from davfusion import state
from davfusion.chunks.image import load
from davfusion.chunks.journal import Journal
from davfusion.chunks.volume import ARCHIVES, LEASE, SNAPSHOTS, archive_path
from davfusion.recovering import filling
from davfusion.recovering.audit import Audit
from davfusion.recovering.recovery import Recovered, recover
from davfusion.settings import ShareSettings
from davfusion.sync.claims import SHARE
from tests.sync.chunked import account, runs
from tests.sync.chunked.account import Kept, Tree
from tests.sync.chunked.watched import reached
from tests.sync.chunked.world import World, drop

pytestmark = pytest.mark.usefixtures("in_order")

SETTINGS = ShareSettings(name="files", store="memory:", layout="chunked")
SEEDS = 4


def silent(what: str, done: int, total: int) -> None:
    del what, done, total


class Recovering(World):
    """A world whose state directory may be lost."""

    def lose_state(self) -> Recovered:
        """Lose it, and bring the whole share back from the store."""
        self._check_snapshots()
        promised = self.journalled_tree()
        recovered = self.bring_back()
        assert recovered.is_whole and not recovered.renamed, recovered
        self.tree = self.visible()
        different = account.difference(self.tree, promised)
        assert not different, f"recovered was {different}"
        return recovered

    def bring_back(self) -> Recovered:
        """Lose it, and bring back what the store has."""
        drop(self.engine)
        self.share.fetcher.close()
        self.share.index.close()
        shutil.rmtree(self.state)
        self._busy = self._writing = False
        self.inner.delete(LEASE, is_dir=False)  # its time is over
        directory = Path(tempfile.mkdtemp(prefix="davfusion-recovered-", dir=self.state.parent))
        state.prepare(directory)
        recovered = recover(self.inner, SETTINGS, directory, silent, clock=lambda: self.now)
        state.share_directory(directory, SETTINGS.name).rename(self.state)
        shutil.rmtree(directory)
        self._open()
        return recovered

    def journalled_tree(self) -> Tree:
        """What the journal comes to. (A snapshot tells properties of its moment that no entry had told before.)"""
        image, _ = load(Journal(self.inner, self.share.index.view().operations.meta(SHARE) or ""))
        return {image.path(line.node): Kept(
            None if line.content is None else self._stored_bytes(image, line.content),
            {name: xml.encode() for name, xml in line.properties.items()}) for line in reached(image).values()}

    def audit(self) -> None:
        """The index agrees with the journal, and all bytes are there."""
        share = self.share.index.view().operations.meta(SHARE)
        audited = Audit(self.inner, share or "", self.share.index, show=silent).run(deep=True)
        assert not audited.problems and not audited.notes, audited


@pytest.mark.parametrize("kind", runs.KINDS)
@pytest.mark.parametrize("climate", runs.CLIMATES)
def test_state_is_lost_again_and_again(kind: str, climate: str) -> None:
    brought = 0
    for seed in range(SEEDS):
        world = Recovering(kind, seed, runs.CLIMATES[climate])
        driver = random.Random(seed)
        try:
            for number in range(120):
                runs.step(world, driver)
                if number % 40 == 39 and world.judged.entries:
                    world.calm = True
                    brought += world.lose_state().files
                    world.audit()
                    world.calm = False
            world.converge()
            world.check()
            world.audit()
        finally:
            world.close()
    assert brought > 4, "too little came back to prove anything"


def test_nothing_new_has_an_id_of_something_old() -> None:
    world = Recovering("folders", 1, runs.CLIMATES["calm"])
    try:
        world.put("/a")
        world.advance(10)
        world.work()
        highest = max(world.judged.image.nodes), max(world.judged.image.contents)
        world.lose_state()
        world.put("/b")
        node = world.share.find("/b")
        assert node is not None and node.content is not None
        assert node.id > highest[0] + filling.MARGIN
        assert node.content > highest[1] + filling.MARGIN
    finally:
        world.close()


def test_what_a_dead_writer_left_goes() -> None:
    world = Recovering("folders", 2, runs.CLIMATES["calm"])
    try:
        world.put("/a")
        world.advance(10)
        world.work()
        orphan = f"/archives/{'0' * 32}.zip"
        with tempfile.TemporaryFile() as file:
            file.write(b"never journalled")
            world.inner.store_fileobject(file, orphan)
        assert world.lose_state().orphans == 1
        assert world.inner.exists(orphan)
        world.converge()
        assert not world.inner.exists(orphan)
        world.check()
    finally:
        world.close()


@pytest.mark.parametrize("damage", ["removed", "cut", "empty"])
def test_the_newest_snapshot_is_damaged(damage: str) -> None:
    """The one before it and the entries since say the same."""
    world = Recovering("folders", 3, runs.CLIMATES["calm"])
    try:
        for number in range(12):
            world.put(f"/file {number}")
            world.advance(10)
            world.work()
            world.tidy()
        snapshots = world._listed(SNAPSHOTS, recursive=False)
        assert len(snapshots) == 2
        content = world.inner.get_file(max(snapshots))
        world.inner.delete(max(snapshots), is_dir=False)
        if damage != "removed":
            with tempfile.TemporaryFile() as file:
                file.write(content[:-9] if damage == "cut" else b"")
                world.inner.store_fileobject(file, max(snapshots))
        share = world.share.index.view().operations.meta(SHARE) or ""
        audited = Audit(world.inner, share, world.share.index, show=silent).run(deep=False)
        assert {path for path, _ in audited.problems} == ({max(snapshots)} if damage != "removed" else set())
        assert world.lose_state().files == 12
        world.converge()
        world.check()
    finally:
        world.close()


def test_another_archive_has_what_is_lost() -> None:
    """An archive that was packed anew stays for its time of grace; what it holds can be had from there."""
    world = Recovering("folders", 4, runs.CLIMATES["calm"])
    try:
        for name in ("/a", "/b", "/c"):
            world.put(name)
        world.describe("/a")
        world.advance(10)
        world.work()
        archives = world._listed(ARCHIVES, recursive=False)
        assert archives
        for number, path in enumerate(archives):
            world.inner.move(path, archive_path(f"{number:032x}"))
        recovered = world.bring_back()
        assert (dict(recovered.objects).keys(), recovered.lost) == (set(archives), ())
        world.compare()
        world.converge()
        world.check()
        assert world.lose_state().files == 3
    finally:
        world.close()
