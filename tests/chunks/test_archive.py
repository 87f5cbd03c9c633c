"""Archives: ordinary ZIP files whose members are found by their parts, and by their manifest."""

import contextlib
import dataclasses
import gc
import hashlib
import io
import json
import random
import subprocess
import sys
import time
import tracemalloc
import unicodedata
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import davfusion.chunks.archive
import davfusion.chunks.member_names
from davfusion.chunks import volume
from davfusion.chunks.archive import TRIAL, ArchiveWriter, read_manifest, unpack
from davfusion.chunks.errors import ArchiveFullError, DamagedError, FormatError
from davfusion.chunks.manifest import MANIFEST
from davfusion.chunks.range_file import RangeFile
from davfusion.store.errors import ConflictError, NotFoundError, TemporaryError
from davfusion.store.faults import Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from davfusion.store.statistics import StatisticsStore
from tests.chunks.entries import ARCHIVE, SHARE, names

TIME = 1_700_000_000.75
NOISE = random.Random(5).randbytes(3 * TRIAL)
TEXT = b"All work and no play makes Jack a dull boy.\n" * 1000


class Pipe:
    """A file object that can only be written to."""

    def __init__(self):
        self.data = bytearray()

    def write(self, data):
        self.data += data
        return len(data)

    def flush(self):
        pass


def pack(files, file=None, **options):
    """The bytes of an archive of (path, data), and its parts."""
    file = file or io.BytesIO()
    writer = ArchiveWriter(file, ARCHIVE, **options)
    parts = [writer.add(number, path, TIME, data) for number, (path, data) in enumerate(files, 1)]
    writer.finish()
    data = bytes(file.data) if isinstance(file, Pipe) else file.getvalue()
    assert writer.size == len(data)
    return data, parts


def stored(data):
    store = MemoryStore()
    store.store_fileobject(io.BytesIO(data), ARCHIVE)
    return store


def contents(data, parts):
    return [unpack(part, data[part.offset:part.offset + part.length]) for part in parts]


files = st.lists(st.tuples(
    st.lists(names, min_size=1, max_size=4).map(lambda found: "/" + "/".join(found)),
    st.one_of(st.binary(max_size=300), st.sampled_from([b"", TEXT, NOISE[:5000], TEXT + NOISE[:40_000]]))), max_size=12)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files, st.booleans(), st.booleans())
def test_members_come_back_by_part_by_manifest_and_by_zipfile(files, compress, seekable):
    data, parts = pack(files, None if seekable else Pipe(), compress=compress, share=SHARE)
    assert contents(data, parts) == [content for _, content in files]
    manifest = read_manifest(stored(data), ARCHIVE)
    assert (manifest.share, [member.part for member in manifest.members]) == (SHARE, parts)
    for number, (member, (path, content)) in enumerate(zip(manifest.members, files, strict=True), 1):
        assert (member.content, member.path, member.modified) == (number, path, TIME)
        assert member.sha256 == hashlib.sha256(content).hexdigest()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*(member.name for member in manifest.members), MANIFEST]
        assert [archive.read(member.name) for member in manifest.members] == [content for _, content in files]


AWKWARD = [
    "/davfusion-manifest.json", "/DAVFUSION-manifest.json", "/a.jpg", "/a.jpg", "/A.JPG", "/a (2).jpg", "/a.jpg/below",
    "/x/y", "/x", "/x/y/z", "/.hidden", "/.hidden", "/con", "/nul.txt", "/a:b*c?", "/back\\slash", "/trailing. ",
    "/ümlaut", "/u\u0308mlaut", "/\udc80lone", "/new\nline", "/\x01", "/" + "n" * 300, "/" + "d/" * 1500 + "deep",
    "/%41", "/-option", "/~", "/emoji \U0001f600", "/a" * 40]


@pytest.mark.program("unzip")
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", [io.BytesIO, Pipe])
def test_unzip_unpacks_every_member_to_a_file_of_its_own(tmp_path, compress, kind):
    contents = [f"{number}: ".encode() + TEXT[:number * 100] for number in range(len(AWKWARD))]
    data, _ = pack(list(zip(AWKWARD, contents, strict=True)), kind(), compress=compress)
    archive, target = tmp_path / "a.zip", tmp_path / "out"
    archive.write_bytes(data)
    told = subprocess.run(["unzip", "-tqq", archive], capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    told = subprocess.run(["unzip", "-qq", "-n", archive, "-d", target], capture_output=True, timeout=60,
                          env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "TZ": "Asia/Tokyo"})
    assert told.returncode == 0, told.stderr
    unpacked = [path for path in target.rglob("*") if path.is_file()]
    assert sorted(path.read_bytes() for path in unpacked if path.name != MANIFEST) == sorted(contents)
    assert (target / "x" / "y").stat().st_mtime == int(TIME)
    assert json.loads((target / MANIFEST).read_text())["format"] == 1


