"""Entries come back as they were written, and nothing that was damaged passes for an entry."""

import dataclasses
import gc
import gzip
import io
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import davfusion.chunks.entry
from davfusion.chunks.entry import EntryWriter, read_entry
from davfusion.chunks.errors import DamagedError, FormatError
from davfusion.chunks.lines import ContentLine, NodeLine, ObjectLine, Part, ReleaseLine, RemovalLine
from tests.chunks import entries
from tests.chunks.entries import ARCHIVE, BLOCK, content, entry, header, node

SHARED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The time that an example takes says nothing on a machine that does other things too."""

SMALL = [ObjectLine(ARCHIVE, 100, None), content(5), node(2), node(3, 2, "ä\udc80 \U0001f600", of=5),
         RemovalLine(9), ReleaseLine(BLOCK)]


def read(data, size=None):
    """Header and lines of an entry, given in pieces of a size."""
    size = size or max(1, len(data))
    head, found = read_entry([data[at:at + size] for at in range(0, len(data), size)], "/journal/x")
    return head, list(found)


def packed(*texts):
    """An entry of these texts between a proper header and an end that counts them."""
    head = json.dumps(dataclasses.asdict(header()))
    return zipped(head, *texts, json.dumps({"end": len(texts)}))


def zipped(*texts):
    return gzip.compress("".join(text + "\n" for text in texts).encode())


@SHARED
@given(entries.lines, st.integers(1, 500))
def test_an_entry_comes_back_as_it_was_written(lines, size):
    head = header(7, "snapshot")
    assert read(entry(lines, head), size) == (head, lines)


@SHARED
@given(entries.lines)
def test_equal_entries_are_equal_bytes(lines):
    head = header()
    data = entry(lines, head)
    assert entry(lines, head) == data
    assert data[4:8] == bytes(4)  # gzip's own time


def test_an_entry_without_lines():
    head = header()
    assert read(entry([], head)) == (head, [])


def test_a_large_entry_streams():
    lines = [node(number, name="x" * 50) for number in range(2, 30_000)]
    _, found = read(entry(lines), 1000)
    assert found == lines


def test_integers_are_times_too():
    line = '["node",2,1,"a",true,null,5,6,null,{}]'
    assert read(packed(line))[1] == [NodeLine(2, 1, "a", True, None, 5.0, 6.0, None, {})]


def test_every_truncation_is_noticed():
    data = entry(SMALL)
    for length in range(len(data)):
        with pytest.raises(DamagedError) as caught:
            read(data[:length])
        assert caught.value.path == "/journal/x"


def test_every_flipped_bit_is_noticed_or_means_nothing():
    head = header()
    data = entry(SMALL, head)
    harmless = set()
    for at in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            try:
                assert read(bytes(flipped)) == (head, SMALL)
                harmless.add(at)
            except DamagedError:
                pass
    assert len(harmless) < 12  # flags, time and system in gzip's own header, and padding


@pytest.mark.parametrize("more", [b"\0", b"x", entry([])])
def test_what_follows_the_end_is_damage(more):
    for size in (None, 1, 10):
        with pytest.raises(DamagedError):
            read(entry(SMALL) + more, size)


DAMAGED = {
    "no JSON": "nonsense",
    "no array": '"text"',
    "empty array": "[]",
    "no kind": "[5]",
    "too few fields": '["removal"]',
    "too many fields": '["removal",2,3]',
    "twice in one object": '["node",2,1,"a",true,null,1.0,1.0,null,{"{}x":"1","{}x":"2"}]',
    "NaN": '["node",2,1,"a",true,null,NaN,1.0,null,{}]',
    "infinite": '["node",2,1,"a",true,null,1e999,1.0,null,{}]',
    "time is text": '["node",2,1,"a",true,null,"1.0",1.0,null,{}]',
    "time is bool": '["node",2,1,"a",true,null,true,1.0,null,{}]',
    "id is bool": '["node",true,1,"a",true,null,1.0,1.0,null,{}]',
    "id is float": '["node",2.0,1,"a",true,null,1.0,1.0,null,{}]',
    "id is huge": f'["node",{2**63},1,"a",true,null,1.0,1.0,null,{{}}]',
    "id has too many digits": f'["removal",{"9" * 5000}]',
    "id is zero": '["node",0,1,"a",true,null,1.0,1.0,null,{}]',
    "name with slash": '["node",2,1,"a/b",true,null,1.0,1.0,null,{}]',
    "name with NUL": '["node",2,1,"a\\u0000",true,null,1.0,1.0,null,{}]',
    "name is dots": '["node",2,1,"..",true,null,1.0,1.0,null,{}]',
    "name is empty": '["node",2,1,"",true,null,1.0,1.0,null,{}]',
    "in itself": '["node",2,2,"a",true,null,1.0,1.0,null,{}]',
    "in nothing": '["node",2,0,"a",true,null,1.0,1.0,null,{}]',
    "root with name": '["node",1,0,"a",true,null,1.0,1.0,null,{}]',
    "root is a file": '["node",1,0,"",false,5,1.0,1.0,null,{}]',
    "folder with content": '["node",2,1,"a",true,5,1.0,1.0,null,{}]',
    "file without content": '["node",2,1,"a",false,null,1.0,1.0,null,{}]',
    "folder is a number": '["node",2,1,"a",1,null,1.0,1.0,null,{}]',
    "properties are a list": '["node",2,1,"a",true,null,1.0,1.0,null,[]]',
    "property is a number": '["node",2,1,"a",true,null,1.0,1.0,null,{"{}x":1}]',
    "property without a name": '["node",2,1,"a",true,null,1.0,1.0,null,{"":"1"}]',
    "parts missing": '["content",5,10,null,[]]',
    "parts of nothing": f'["content",5,0,null,[["{ARCHIVE}",1,0,0,"stored",0]]]',
    "part elsewhere": '["content",5,5,null,[["/lease.json",1,5,5,"stored",0]]]',
    "part is no list": '["content",5,5,null,[5]]',
    "unknown method": f'["content",5,5,null,[["{ARCHIVE}",1,5,5,"zstd",0]]]',
    "stored is shorter": f'["content",5,5,null,[["{ARCHIVE}",1,4,5,"stored",0]]]',
    "checksum too large": f'["content",5,5,null,[["{ARCHIVE}",1,5,5,"stored",{2**32}]]]',
    "negative offset": f'["content",5,5,null,[["{ARCHIVE}",-1,5,5,"stored",0]]]',
    "hash of content": f'["content",5,5,"{"AB" * 32}",[["{ARCHIVE}",1,5,5,"stored",0]]]',
    "object elsewhere": '["object","/journal/000000000001.json.gz",5,null]',
    "object without size": f'["object","{ARCHIVE}",null,null]',
    "block under another": f'["object","/blocks/ab/{"cd" * 32}",5,null]',
    "removal of the root": '["removal",1]',
    "release of nothing": '["release","/archives"]',
    "not ASCII": '["release","ä"]',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_line_out_of_form_is_damage(text):
    with pytest.raises(DamagedError):
        read(packed(text))


@pytest.mark.parametrize("line", [*SMALL, entries.root])
def test_two_lines_about_the_same_are_refused_by_writer_and_reader(line):
    with pytest.raises(ValueError, match="two lines"):
        entry([line, line])
    text = gzip.decompress(entry([line])).decode().splitlines()[1]
    with pytest.raises(DamagedError, match="two lines"):
        read(packed(text, text))


def test_an_unknown_kind_asks_for_an_update():
    with pytest.raises(FormatError, match="update davfusion"):
        read(packed('["symlink",2,"/x"]'))


@pytest.mark.parametrize("end", ['{"end":1}', '{"end":-1}', '{"end":false}', '{"end":0,"more":1}', "{}", '{"end":'])
def test_a_wrong_end_is_damage(end):
    with pytest.raises(DamagedError):
        read(zipped(json.dumps(dataclasses.asdict(header())), end))


def test_an_end_that_is_missing_or_followed_by_lines_is_damage():
    head = json.dumps(dataclasses.asdict(header()))
    for texts in ([head], [head, '["removal",2]'], [head, '{"end":0}', '["removal",2]'], [head, '{"end":0}', ""]):
        with pytest.raises(DamagedError):
            read(zipped(*texts))
    for text in (f'{head}\n{{"end":0}}', f'{head}\n{{"end":0}}\nmore'):
        with pytest.raises(DamagedError):
            read(gzip.compress(text.encode()))


@pytest.mark.parametrize("changed", [
    {"kind": "other"}, {"number": 0}, {"number": "1"}, {"number": True}, {"share": "x"}, {"id": "AB" * 16}, {"id": 5},
    {"writer": None}, {"written": "now"}, {"written": math.nan}, {"format": "1"}, {"format": 0}, {"format": None},
    {"more": 1}])
def test_a_header_out_of_form_is_damage(changed):
    fields = {**dataclasses.asdict(header()), **changed}
    with pytest.raises(DamagedError):
        read(zipped(json.dumps(fields), '{"end":0}'))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(header())])
def test_a_header_that_lacks_a_field_is_damage(name):
    fields = dataclasses.asdict(header())
    del fields[name]
    with pytest.raises(DamagedError):
        read(zipped(json.dumps(fields), '{"end":0}'))


def test_a_newer_format_asks_for_an_update():
    fields = {**dataclasses.asdict(header()), "format": 2, "new": "field"}
    with pytest.raises(FormatError, match="update davfusion"):
        read(zipped(json.dumps(fields), '{"end":0}'))


def test_what_is_no_gzip_is_damage():
    for data in (b"", b"text", b"\x1f\x8b", bytes(100)):
        with pytest.raises(DamagedError):
            read(data)


def test_a_line_without_end_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(davfusion.chunks.entry, "LONGEST_LINE", 2**20)
    unpacked = 0

    def pieces():
        nonlocal unpacked
        data = gzip.compress(bytes(2**26))
        for at in range(0, len(data), 100):
            unpacked = at / len(data) * 2**26
            yield data[at:at + 100]

    with pytest.raises(DamagedError, match="too long"):
        read_entry(pieces(), "/journal/x")
    assert unpacked < 2**22


def test_an_entry_that_is_given_up_writes_nothing_more():
    file = io.BytesIO()
    writer = EntryWriter(file, header())
    writer.add(node(2))
    written = file.getvalue()
    del writer
    gc.collect()
    assert file.getvalue() == written


@pytest.mark.parametrize("line", [
    node(2, name="a/b"), node(2, name="."), node(2, 2), dataclasses.replace(node(2), modified=math.inf),
    dataclasses.replace(node(2), created=5), dataclasses.replace(node(2), content=5), ContentLine(1, 5, None, ()),
    ContentLine(1, 0, None, (Part(ARCHIVE, 0, 0, 0, "stored", 0),)), RemovalLine(1), ObjectLine("/x", 1, None)])
def test_the_writer_refuses_what_no_reader_would_take(line):
    writer = EntryWriter(io.BytesIO(), header())
    with pytest.raises(ValueError):
        writer.add(line)


def test_the_writer_refuses_a_header_out_of_form():
    with pytest.raises(ValueError):
        EntryWriter(io.BytesIO(), header(share="no"))
