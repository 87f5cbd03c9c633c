"""Paths of the layout, and the ranges of blocks."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davfusion.chunks import volume
from davfusion.chunks.blocks import split


@given(st.binary(min_size=16, max_size=16).map(bytes.hex))
def test_an_archive_and_back(archive_id):
    assert volume.parse_archive(volume.archive_path(archive_id)) == archive_id


@given(st.binary().map(lambda data: hashlib.sha256(data).hexdigest()))
def test_a_block_and_back(sha256):
    path = volume.block_path(sha256)
    assert path == f"/blocks/{sha256[:2]}/{sha256}"
    assert volume.parse_block(path) == sha256


@given(st.integers(1, 10**12 - 1))
def test_numbers_and_back(number):
    assert volume.parse_journal(volume.journal_path(number)) == number
    assert volume.parse_snapshot(volume.snapshot_path(number)) == number


def test_paths_are_as_the_format_says():
    assert volume.journal_path(12) == "/journal/000000000012.json.gz"
    assert volume.snapshot_path(12) == "/snapshots/000000000012.json.gz"
    assert volume.archive_path("ab" * 16) == f"/archives/{'ab' * 16}.zip"
    assert volume.new_archive_id() != volume.new_archive_id()


@pytest.mark.parametrize("number", [0, -1, 10**12])
def test_a_number_out_of_range_is_refused(number):
    with pytest.raises(ValueError):
        volume.journal_path(number)


@pytest.mark.parametrize("name", ["", "ab", "AB" * 16, "../" + "a" * 29, "ab" * 16 + "\n"])
def test_a_wrong_name_is_refused(name):
    with pytest.raises(ValueError):
        volume.archive_path(name)
    with pytest.raises(ValueError):
        volume.block_path(name)


@pytest.mark.parametrize("path", [
    "/", "/archives", "/archives/x.zip", f"/archives/{'AB' * 16}.zip", f"/archives/{'ab' * 16}.zip/x",
    f"/x/archives/{'ab' * 16}.zip", f"/blocks/ab/{'cd' * 32}", "/journal/1.json.gz", "/journal/000000000000.json.gz",
    "/journal/00000000000١.json.gz", "/journal/000000000001.json.gz.tmp", "/snapshots/000000000001.json",
    "/journal/x/000000000001.json.gz", "/davfusion.json"])
def test_foreign_paths_are_nothing(path):
    assert not volume.is_data(path)
    assert volume.parse_archive(path) is volume.parse_block(path) is None
    assert volume.parse_journal(path) is volume.parse_snapshot(path) is None


def test_journal_and_snapshots_are_told_apart():
    assert volume.parse_journal(volume.snapshot_path(1)) is None
    assert volume.parse_snapshot(volume.journal_path(1)) is None


@given(st.integers(0, 10**6), st.integers(1000, 10**6))
def test_blocks_cover_the_file(size, block_size):
    ranges = split(size, block_size)
    assert sum(stop - start for start, stop in ranges) == size
    assert [start for start, _ in ranges] == list(range(0, size, block_size))
    assert all(stop == start + block_size for start, stop in ranges[:-1])


@pytest.mark.parametrize(("size", "block_size"), [(-1, 5), (5, 0), (5, -1)])
def test_blocks_of_nonsense_are_refused(size, block_size):
    with pytest.raises(ValueError):
        split(size, block_size)
