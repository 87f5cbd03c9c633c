"""The contract of copying and moving, of names, and of long listings."""

import io
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest

from davfusion.store.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidPathError,
    NotFoundError,
    PermanentError,
)
from davfusion.store.interface import IfAbsent, IfVersion
from davfusion.store.statistics import StatisticsStore

NAMES = [
    "plain", "a b", " leading", "trailing ", "  ", "%", "%25", "100%", "a%2Fb", "%zz", "#", "a#b", "?", "a?b=c",
    ";", "a;b", "+", "a+b", "&", "a&b=c", "'", '"', "`", "<>", "|", "*", "[x]", "{x}", "^", "~", "$", "!", "@",
    ",", "=", ":", "(x)", "back\\slash", "dot.", "...", ".hidden", "..two", "-", "_", "ä", "\u0080",
    unicodedata.normalize("NFC", "Käse"), unicodedata.normalize("NFD", "Käse"), "日本語", "😀", "👩‍👩‍👧", "ﷺ",
    "\u200b", "\ufeff", "\u202egnp.exe", "x" * 255, "ü" * 100, "con", "nul.txt", "CASE", "case",
]


def test_every_name_comes_back_exactly(store, put):
    for number, name in enumerate(NAMES):
        put(f"/n/{name}", b"%d" % number)
    assert sorted(store.get_directory_listing("/n")) == sorted(f"/n/{name}" for name in NAMES)
    for number, name in enumerate(NAMES):
        assert store.get_file(f"/n/{name}") == b"%d" % number
        assert store.get_metadata(f"/n/{name}").path == f"/n/{name}"


def test_every_name_works_as_a_folder_and_in_a_copy(plain, putter_of, backend):
    # rclone's server finds folders under either normal form of their names.
    names = [name for name in NAMES if backend != "rclone" or unicodedata.is_normalized("NFC", name)]
    for name in names:
        putter_of(plain)(f"/n/{name}/f", b"x")
        plain.create_directory(f"/e/{name}")
        plain.duplicate(f"/n/{name}/f", f"/c/{name}")
    assert sorted(plain.get_directory_listing("/n")) == sorted(f"/n/{name}" for name in names)
    assert sorted(plain.get_directory_listing("/e")) == sorted(f"/e/{name}" for name in names)
    for name in names:
        assert plain.get_directory_listing(f"/n/{name}") == [f"/n/{name}/f"]
        assert plain.get_file(f"/c/{name}") == b"x"
        plain.delete(f"/c/{name}", is_dir=False)
    plain.delete("/n", is_dir=True)
    plain.delete("/c", is_dir=True)
    assert plain.get_directory_listing("/") == ["/e"]


@pytest.mark.parametrize("name", ["a\ud800b", "x" * 2000, "\udcff"])
def test_a_name_that_cannot_be_is_refused(plain, name):
    if plain.get_name() == "Memory":
        return
    with pytest.raises(InvalidPathError):
        plain.store_fileobject(io.BytesIO(b"x"), f"/{name}")
    with pytest.raises(InvalidPathError):
        plain.create_directory(f"/{name}")
    assert plain.get_directory_listing("/") == []


@pytest.mark.parametrize("operation", ["duplicate", "move"])
def test_a_file_is_copied_or_moved(store, put, operation):
    version = put("/a", b"content")
    made = getattr(store, operation)("/a", "/deep/er/b", if_version=version)
    assert (made.path, made.is_dir, made.bytes) == ("/deep/er/b", False, 7)
    assert made.version == store.get_metadata("/deep/er/b").version
    assert store.get_file("/deep/er/b") == b"content"
    assert store.exists("/a") == (operation == "duplicate")


@pytest.mark.parametrize("operation", ["duplicate", "move"])
def test_an_existing_file_is_replaced(store, put, operation):
    put("/a", b"new")
    put("/b", b"old one")
    getattr(store, operation)("/a", "/b")
    assert store.get_file("/b") == b"new"


