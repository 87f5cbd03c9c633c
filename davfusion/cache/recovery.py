"""What the holder of a state directory does before requests are served: puts right what a crash left.

After `kill -9` only bodies that were on their way in are in the way. After power was lost (a machine
that was started anew without a clean stop before), bytes that were never flushed may be missing: what
was received without a flush is verified, what was fetched is fetched again.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from davfusion.cache import tree
from davfusion.cache.contents import ContentFiles
from davfusion.cache.index import Content, Index, Record, View

log = logging.getLogger("davfusion.cache.recovery")

BATCH = 1000
SAMPLE = 100
"""Cache files that are looked at although nothing points to a loss."""
_READ = 1024 * 1024
_BOOT = "boot"
_STOPPED = "stopped"


@dataclass(slots=True)
class Report:
    """What was found and done; paths are local paths."""

    after_power_loss: bool = False
    swept: int = 0
    """Bodies of dead processes that were removed."""
    refetched: int = 0
    """Contents that are in the store only now."""
    damaged: list[str] = field(default_factory=list)
    """Files whose last version was lost with the power; what there is of it is in the folder `damaged`."""
    missing: list[str] = field(default_factory=list)
    """Files whose bytes were not uploaded yet and are not here any more."""


def recover(index: Index, files: ContentFiles, state: Path, *, boot: str | None = None) -> Report:
    """Bring the state directory of one share in order. Nothing else may use it meanwhile.

    `boot` names the present run of the machine; None: asked from the system, and where that does not
    tell, every start counts as one after power loss. Quick after a clean stop, whatever the size.
    """
    boot = boot if boot is not None else boot_id()
    view = index.view()
    same_run = boot != "" and view.operations.meta(_BOOT) == boot
    clean = same_run or view.operations.meta(_STOPPED) == "yes" or view.operations.meta(_BOOT) is None
    recovery = _Recovery(index, files, state, Report(after_power_loss=not clean, swept=files.sweep_incoming()))
    if not clean:
        recovery.verify_unflushed()
        recovery.drop_partial()
        recovery.check_files()
    elif recovery.sample_is_bad():
        recovery.check_files()
    index.write(lambda view: _note_start(view, boot))
    if not clean or recovery.report.refetched:
        log.info("recovered", extra={"power_loss": not clean, "swept": recovery.report.swept,
                                     "refetched": recovery.report.refetched, "damaged": len(recovery.report.damaged),
                                     "missing": len(recovery.report.missing)})
    return recovery.report


def note_clean_stop(index: Index) -> None:
    """Everything is flushed and nothing writes any more: the next start need not verify."""
    index.write(lambda view: view.operations.set_meta(_STOPPED, "yes"))
    index.flush()


def boot_id() -> str:
    """Names the present run of the machine; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def sweep_orphans(index: Index, files: ContentFiles) -> int:
    """Remove cache files that no row names and that are old enough not to wait for one; returns how many."""
    suspects = {file for file in files.files() if files.is_orphan_age(file)}
    after = 0
    while suspects and (batch := index.view().contents.with_files(after, BATCH)):
        suspects.difference_update(content.file or "" for content in batch)
        after = batch[-1].id
    for file in suspects:
        files.remove(file)
    if suspects:
        log.info("orphans removed", extra={"count": len(suspects)})
    return len(suspects)


