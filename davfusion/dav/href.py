"""Paths as URLs and back (RFC 3986).

A path is decoded text that starts with `/`; a local path never ends in `/` except the root itself.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote_to_bytes

_UNSAFE = re.compile(r"[^A-Za-z0-9/!$&'()*+,;=:@~\-._]+")
"""What may not stand in a path as it is (RFC 3986, 3.3). GNOME compares texts and expects sub-delims unescaped."""


class BadPathError(ValueError):
    """The URL's path names nothing that could exist; to be answered with 400."""


def href(prefix: str, path: str, *, is_folder: bool) -> str:
    """The path-absolute URL of a local path in a share mounted at `prefix` (decoded, no `/` at the end).

    It is not yet escaped for XML. Names that are no valid text come out in the bytes that they stand for.
    """
    full = prefix + path
    if is_folder and not full.endswith("/"):
        full += "/"
    return _UNSAFE.sub(_quoted, full)


def _quoted(match: re.Match[str]) -> str:
    return quote(match.group(), safe="", errors="surrogateescape")


def xml_href(prefix: str, path: str, *, is_folder: bool) -> str:
    """As `href`, escaped for XML."""
    return href(prefix, path, is_folder=is_folder).replace("&", "&amp;")


def decode(raw: str) -> str:
    """Percent-decode a raw URL path, once. Raises BadPathError when it is not UTF-8.

    `raw` is in the WSGI convention: octets beyond ASCII, sent unescaped by some clients, are latin-1 characters.
    """
    try:
        return unquote_to_bytes(raw.encode("latin-1")).decode("utf-8")
    except UnicodeError:
        raise BadPathError("The URL is not UTF-8") from None


def from_wsgi(path_info: str) -> str:
    """A PATH_INFO as text. Raises BadPathError when it is not UTF-8."""
    if path_info.isascii():
        return path_info
    try:
        return path_info.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise BadPathError("The URL is not UTF-8") from None


def normalise(path: str) -> tuple[str, bool]:
    """The path without empty segments and without a `/` at the end, and whether it had one.

    Raises BadPathError for `.` and `..` segments and for NUL: to guess what they mean would be to write elsewhere.
    """
    if "\0" in path:
        raise BadPathError("The URL has a NUL character")
    if not path.startswith("/"):
        raise BadPathError("The URL's path does not start with /")
    segments = [segment for segment in path.split("/") if segment]
    if "." in segments or ".." in segments:
        raise BadPathError("The URL has a . or .. segment")
    return "/" + "/".join(segments), path.endswith("/")


def parent(path: str) -> str:
    """The folder of a local path; the root is its own."""
    return path.rpartition("/")[0] or "/"


def spellings(name: str) -> list[str]:
    """The other Unicode spellings under which a name may be kept, the composed one first."""
    if name.isascii():
        return []
    forms = [unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)]
    return [form for form in dict.fromkeys(forms) if form != name]