@pytest.mark.parametrize("operation", ["duplicate", "move"])
def test_copies_and_moves_heed_conditions(store, put, operation):
    run = getattr(store, operation)
    source, target = put("/a", b"source"), put("/b", b"target")
    for arguments, error in [
        ({"condition": IfAbsent()}, AlreadyExistsError),
        ({"condition": IfVersion("nonsense")}, ConflictError),
        ({"if_version": target + "x"}, ConflictError),
    ]:
        with pytest.raises(error):
            run("/a", "/b", **arguments)
    assert (store.get_file("/a"), store.get_file("/b")) == (b"source", b"target")
    run("/a", "/b", if_version=source, condition=IfVersion(target))
    assert store.get_file("/b") == b"source"
    put("/c", b"third")
    run("/c", "/d", condition=IfAbsent())
    assert store.get_file("/d") == b"third"


@pytest.mark.parametrize("operation", ["duplicate", "move"])
def test_what_is_not_there_cannot_be_copied_or_moved(store, put, operation):
    put("/b", b"target")
    for path in ("/never", "/no/where", "/b/below"):
        with pytest.raises(NotFoundError):
            getattr(store, operation)(path, "/b")
    assert store.get_file("/b") == b"target"


TREE = ("/one", "/two", "/three", "/sub/four", "/sub/sub/five", "/odd name %25 #/ü?")


@pytest.mark.parametrize("operation", ["duplicate", "move"])
def test_a_tree_is_copied_or_moved(store, put, operation):
    for path in TREE:
        put(f"/src{path}", path.encode())
    store.create_directory("/src/empty/empty")
    made = getattr(store, operation)("/src", "/new/dest")
    assert (made.path, made.is_dir) == ("/new/dest", True)
    for path in TREE:
        assert store.get_file(f"/new/dest{path}") == path.encode()
    assert store.is_dir("/new/dest/empty/empty")
    assert store.exists("/src/one") == store.exists("/src") == (operation == "duplicate")
    if operation == "duplicate":
        store.delete("/new/dest", is_dir=True)
        assert not store.exists("/new/dest")
        assert all(store.get_file(f"/src{path}") == path.encode() for path in TREE)


@pytest.mark.parametrize("operation", ["duplicate", "move"])
def test_a_tree_replaces_the_tree_that_is_there(store, put, operation):
    put("/src/same", b"new")
    put("/dest/same", b"old")
    put("/dest/sub/gone", b"old")
    getattr(store, operation)("/src", "/dest")
    assert store.get_directory_listing("/dest") == ["/dest/same"]
    assert store.get_file("/dest/same") == b"new"
    put("/src2/f", b"x")
    put("/file", b"a file")
    getattr(store, operation)("/src2", "/file")
    assert store.is_dir("/file")
    assert store.get_file("/file/f") == b"x"


def test_a_tree_is_not_copied_or_moved_into_itself(store, put):
    put("/a/b/f", b"x")
    for run in (store.duplicate, store.move):
        for source, target in (("/a", "/a/c"), ("/a/b", "/a"), ("/a", "/"), ("/", "/a"), ("/a/b/f", "/a")):
            with pytest.raises(PermanentError):
                run(source, target)
        assert run("/a/b/f", "/a/b/f").bytes == 1
        assert run("/a", "/a").is_dir
    assert store.get_file("/a/b/f") == b"x"


def test_a_long_listing_comes_in_pages_with_metadata(opener):
    store = StatisticsStore(opener())
    names = {f"/long/{number:04}" for number in range(1100)}
    store.store_fileobject(io.BytesIO(b"abc"), "/long/0000")  # rclone may fail where two requests make one folder
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: store.store_fileobject(io.BytesIO(b"abc"), path), sorted(names)[1:]))
    pages = list(store.list_pages("/long"))
    assert len(pages) == 2
    assert sorted(entry.path for page in pages for entry in page) == sorted(names)
    assert all(entry.bytes == 3 and entry.version and not entry.is_dir for page in pages for entry in page)
    store.delete("/long", is_dir=True)
    assert list(store.list_pages("/", recursive=True)) == []
    store.close()