@pytest.mark.program("unzip")
def test_an_empty_archive_is_one(tmp_path):
    data, _ = pack([])
    (tmp_path / "a.zip").write_bytes(data)
    assert subprocess.run(["unzip", "-tqq", tmp_path / "a.zip"], capture_output=True, timeout=60).returncode == 0
    assert read_manifest(stored(data), ARCHIVE).members == ()


def test_a_path_that_comes_often_does_not_take_ever_longer(monkeypatch):
    calls = 0
    folded = davfusion.chunks.member_names._folded

    def counted(name):
        nonlocal calls
        calls += 1
        return folded(name)

    monkeypatch.setattr(davfusion.chunks.member_names, "_folded", counted)
    writer = ArchiveWriter(Pipe(), ARCHIVE)
    for number in range(2000):
        writer.add(number + 1, "/same/name.txt", TIME, b"x")
    writer.finish()
    assert writer.count == 2000
    assert calls < 10 * 2000


def test_names_differ_where_case_and_normalisation_do_not_count():
    data, _ = pack([(path, b"") for path in AWKWARD])
    found = [unicodedata.normalize("NFC", name).casefold() for name in zipfile.ZipFile(io.BytesIO(data)).namelist()]
    assert len(set(found)) == len(found) == len(AWKWARD) + 1


@pytest.mark.parametrize("extra", [".", "..", "a/../../b"])
def test_no_name_leads_out_of_the_folder(extra):
    data, _ = pack([(f"/{extra}", b"x")])
    for name in zipfile.ZipFile(io.BytesIO(data)).namelist():
        assert ".." not in name.split("/")
        assert "." not in name.split("/")


@pytest.mark.parametrize(("data", "method"), [
    (b"", "stored"), (b"a", "stored"), (TEXT, "deflate"), (NOISE[:10_000], "stored"),
    (bytes(1500) + NOISE[:10_000], "deflate"), (bytes(500) + NOISE[:10_000], "stored")])
def test_only_what_shrinks_by_a_tenth_is_deflated(data, method):
    for compress in (False, True):
        archive, parts = pack([("/f", data)], compress=compress)
        assert parts[0].method == (method if compress else "stored")
        assert contents(archive, parts) == [data]
        assert parts[0].length <= len(data)


def test_the_level_is_heeded():
    words = " ".join(random.Random(3).choices(["one", "two", "three", "four"], k=20_000)).encode()
    fast, small = (pack([("/f", words)], compress=True, level=level)[1][0].length for level in (1, 9))
    assert small < fast


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", [io.BytesIO, Pipe])
@pytest.mark.parametrize("data", [
    b"", b"x", TEXT, NOISE, NOISE[:TRIAL], NOISE[:TRIAL + 1], TEXT * 60, TEXT * 30 + NOISE], ids=len)
def test_a_stream_is_packed_in_pieces(compress, kind, data):
    file = kind()
    writer = ArchiveWriter(file, ARCHIVE, compress=compress)
    source = io.BytesIO(b"before" + data + b"after")
    source.seek(6)
    parts = [writer.add(1, "/a", TIME, b"1"), writer.add_stream(2, "/b", TIME, source, len(data))]
    assert source.read() == b"after"
    parts.append(writer.add(3, "/c", TIME, b"3"))
    writer.finish()
    archive = bytes(file.data) if kind is Pipe else file.getvalue()
    assert len(archive) == writer.size
    assert contents(archive, parts) == [b"1", data, b"3"]
    assert zipfile.ZipFile(io.BytesIO(archive)).testzip() is None
    assert read_manifest(stored(archive), ARCHIVE).members[1].sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("length", [0, 10, TRIAL + 5])
def test_a_stream_that_ends_early_is_refused(length):
    writer = ArchiveWriter(io.BytesIO(), ARCHIVE)
    with pytest.raises(ValueError, match="instead of"):
        writer.add_stream(1, "/a", TIME, io.BytesIO(bytes(length)), TRIAL + 10)


def test_an_archive_that_is_given_up_writes_nothing_more(monkeypatch):
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    file = io.BytesIO()
    writer = ArchiveWriter(file, ARCHIVE)
    writer.add(1, "/a", TIME, b"x")
    written = file.getvalue()
    del writer
    gc.collect()
    assert file.getvalue() == written
    writer = ArchiveWriter(file, ARCHIVE)
    writer.add(1, "/a", TIME, b"x")
    file.close()
    del writer
    gc.collect()
    assert complaints == []


