"""PROPFIND (RFC 4918, 9.1): what is asked becomes a plan, and the plan renders nodes as text."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from davfusion.cache.node import Node
from davfusion.dav import xml
from davfusion.dav.body import read_all
from davfusion.dav.errors import HttpError
from davfusion.dav.lock_xml import LocksOfTree
from davfusion.dav.preconditions import Preconditions, lock_root
from davfusion.dav.properties import (
    ALLPROP,
    LIVE,
    LOCK_PROPERTIES,
    QUOTA_PROPERTIES,
    Dead,
    Scene,
    propname_elements,
)
from davfusion.dav.rendered import Matter, Slot
from davfusion.dav.request import Request, Response, xml_document

_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:">'
_TAIL = "</D:multistatus>"
_NOTHING: Dead = {}
_WINDOWS = "Microsoft-WebDAV-MiniRedir"
"""Reads at most 1,000,000 bytes of an answer and asks for allprop: what it does not use would cost it members."""
MAX_NAMES = 1000
"""Properties that one request may name: each is answered for every member."""
_STREAM_ABOVE = 2000
"""Nodes above which the answer is rendered while it is sent."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a PROPFIND asks for. `names`: the properties asked for by name (Clark notation), or those included."""

    mode: str
    """`prop`, `allprop` or `propname`."""
    names: tuple[str, ...] = ()

    @property
    def needs_dead(self) -> bool:
        """Whether dead properties can be part of the answer."""
        return self.mode != "prop" or any(
            name not in LIVE or name == "{DAV:}displayname" for name in self.names)

    @property
    def of_the_tree(self) -> bool:
        """Whether the answer changes with the index only: the quota changes with the disk."""
        return self.mode != "propname" and not any(name in QUOTA_PROPERTIES for name in self.names)


def plan_of(body: bytes) -> Plan:
    """The plan of a request body; an empty body asks for allprop. Raises HttpError 400."""
    if not body.strip():
        return Plan("allprop")
    return _small_plan(body) if len(body) <= 4096 else _parse_plan(body)


@lru_cache(maxsize=256)
def _small_plan(body: bytes) -> Plan:
    return _parse_plan(body)


def _parse_plan(body: bytes) -> Plan:
    root = xml.parse(body)
    if root.tag != "{DAV:}propfind":
        raise HttpError(400, "The body is not a DAV:propfind")
    modes: list[str] = []
    names: list[str] = []
    included: list[str] = []
    for element in root:
        if element.tag in ("{DAV:}prop", "{DAV:}allprop", "{DAV:}propname"):
            modes.append(str(element.tag).removeprefix(xml.DAV))
        if element.tag in ("{DAV:}prop", "{DAV:}include"):
            wanted = names if element.tag == "{DAV:}prop" else included
            wanted += [str(each.tag) for each in element]
    if len(modes) != 1 or (included and modes[0] != "allprop"):
        raise HttpError(400, "DAV:propfind holds one of prop, allprop (with include) and propname")
    if len(names) + len(included) > MAX_NAMES:
        raise HttpError(413, f"A PROPFIND may name {MAX_NAMES} properties at most")
    return Plan(modes[0], tuple(dict.fromkeys(names or included)))


class Renderer:
    """Writes the DAV:response of nodes for one request. Not thread-safe."""

    def __init__(self, plan: Plan, scene: Scene, *, minimal: bool = False, compact: bool = False) -> None:
        """`minimal` keeps quiet about missing properties, `compact` leaves the lock properties out of allprop."""
        self._plan = plan
        self._scene = scene
        self._minimal = minimal
        usual = [name for name in ALLPROP if not (compact and name in LOCK_PROPERTIES)]
        names = plan.names if plan.mode == "prop" else tuple(dict.fromkeys((*usual, *plan.names)))
        self._asked = [(name, LIVE.get(name), xml.empty_element(name)) for name in names]
        self._asked_names = frozenset(names)

    def response(self, node: Node, dead: Dead) -> str:
        """The DAV:response of one node with these dead properties."""
        href = self._scene.href(node)
        if self._plan.mode == "propname":
            return _response(href, propname_elements(self._scene, node, dead), "")
        found: list[str] = []
        missing: list[str] = []
        for name, live, empty in self._asked:
            if dead and name in dead:
                found.append(dead[name].decode())
                continue
            value = live(self._scene, node) if live is not None else None
            if value is not None:
                found.append(value)
            elif self._plan.mode == "prop" or name in self._plan.names:
                missing.append(empty)
        if dead and self._plan.mode == "allprop":
            found += [value.decode() for name, value in dead.items() if name not in self._asked_names]
        return _response(href, "".join(found), "" if self._minimal else "".join(missing))


def _response(href: str, found: str, missing: str) -> str:
    parts = f"<D:response><D:href>{href}</D:href>"
    if found or not missing:
        parts += f"<D:propstat><D:prop>{found}</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"
    if missing:
        parts += f"<D:propstat><D:prop>{missing}</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>"
    return parts + "</D:response>"


def propfind(request: Request) -> Response:
    """207 with the properties of the resource and, by Depth, of its members or all below it."""
    question = _question(request)
    node = request.existing()
    Preconditions(request).check(request.share)
    headers = [("Preference-Applied", "return=minimal")] if question.minimal else []
    if not question.can_be_kept:
        nodes, dead = _nodes(request, node, question.depth), _DeadProperties(request, question, node)
        return _rendered(request, question, nodes, dead, LocksOfTree(request.share, node.path), headers, None)
    key = (node.id, node.path, request.location.prefix, question)
    body = request.rendered.fresh(key)
    if body is not None:
        return xml_document(207, body, headers)
    return _reconsidered(request, question, node, headers, key)


