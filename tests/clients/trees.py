"""Real folder trees and how they are compared: names and bytes, nothing else."""

from __future__ import annotations

import hashlib
import shutil
import sysconfig
from pathlib import Path

FOLDER = "folder"
PLACEHOLDER = ".davfusion-folder"
ODD_NAMES = (
    "with space.txt", "100%.txt", "a%20b.txt", "hash#tag.txt", "what?.txt", "semi;colon.txt", "plus+plus.txt",
    "it's.txt", 'say "hi".txt', "umlaut-\u00fc-nfc.txt", "umlaut-u\u0308-nfd.txt", "snow-\u2603-\U0001f600.txt",
    "a&b=c.txt", "tilde~[x](y){z}.txt", "comma,@!$.txt", ".hidden", "no-extension",
)


def python_tree(destination: Path, *, part: str = "") -> Path:
    """A copy of this Python's own library (or a part of it), several thousand files, and a folder of odd names."""
    source = Path(sysconfig.get_path("stdlib")) / part
    unwanted = shutil.ignore_patterns("site-packages", "dist-packages", "__pycache__", "*.a", "*.so")
    shutil.copytree(source, destination, ignore=unwanted, symlinks=False, ignore_dangling_symlinks=True)
    odd = destination / "odd names"
    odd.mkdir()
    for number, name in enumerate(ODD_NAMES):
        (odd / name).write_text(f"{number} {name}", encoding="utf-8")
    (destination / "an empty file").touch()
    return destination


def fingerprint(root: Path, *, folders: bool = True) -> dict[str, str]:
    """Every path below a folder with the SHA-256 of its bytes, or FOLDER."""
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            found[name] = FOLDER
        elif path.name != PLACEHOLDER:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    if folders:
        return found
    return {name: digest for name, digest in found.items() if digest != FOLDER}


def assert_same(expected: dict[str, str], actual: dict[str, str]) -> None:
    """Fail with the names that are missing, extra or different."""
    missing = sorted(set(expected) - set(actual))
    extra = sorted(set(actual) - set(expected))
    different = sorted(name for name in expected if name in actual and actual[name] != expected[name])
    assert not (missing or extra or different), (
        f"missing {len(missing)}: {missing[:10]}, extra {len(extra)}: {extra[:10]}, "
        f"different {len(different)}: {different[:10]}")
