"""What travels together."""

from __future__ import annotations

from davfusion.sync.chunked.factory import ChunkFactory, Item, Packing

FACTORY = ChunkFactory(Packing(pack_below=100, archive_size=250))


def item(path: str, size: int = 10, content: int | None = None) -> Item:
    return Item(content if content is not None else abs(hash(path)), size, path, 0.0, 1)


def paths(items: object) -> list[str]:
    return [each.path for each in items]  # type: ignore[attr-defined]


def test_files_of_a_folder_lie_together_before_those_of_the_folders_in_it() -> None:
    waiting = ["/b/x", "/a/z", "/a/b/c", "/a.b/q", "/top", "/a/a", "/a!/q"]
    (archive,) = FACTORY.archives(item(path) for path in waiting)
    assert paths(archive) == ["/top", "/a/a", "/a/z", "/a/b/c", "/a!/q", "/a.b/q", "/b/x"]


def test_archives_are_sealed_by_size_and_none_is_empty() -> None:
    archives = FACTORY.archives(item(f"/{number:02}", 99) for number in range(9))
    assert [len(archive) for archive in archives] == [2, 2, 2, 2, 1]
    assert FACTORY.archives([]) == []


def test_archives_are_smaller_for_a_store_with_little_room() -> None:
    archives = FACTORY.archives((item(f"/{number:02}", 99) for number in range(3)), largest=100)
    assert [len(archive) for archive in archives] == [1, 1, 1]


def test_a_content_of_two_files_travels_once() -> None:
    copies = [item("/a", 10, 7), item("/b", 10, 7), item("/c", 500, 8), item("/d", 500, 8)]
    assert [len(archive) for archive in FACTORY.archives(copies)] == [1]
    assert len(FACTORY.singles(copies)) == 1


def test_large_files_go_alone_the_smallest_first() -> None:
    waiting = [item("/large", 10**9), item("/small", 99), item("/medium", 100)]
    assert paths(FACTORY.singles(waiting)) == ["/medium", "/large"]
    assert paths(FACTORY.archives(waiting)[0]) == ["/small"]
