"""Lines as JSON: arrays that begin with their kind. What is written is checked as strictly as what is read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from sys import intern
from typing import Any

from davfusion.chunks.lines import (
    NO_PARENT,
    ROOT,
    ContentLine,
    Line,
    NodeLine,
    ObjectLine,
    Part,
    ReleaseLine,
    RemovalLine,
)
from davfusion.chunks.volume import is_data

NO_PROPERTIES: Mapping[str, str] = {}
"""Shared by all nodes without properties, since there are many; nobody changes it."""

LARGEST = 2**63 - 1
"""The largest id, size and offset."""

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class UnknownKindError(ValueError):
    """A line of a kind that this davfusion does not know."""


def dump(value: object) -> str:
    """Compact JSON in ASCII: lone surrogates survive as escapes. Raises ValueError for NaN and infinities."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def parse(text: bytes) -> Any:
    """The value of a JSON text. Raises ValueError, also for a name that comes twice in an object, and for NaN."""
    try:
        return _decoder.decode(text.decode("ascii"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def encode(line: Line) -> str:
    """One line as JSON. Raises ValueError where `decode` would refuse it."""
    _CHECKS[type(line)](line)
    match line:
        case ObjectLine(path, size, sha256):
            return dump(["object", path, size, sha256])
        case ContentLine(content, size, sha256, parts):
            ranges = [[part.object, part.offset, part.length, part.size, part.method, part.crc32] for part in parts]
            return dump(["content", content, size, sha256, ranges])
        case NodeLine():
            return dump(["node", line.node, line.parent, line.name, line.folder, line.content, line.modified,
                         line.created, line.media_type, dict(line.properties)])
        case RemovalLine(node):
            return dump(["removal", node])
        case ReleaseLine(path):
            return dump(["release", path])


def decode(text: bytes) -> Line:
    """The line that the JSON says. Raises UnknownKindError; ValueError for anything out of form."""
    array = parse(text)
    if type(array) is not list or not array or type(array[0]) is not str:
        raise ValueError("a line is not an array that begins with its kind")
    make = _MAKERS.get(array[0])
    if make is None:
        raise UnknownKindError(array[0])
    try:
        line = make(*array[1:])
    except TypeError as error:
        raise ValueError(f"a line of the kind {array[0]!r} has the wrong fields") from error
    _CHECKS[type(line)](line)
    return line


def key(line: Line) -> tuple[str, int | str]:
    """What at most one line of an entry may be about."""
    match line:
        case ObjectLine(path, _, _):
            return "object", path
        case ContentLine(content, _, _, _):
            return "content", content
        case NodeLine():
            return "node", line.node
        case RemovalLine(node):
            return "removal", node
        case ReleaseLine(path):
            return "release", path


# -- making --------------------------------------------------------------------------------------


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name comes twice in one object")
    return made


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _content(content: Any, size: Any, sha256: Any, parts: Any) -> ContentLine:
    return ContentLine(content, size, sha256, tuple(_part(*part) for part in parts))


def _part(path: Any, offset: Any, length: Any, size: Any, method: Any, crc32: Any) -> Part:
    return Part(_shared(path), offset, length, size, _shared(method), crc32)


def _node(node: Any, parent: Any, name: Any, folder: Any, content: Any, modified: Any, created: Any, media_type: Any,
          properties: Any) -> NodeLine:
    return NodeLine(node, parent, name, folder, content, as_float(modified), as_float(created), _shared(media_type),
                    NO_PROPERTIES if properties == NO_PROPERTIES else properties)


def _shared(text: Any) -> Any:
    """One object for equal texts: a path of an archive comes in thousands of lines."""
    return intern(text) if type(text) is str else text


def as_float(number: Any) -> Any:
    """An integer as a float, because JSON may say 5.0 as 5; anything else as it is."""
    return float(number) if type(number) is int and abs(number) <= LARGEST else number


_MAKERS: dict[str, Callable[..., Line]] = {
    "object": ObjectLine, "content": _content, "node": _node, "removal": RemovalLine, "release": ReleaseLine}


# -- checking ------------------------------------------------------------------------------------


def is_number(value: object, first: int = 0, last: int = LARGEST) -> bool:
    """Whether the value is an integer of the range, and no bool."""
    return type(value) is int and first <= value <= last


def is_time(value: object) -> bool:
    """Whether the value is a finite float."""
    return type(value) is float and math.isfinite(value)


def is_sha256(value: object) -> bool:
    """Whether the value is None or the hexadecimal digits of a SHA-256."""
    return value is None or (type(value) is str and _SHA256.fullmatch(value) is not None)


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _check_object(line: ObjectLine) -> None:
    _check_path(line.path)
    _need(is_number(line.size), "an object has no proper size")
    _need(is_sha256(line.sha256), "an object has no proper SHA-256")


def _check_path(path: object) -> None:
    _need(type(path) is str and is_data(path), f"{path!r} is no path of an archive or a block")


def _check_content(line: ContentLine) -> None:
    _need(is_number(line.content, 1), "a content has no proper id")
    _need(is_number(line.size), f"content {line.content} has no proper size")
    _need(is_sha256(line.sha256), f"content {line.content} has no proper SHA-256")
    for part in line.parts:
        check_part(part, 1)
    _need(sum(part.size for part in line.parts) == line.size, f"the parts of content {line.content} are not its size")


def check_part(part: Part, smallest: int = 0) -> None:
    """Raise ValueError where the part cannot be one; `smallest` is the least size in bytes."""
    _check_path(part.object)
    _need(is_number(part.offset) and is_number(part.length), "a part has no proper range")
    _need(is_number(part.size, smallest), "a part has no proper size")
    _need(is_number(part.crc32, 0, 2**32 - 1), "a part has no proper CRC-32")
    _need(part.method in ("stored", "deflate"), f"{part.method!r} is no method of a part")
    _need(part.method != "stored" or part.length == part.size, "a stored part is not as long as its content")


def _check_node(line: NodeLine) -> None:
    node = line.node
    _need(is_number(node, 1) and is_number(line.parent), "a node has no proper ids")
    _need(type(line.folder) is bool, f"node {node} is neither folder nor file")
    _need(line.content is None if line.folder else is_number(line.content, 1), f"node {node} has no proper content")
    _check_name(line)
    _need(is_time(line.modified) and is_time(line.created), f"node {node} has no proper times")
    _need(line.media_type is None or type(line.media_type) is str, f"node {node} has no proper media type")
    if line.properties is not NO_PROPERTIES:
        _check_properties(line)


def _check_name(line: NodeLine) -> None:
    if line.node == ROOT:
        _need(line.parent == NO_PARENT and line.name == "" and line.folder, "the root is not a folder without a name")
        return
    _need(line.parent not in (NO_PARENT, line.node), f"node {line.node} is in no folder")
    name = line.name
    _need(type(name) is str and name not in ("", ".", "..") and "/" not in name and "\0" not in name,
          f"node {line.node} has no proper name")


def _check_properties(line: NodeLine) -> None:
    _need(isinstance(line.properties, Mapping), f"node {line.node} has no proper properties")
    for name, xml in line.properties.items():
        _need(type(name) is str and type(xml) is str and name != "",
              f"node {line.node} has a property without a proper name or value")


def _check_removal(line: RemovalLine) -> None:
    _need(is_number(line.node, ROOT + 1), "a removal names no node, or the root")


def _check_release(line: ReleaseLine) -> None:
    _check_path(line.path)


_CHECKS: dict[type, Callable[[Any], None]] = {
    ObjectLine: _check_object, ContentLine: _check_content, NodeLine: _check_node, RemovalLine: _check_removal,
    ReleaseLine: _check_release}