def test_a_given_checksum_is_taken():
    writer = ArchiveWriter(file := io.BytesIO(), ARCHIVE)
    writer.add(1, "/a", TIME, b"x", sha256="ab" * 32)
    writer.add_stream(2, "/b", TIME, io.BytesIO(NOISE), len(NOISE), sha256="cd" * 32)
    writer.finish()
    found = read_manifest(stored(file.getvalue()), ARCHIVE).members
    assert [member.sha256 for member in found] == ["ab" * 32, "cd" * 32]


@pytest.fixture
def tokyo(monkeypatch):
    """This machine is in another time zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(("modified", "shown"), [
    (0.0, (1980, 1, 1, 0, 0, 0)), (-1e12, (1980, 1, 1, 0, 0, 0)), (1e15, (2107, 12, 31, 23, 59, 58)),
    (1_700_000_001.9, (2023, 11, 14, 22, 13, 20)), (2.0**31 + 10, (2038, 1, 19, 3, 14, 18))])
def test_times_are_utc_within_what_zip_can_say(modified, shown, tokyo):
    writer = ArchiveWriter(file := io.BytesIO(), ARCHIVE)
    writer.add(1, "/a", modified, b"x")
    writer.finish()
    assert zipfile.ZipFile(file).getinfo("a").date_time == shown
    assert read_manifest(stored(file.getvalue()), ARCHIVE).members[0].modified == modified


def test_what_is_no_file_is_refused_before_anything_is_written():
    writer = ArchiveWriter(io.BytesIO(), ARCHIVE)
    for content, path, modified in ((1, "a", TIME), (1, "/", TIME), (1, "", TIME), (1, "/a", float("nan")),
                                    (1, "/a", float("inf")), (0, "/a", TIME)):
        with pytest.raises(ValueError):
            writer.add(content, path, modified, b"x")
    assert writer.size == 0
    with pytest.raises(ValueError):
        ArchiveWriter(io.BytesIO(), "/archives/x.zip")


def test_a_full_archive_refuses_more_and_stays_good(monkeypatch):
    monkeypatch.setattr(davfusion.chunks.archive, "LARGEST", 100_000)
    writer = ArchiveWriter(file := io.BytesIO(), ARCHIVE)
    with pytest.raises(ArchiveFullError):
        while True:
            writer.add(writer.count + 1, "/a", TIME, NOISE[:1000])
    with pytest.raises(ArchiveFullError):
        writer.add_stream(1000, "/b", TIME, io.BytesIO(NOISE), len(NOISE))
    writer.finish()
    assert 50_000 < writer.size < 100_000
    assert zipfile.ZipFile(file).testzip() is None
    assert len(read_manifest(stored(file.getvalue()), ARCHIVE).members) == writer.count


class Zeros(io.RawIOBase):
    """A file of so many zeros, for which nobody needs the room."""

    def read(self, size=-1):
        return bytes(size)


def test_a_file_that_needs_zip64_is_refused_before_it_is_read():
    writer = ArchiveWriter(file := Pipe(), ARCHIVE)
    for size in (2**31 - 2**21, 2**31, 2**40):
        with pytest.raises(ArchiveFullError):
            writer.add_stream(1, "/a", TIME, Zeros(), size)
    writer.add(1, "/a", TIME, b"x")
    writer.finish()
    assert zipfile.ZipFile(io.BytesIO(file.data)).read("a") == b"x"


def test_too_many_members_are_refused(monkeypatch):
    monkeypatch.setattr(davfusion.chunks.archive, "MOST_MEMBERS", 3)
    with pytest.raises(ArchiveFullError):
        pack([("/a", b"x")] * 4)


# -- reading a part ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["stored", "deflate"])
def test_every_damage_of_stored_bytes_is_noticed(method):
    content = TEXT[:600]
    data, (part,) = pack([("/f", content)], compress=method == "deflate")
    good = data[part.offset:part.offset + part.length]
    assert (part.method, unpack(part, good)) == (method, content)
    for bad in [good[:length] for length in range(len(good))] + [good + b"x", b"x" + good]:
        with pytest.raises(DamagedError, match="instead of") as caught:
            unpack(part, bad)
        assert caught.value.path == ARCHIVE
    with pytest.raises(DamagedError):
        unpack(part, bytes(len(good)))
    for at in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[at // 8] ^= 1 << at % 8
        try:
            assert unpack(part, bytes(flipped)) == content
        except DamagedError:
            continue
        assert (method, at // 8) == ("deflate", len(good) - 1)  # the padding of the last byte


def test_a_part_that_unpacks_to_more_than_its_size_is_not_unpacked_whole():
    bomb = zlib.compress(bytes(50_000_000), wbits=-15)
    part = dataclasses.replace(pack([("/f", TEXT)], compress=True)[1][0], length=len(bomb), size=1000)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError):
            unpack(part, bomb)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_part_of_a_block_is_its_bytes():
    path = volume.block_path(hashlib.sha256(TEXT).hexdigest())
    part = davfusion.chunks.archive.Part(path, 0, len(TEXT), len(TEXT), "stored", zlib.crc32(TEXT))
    assert unpack(part, TEXT) == TEXT


# -- the manifest --------------------------------------------------------------------------------


def test_the_manifest_costs_few_requests_and_no_whole_archive():
    data, _ = pack([(f"/{number}", NOISE[number:number + 100_000]) for number in range(160)])
    store = StatisticsStore(stored(data))
    assert len(read_manifest(store, ARCHIVE).members) == 160
    told = store.snapshot()
    assert told.requests == {"get_metadata": 1, "read": 1}
    assert told.bytes_read <= 2**18


def test_a_long_manifest_is_read_whole():
    data, parts = pack([(f"/{NOISE[number * 40:number * 40 + 40].hex()}", b"") for number in range(20_000)])
    store = StatisticsStore(stored(data))
    assert [member.part for member in read_manifest(store, ARCHIVE).members] == parts
    assert sum(store.snapshot().requests.values()) <= 6


def test_an_archive_that_is_replaced_meanwhile_is_not_mixed():
    data, _ = pack([(f"/{number}", NOISE[:1000]) for number in range(1000)])
    store = stored(data)
    file = RangeFile(store, ARCHIVE)
    file.seek(-10, 2)
    assert file.read() == data[-10:]
    store.store_fileobject(io.BytesIO(data), ARCHIVE)
    file.seek(0)
    with pytest.raises(ConflictError):
        file.read(10)


def test_a_missing_archive_is_not_a_damaged_one():
    with pytest.raises(NotFoundError):
        read_manifest(MemoryStore(), ARCHIVE)
    store = FaultyStore(stored(pack([("/a", b"x")])[0]), lambda call: Fault(cut=5) if call.verb == "read" else None)
    with pytest.raises(TemporaryError):
        read_manifest(store, ARCHIVE)


def test_every_truncated_archive_is_damage():
    data, _ = pack([("/a", b"x"), ("/b", TEXT)])
    for length in [*range(0, len(data), 97), len(data) - 1]:
        with pytest.raises(DamagedError) as caught:
            read_manifest(stored(data[:length]), ARCHIVE)
        assert caught.value.path == ARCHIVE


def test_a_flipped_byte_is_damage_or_does_not_concern_the_manifest():
    data, _ = pack([("/a", b"12345"), ("/b", b"")], share=SHARE)
    good = read_manifest(stored(data), ARCHIVE)
    for at in range(len(data)):
        for bit in (0, 3, 7):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            with contextlib.suppress(DamagedError):
                assert read_manifest(stored(bytes(flipped)), ARCHIVE) == good


def zip_with(content, name=MANIFEST):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return stored(file.getvalue())


MEMBER = {"content": 1, "path": "/a", "name": "a", "modified": 1.0, "sha256": "ab" * 32, "crc32": 5, "size": 3,
          "offset": 30, "length": 3, "method": "stored"}


def manifest_with(**fields):
    return json.dumps({"format": 1, "share": None, "members": [{**MEMBER, **fields}]})


def test_the_manifest_is_as_documented():
    (member,) = read_manifest(zip_with(manifest_with()), ARCHIVE).members
    assert (member.content, member.path, member.part.offset) == (1, "/a", 30)


@pytest.mark.parametrize("content", [
    "", "{}", "[]", '{"format":1}', '{"format":1,"share":5,"members":[]}', '{"format":1,"share":null,"members":{}}',
    '{"format":1,"share":null,"members":[5]}', '{"format":1,"share":null,"members":[{}]}', manifest_with(content=0),
    manifest_with(path="a"), manifest_with(name=5), manifest_with(modified="now"), manifest_with(sha256=None),
    manifest_with(sha256="x"), manifest_with(crc32=-1), manifest_with(size=4), manifest_with(offset=-1),
    manifest_with(length=True), manifest_with(method="zstd")])
def test_a_manifest_out_of_form_is_damage(content):
    with pytest.raises(DamagedError):
        read_manifest(zip_with(content), ARCHIVE)


def test_an_archive_without_manifest_is_damage_and_a_newer_one_asks_for_an_update():
    with pytest.raises(DamagedError, match="no manifest"):
        read_manifest(zip_with("x", "other"), ARCHIVE)
    with pytest.raises(FormatError):
        read_manifest(zip_with('{"format":2}'), ARCHIVE)