class _Recovery:
    """One recovery under way."""

    def __init__(self, index: Index, files: ContentFiles, state: Path, report: Report) -> None:
        self._index = index
        self._files = files
        self._state = state
        self.report = report

    def verify_unflushed(self) -> None:
        """What was received without a flush is here as it was sent, or it is taken out of the tree."""
        whole: list[int] = []
        for content in reversed(self._index.view().contents.unflushed()):  # a later version falls back to an earlier
            if self._is_intact(content):
                self._files.flush_file(content.file or "")
                whole.append(content.id)
            else:
                self._take_out(content)
        self._index.write(lambda view: view.contents.flushed(whole))

    def drop_partial(self) -> None:
        """The map of present blocks may have reached the disk before the blocks did."""
        partial = self._index.view().contents.partial()
        for start in range(0, len(partial), BATCH):
            batch = partial[start:start + BATCH]
            self._index.write(lambda view, batch=batch: _lose(view, batch))  # type: ignore[misc]
            for content in batch:
                self._files.remove(content.file or "")
            self.report.refetched += len(batch)

    def check_files(self) -> None:
        """Every whole content must have its file, of its size."""
        after = 0
        while batch := self._index.view().contents.with_files(after, BATCH):
            for content in batch:
                if content.whole and content.size and self._size(content) != content.size:
                    self._miss(content)
            after = batch[-1].id
        self._index.write(lambda view: view.contents.recount())

    def sample_is_bad(self) -> bool:
        """Whether one of a few cache files is missing: somebody cleaned up in the state directory."""
        return any(content.whole and content.size and self._size(content) != content.size
                   for content in self._index.view().contents.sample(SAMPLE))

    def _size(self, content: Content) -> int:
        try:
            return self._files.path(content.file or "").stat().st_size
        except FileNotFoundError:
            return -1

    def _is_intact(self, content: Content) -> bool:
        if self._size(content) != content.size:
            return False
        checksum = 0
        with self._files.open(content.file or "") as opened:
            while piece := opened.read(_READ):
                checksum = zlib.crc32(piece, checksum)
        return content.checksum is None or checksum == content.checksum

    def _miss(self, content: Content) -> None:
        lost = self._index.write(lambda view: _lose_if_stored(view, content))
        if not lost:
            self._files.remove(content.file or "")
            self.report.refetched += 1
            return
        self.report.missing += lost
        for path in lost:
            log.error("file missing in the cache", extra={"path": path, "file": content.file})

    def _take_out(self, content: Content) -> None:
        """Its users go back to what the store holds, or leave the tree; what there is of the bytes is kept aside."""
        folder = self._state / "damaged"
        folder.mkdir(exist_ok=True)
        path = self._files.path(content.file or "")
        if path.exists():
            path.rename(folder / (content.file or ""))
        users = self._index.write(lambda view: _take_out(view, content))
        self.report.damaged += users
        for user in users:
            log.error("file damaged by power loss", extra={"path": user, "kept": str(folder / (content.file or ""))})


def _note_start(view: View, boot: str) -> None:
    view.operations.set_meta(_BOOT, boot)
    view.operations.set_meta(_STOPPED, "no")


def _lose(view: View, contents: list[Content]) -> None:
    for content in contents:
        view.contents.lose(content.id)


def _lose_if_stored(view: View, content: Content) -> list[str]:
    """Note that the content is in the store only; where it is not, the paths of the files that are lost with it."""
    users = view.nodes.users(content.id)
    if not users or any(holder.confirmed for holder in view.nodes.holders(content.id)):
        view.contents.lose(content.id)
        return []
    return [view.nodes.path(user.id) or f"node {user.id}" for user in users]


def _take_out(view: View, content: Content) -> list[str]:
    paths = []
    for user in view.nodes.users(content.id):
        path = view.nodes.path(user.id)
        if path is not None:
            paths.append(path)
        _take_back(view, user, content)
    view.contents.lose(content.id)
    return paths


def _take_back(view: View, user: Record, content: Content) -> None:
    """To the version before, if that is here; else to the one in the store; else it never was."""
    before = None if content.replaces is None else view.contents.get(content.replaces)
    if before is not None and before.id != user.synced_content and before.whole:
        view.nodes.update(user.id, content=before.id, due=view.now())
    elif user.synced_content is not None and user.synced_content != user.content:
        view.nodes.update(user.id, content=user.synced_content)
    elif user.synced_content is None:
        tree.detach(view, user, due=view.now())
