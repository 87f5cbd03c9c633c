"""What clients were promised: a tree of plain values that every acknowledged operation changes, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Kept:
    """A file with its bytes, or a folder (`data` is None)."""

    data: bytes | None
    properties: dict[str, bytes] = field(default_factory=dict)


Tree = dict[str, Kept]
"""By path, without the root."""


def put(tree: Tree, path: str, data: bytes) -> Tree:
    old = tree.get(path)
    return {**tree, path: Kept(data, old.properties if old is not None else {})}


def make_folder(tree: Tree, path: str) -> Tree:
    return {**tree, path: Kept(None)}


def delete(tree: Tree, path: str) -> Tree:
    return {other: kept for other, kept in tree.items() if not within(other, path)}


def move(tree: Tree, source: str, destination: str) -> Tree:
    moved = below(tree, source, destination)
    return {**delete(delete(tree, destination), source), **moved}


def copy(tree: Tree, source: str, destination: str) -> Tree:
    return {**delete(tree, destination), **below(tree, source, destination)}


def describe(tree: Tree, path: str, name: str, value: bytes) -> Tree:
    return {**tree, path: replace(tree[path], properties={**tree[path].properties, name: value})}


def below(tree: Tree, source: str, destination: str) -> Tree:
    """What lies at and below a path, as it looks at another."""
    return {destination + path[len(source):]: kept for path, kept in tree.items() if within(path, source)}


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def difference(one: Tree, other: Tree) -> str:
    """What differs, in few words; empty when nothing does."""
    only = {path: _short(kept) for path, kept in one.items() if other.get(path) != kept}
    instead = {path: _short(kept) for path, kept in other.items() if one.get(path) != kept}
    return f"{only} instead of {instead}" if only or instead else ""


def _short(kept: Kept) -> tuple[bytes | None, dict[str, bytes]]:
    return (None if kept.data is None else kept.data[:12]), kept.properties
