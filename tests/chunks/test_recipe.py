"""Files come back with unzip, zcat, grep and cat alone, as ARCHITECTURE.md describes it."""

import hashlib
import io
import os
import subprocess
import zlib

import pytest

from davfusion.chunks import volume
from davfusion.chunks.archive import ArchiveWriter
from davfusion.chunks.blocks import split
from davfusion.chunks.journal import Journal
from davfusion.chunks.lines import ROOT, ContentLine, ObjectLine, Part
from davfusion.store.local import LocalStore
from tests.chunks.entries import SHARE, entry, header, node

SMALL_FILES = """
for archive in archives/*.zip; do unzip -quo "$archive" -d restored; done
"""

JOURNAL = """
last=$(ls snapshots 2>/dev/null | tail -n 1)
{ [ -z "$last" ] || zcat "snapshots/$last"
  for entry in $(ls journal); do if [ "$entry" \\> "$last" ]; then zcat "journal/$entry"; fi; done
} > lines
"""

LARGE_FILE = """
grep '"report.iso"' lines
grep '^\\["content",12,' lines | tail -n 1 | grep -o '/blocks/[0-9a-f/]*' |
  while read -r block; do cat ".$block"; done > report.iso
"""

OLD, NEW = os.urandom(100_000), os.urandom(100_000)


def put(store, path, data):
    store.store_fileobject(io.BytesIO(data), path)


def archive(store, files):
    path = volume.archive_path(volume.new_archive_id())
    writer = ArchiveWriter(file := io.BytesIO(), path, compress=True, share=SHARE)
    for number, (name, modified, data) in enumerate(files, 100):
        writer.add(number, name, modified, data)
    writer.finish()
    put(store, path, file.getvalue())


def blocks(store, content, data):
    """The lines of a content in blocks, which are put."""
    objects, parts = {}, []
    for start, stop in split(len(data), 30_000):
        piece = data[start:stop]
        path = volume.block_path(hashlib.sha256(piece).hexdigest())
        put(store, path, piece)
        objects[path] = ObjectLine(path, len(piece), None)
        parts.append(Part(path, 0, len(piece), len(piece), "stored", zlib.crc32(piece)))
    return [*objects.values(), ContentLine(content, len(data), None, tuple(parts))]


def append(journal, number, lines):
    head = header(number)
    journal.append(number, io.BytesIO(entry(lines, head)), head.id)


@pytest.mark.program("unzip")
@pytest.mark.parametrize("snapshots", [0, 1])
def test_files_come_back_without_davfusion(tmp_path, snapshots):
    store, journal = LocalStore(tmp_path), Journal(LocalStore(tmp_path), SHARE)
    archive(store, [("/Photos/a.jpg", 2000.0, b"new"), ("/Photos/ä.jpg", 1e9, b"umlaut" * 500)])
    archive(store, [("/Photos/a.jpg", 1000.0, b"old"), ("/readme", 1e9, b"")])
    old, new = blocks(store, 12, OLD), blocks(store, 12, NEW)
    append(journal, 1, [*old, node(7, ROOT, "report.iso", of=12)])
    append(journal, 2, new)
    if snapshots:
        lines = [*new, node(7, ROOT, "report.iso", of=12)]
        journal.write_snapshot(2, io.BytesIO(entry(lines, header(2, "snapshot"))))
    append(journal, 3, [node(8)])
    told = subprocess.run(["sh", "-euc", SMALL_FILES + JOURNAL + LARGE_FILE], cwd=tmp_path, timeout=60,
                          capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
    assert (told.returncode, told.stderr) == (0, "")
    assert ',"report.iso",false,12,' in told.stdout
    restored = tmp_path / "restored"
    assert (restored / "Photos" / "a.jpg").read_bytes() == b"new"
    assert (restored / "Photos" / "ä.jpg").read_bytes() == b"umlaut" * 500
    assert (restored / "Photos" / "ä.jpg").stat().st_mtime == 1e9
    assert (restored / "readme").read_bytes() == b""
    assert (tmp_path / "report.iso").read_bytes() == NEW
    assert (tmp_path / "lines").read_text().splitlines()[-1] == '{"end":1}'
