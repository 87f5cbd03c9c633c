"""PROPPATCH (RFC 4918, 9.2): all changes in document order, or none."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lxml import etree

from davfusion.cache.node import PropertyChange
from davfusion.dav import xml
from davfusion.dav.body import read_all
from davfusion.dav.dates import parse_http_date
from davfusion.dav.errors import HttpError
from davfusion.dav.preconditions import Preconditions, changing
from davfusion.dav.properties import LIVE, WIN32_CREATED, WIN32_MODIFIED
from davfusion.dav.propfind import multistatus
from davfusion.dav.request import Request, Response

_TIMES = {"{DAV:}getlastmodified": "modified", WIN32_MODIFIED: "modified", WIN32_CREATED: "created"}
_SETTABLE = {"{DAV:}displayname", *_TIMES}
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_PROTECTED = "<D:error><D:cannot-modify-protected-property/></D:error>"
_PHRASES = {200: "200 OK", 403: "403 Forbidden", 409: "409 Conflict", 424: "424 Failed Dependency"}


@dataclass(frozen=True, slots=True)
class Update:
    """One set (`xml` given) or remove, and the status that it alone would have."""

    name: str
    xml: bytes | None
    text: str
    status: int = 200


@dataclass(frozen=True, slots=True)
class Effect:
    """What a list of updates does to a node; times in seconds since the epoch, None where not set."""

    changes: tuple[PropertyChange, ...]
    modified: float | None
    created: float | None


def proppatch(request: Request) -> Response:
    """207 with the status of each property."""
    request.depth(default="0", allowed=("0",))
    node = request.existing()
    preconditions = Preconditions(request)
    preconditions.check(request.share, changing(request.path))
    updates = updates_of(read_all(request.environ, xml.MAX_BODY))
    if any(update.status != 200 for update in updates):
        updates = [update if update.status != 200 else replace(update, status=424) for update in updates]
    else:
        effect = effect_of(updates)
        request.share.change_properties(
            request.path, effect.changes, modified=effect.modified, created=effect.created,
            guard=lambda view: preconditions.check(view, changing(request.path)))
    href = request.xml_href(node.path, is_folder=node.is_folder)
    return multistatus([_response(href, updates)], [])


def updates_of(body: bytes) -> list[Update]:
    """The updates of a request body, in document order. Raises HttpError 400."""
    root = xml.parse(body)
    if root.tag != "{DAV:}propertyupdate":
        raise HttpError(400, "The body is not a DAV:propertyupdate")
    updates: list[Update] = []
    for instruction in root:
        if instruction.tag not in ("{DAV:}set", "{DAV:}remove"):
            continue
        for prop in instruction.iterchildren("{DAV:}prop"):
            for element in prop:
                update = update_of(element) if instruction.tag == "{DAV:}set" else Update(str(element.tag), None, "")
                updates.append(replace(update, status=status_of(update)))
    if not updates:
        raise HttpError(400, "The DAV:propertyupdate changes nothing")
    return updates


def effect_of(updates: list[Update]) -> Effect:
    """What updates that are all allowed do together; of several to one property the last counts."""
    times: dict[str, float | None] = {"modified": None, "created": None}
    changes: list[PropertyChange] = []
    for update in updates:
        if update.name not in _TIMES:
            changes.append(PropertyChange(update.name, update.xml))
        elif update.xml is not None:
            times[_TIMES[update.name]] = parse_http_date(update.text)
    return Effect(tuple(changes), times["modified"], times["created"])


def update_of(element: etree._Element) -> Update:
    """The update that sets a property to this element."""
    # xml:lang in scope belongs to the value (RFC 4918, 4.3) and must survive being taken out of its document.
    language = next((each.get(_LANGUAGE) for each in [element, *element.iterancestors()]
                     if each.get(_LANGUAGE) is not None), None)
    if language is not None:
        element.set(_LANGUAGE, language)
    value = etree.tostring(element, encoding="utf-8", xml_declaration=False, with_tail=False)
    return Update(str(element.tag), value, "".join(str(part) for part in element.itertext()).strip())


def status_of(update: Update) -> int:
    """The status that the update alone would have: 200, 403 or 409."""
    if update.name in _TIMES:
        if update.xml is None:
            return 403 if update.name == "{DAV:}getlastmodified" else 200
        return 200 if parse_http_date(update.text) is not None else 409
    return 403 if update.name in LIVE and update.name not in _SETTABLE else 200


def _response(href: str, updates: list[Update]) -> str:
    statuses = {update.name: update.status for update in updates}
    for update in updates:
        if update.status not in (200, 424):
            statuses[update.name] = update.status
    parts = [f"<D:response><D:href>{href}</D:href>"]
    for status in dict.fromkeys(statuses.values()):
        names = "".join(xml.empty_element(name) for name, each in statuses.items() if each == status)
        error = _PROTECTED if status == 403 else ""
        parts.append(f"<D:propstat><D:prop>{names}</D:prop><D:status>HTTP/1.1 {_PHRASES[status]}</D:status>"
                     f"{error}</D:propstat>")
    return "".join([*parts, "</D:response>"])