def _reconsidered(request: Request, question: _Question, node: Node, headers: list[tuple[str, str]],
                  key: Hashable) -> Response:
    """The answer that was kept, where it is still the same, or another, which is kept."""
    share = request.share
    with_members = question.depth == "1" and node.is_folder
    slot = request.rendered.slot(key, share.freshen(node) if with_members else math.inf)
    body = slot.still_true()
    if body is not None:
        return xml_document(207, body, headers)
    dead = _DeadProperties(request, question, node)
    members = share.members(node) if with_members else []
    locks = LocksOfTree(share, node.path)
    # Locks run out by themselves, and the resource may have changed between the look-up of the request and the slot.
    steady = not locks.any and share.find_known(node.path) == node
    body = slot.made_of(Matter(node, members, (dead.own, dead.of_members))) if steady else None
    if body is not None:
        return xml_document(207, body, headers)
    nodes = [node, *share.nodes(node, members)]
    return _rendered(request, question, nodes, dead, locks, headers, slot if steady else None)


class _Question(NamedTuple):
    """All of a request that decides what its answer says of a resource."""

    depth: str
    plan: Plan
    without_root: bool
    minimal: bool
    compact: bool

    @property
    def can_be_kept(self) -> bool:
        """Whether the answer changes with the index only, and is small compared with what it is about."""
        return self.depth != "infinity" and self.plan.of_the_tree


def _question(request: Request) -> _Question:
    """Raises HttpError 400, 413, BrokenBodyError."""
    depth, _, noroot = (request.header("DEPTH") or "infinity").strip().lower().partition(",")
    if depth not in ("0", "1", "infinity") or noroot.strip() not in ("", "noroot"):
        raise HttpError(400, "Depth must be 0, 1 or infinity")
    plan = plan_of(read_all(request.environ, xml.MAX_BODY))
    without_root = bool(noroot) or "depth-noroot" in (request.header("PREFER") or "").lower()
    compact = _WINDOWS in (request.header("USER_AGENT") or "")
    return _Question(depth, plan, without_root, prefers_minimal(request), compact)


def _rendered(request: Request, question: _Question, nodes: list[Node], dead: _DeadProperties,
              locks: LocksOfTree, headers: list[tuple[str, str]], slot: Slot | None) -> Response:
    """The answer about a node and those below it, rendered now and kept in the slot."""
    shown = nodes[1:] if question.without_root else nodes
    scene = Scene(
        lambda each: request.xml_href(each.path, is_folder=each.is_folder), quota=request.share.quota,
        locks=locks, lock_root=lambda path: lock_root(request, request.share, path))
    renderer = Renderer(question.plan, scene, minimal=question.minimal, compact=question.compact)
    responses = (renderer.response(each, dead(each)) for each in shown)
    if len(shown) > _STREAM_ABOVE:
        pieces = _stream(responses)
        return Response(207, [*headers, ("Content-Type", "application/xml; charset=utf-8")],
                        pieces if slot is None else slot.kept(pieces))
    body = _document(responses)
    if slot is not None:
        slot.keep(body)
    return xml_document(207, body, headers)


def multistatus(responses: Iterable[str], headers: list[tuple[str, str]]) -> Response:
    """The 207 of these DAV:response elements."""
    return xml_document(207, _document(responses), headers)


def _document(responses: Iterable[str]) -> bytes:
    return (_HEAD + "".join(responses) + _TAIL).encode()


def _stream(responses: Iterable[str]) -> Iterator[bytes]:
    iterator = iter(responses)
    yield _HEAD.encode()
    while batch := list(islice(iterator, 200)):
        yield "".join(batch).encode()
    yield _TAIL.encode()


def prefers_minimal(request: Request) -> bool:
    """Whether the client wants to hear only of properties that exist (RFC 8144; Brief is Microsoft's form)."""
    return "return=minimal" in (request.header("PREFER") or "").replace(" ", "").lower() \
        or (request.header("BRIEF") or "").strip().lower() == "t"


def _nodes(request: Request, node: Node, depth: str) -> list[Node]:
    """All nodes that the answer names; the listing is complete before the first byte is sent."""
    if depth == "0" or not node.is_folder:
        return [node]
    if depth == "1":
        return [node, *request.share.children(node)]
    limit = request.settings.infinite_depth_limit
    below = list(islice(request.share.walk(node), limit + 1)) if limit else []
    if not limit or len(below) > limit:
        raise HttpError(403, "There is too much below this folder for one answer",
                        condition="<D:propfind-finite-depth/>")
    return [node, *below]


class _DeadProperties:
    """Dead properties of the nodes of one answer: one query for a node, and one for all its members."""

    def __init__(self, request: Request, question: _Question, node: Node) -> None:
        needed = question.plan.needs_dead
        self._share = request.share
        self._node = node.id
        self.own: Dead = request.share.properties(node) if needed else _NOTHING
        self.of_members: Mapping[int, Dead] = {}
        """By the ids of the members that have any."""
        self._below = needed and question.depth == "infinity"
        if needed and question.depth == "1" and node.is_folder:
            self.of_members = request.share.properties_of_children(node)

    def __call__(self, node: Node) -> Dead:
        if node.id == self._node:
            return self.own
        return self._share.properties(node) if self._below else self.of_members.get(node.id, _NOTHING)
