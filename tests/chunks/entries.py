"""Entries and lines for tests: made by hand, and by hypothesis."""

from __future__ import annotations

import io
import re
import uuid

from hypothesis import strategies as st

from davfusion.chunks import volume
from davfusion.chunks.entry import EntryWriter, Header
from davfusion.chunks.lines import (
    NO_PARENT,
    ROOT,
    ContentLine,
    NodeLine,
    ObjectLine,
    Part,
    ReleaseLine,
    RemovalLine,
)
from davfusion.chunks.records import key

SHARE = "5a" * 16
ARCHIVE = volume.archive_path("ab" * 16)
BLOCK = volume.block_path("cd" * 32)

PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
"""Two surrogates that are one character to JSON; Python itself never makes them side by side."""


def header(number=1, kind="journal", *, share=SHARE, entry_id=None, writer="nas"):
    return Header(kind, number, share, writer, entry_id or uuid.uuid4().hex, 1_700_000_000.25)


def entry(lines, head=None):
    """The bytes of an entry."""
    file = io.BytesIO()
    writer = EntryWriter(file, head or header())
    for line in lines:
        writer.add(line)
    writer.finish()
    return file.getvalue()


def part(size=5, *, path=ARCHIVE, offset=40):
    return Part(path, offset, size, size, "stored", 7)


def content(number, size=5):
    return ContentLine(number, size, None, (part(size),) if size else ())


def node(number, parent=ROOT, name=None, *, of=None, properties=None):
    """A file with the content `of`, or a folder."""
    return NodeLine(number, parent, name or f"n{number}", of is None, of, 1.5, 2.5, None, properties or {})


root = NodeLine(ROOT, NO_PARENT, "", True, None, 1.0, 2.0, None, {"{DAV:}displayname": "<d/>"})

ids = st.integers(1, 2**63 - 1)
sizes = st.integers(0, 2**62)
times = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=())).filter(lambda text: not PAIR.search(text))
names = texts.filter(lambda text: text not in ("", ".", "..") and "/" not in text and "\0" not in text)
hashes = st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex)
paths = st.one_of(st.binary(min_size=16, max_size=16).map(lambda raw: volume.archive_path(raw.hex())),
                  st.binary(min_size=32, max_size=32).map(lambda raw: volume.block_path(raw.hex())))
words = st.text("abDAV:/-ä\U0001f600", min_size=1, max_size=8)
clark = st.builds("{{{}}}{}".format, words, words)


@st.composite
def parts(draw):
    size = draw(st.integers(1, 2**40))
    method = draw(st.sampled_from(["stored", "deflate"]))
    length = size if method == "stored" else draw(sizes)
    return Part(draw(paths), draw(sizes), length, size, method, draw(st.integers(0, 2**32 - 1)))


@st.composite
def content_lines(draw):
    made = draw(st.lists(parts(), max_size=3))
    return ContentLine(draw(ids), sum(each.size for each in made), draw(hashes), tuple(made))


@st.composite
def node_lines(draw):
    number = draw(st.integers(2, 2**63 - 1))
    folder = draw(st.booleans())
    return NodeLine(number, draw(ids.filter(lambda parent: parent != number)), draw(names), folder,
                    None if folder else draw(ids), draw(times), draw(times), draw(st.none() | texts),
                    draw(st.dictionaries(clark, texts, max_size=2)))


lines = st.lists(
    st.one_of(content_lines(), node_lines(), st.builds(ObjectLine, paths, sizes, hashes),
              st.builds(RemovalLine, st.integers(2, 2**63 - 1)), st.builds(ReleaseLine, paths), st.just(root)),
    max_size=8, unique_by=key)
