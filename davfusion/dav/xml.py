"""XML as it arrives: one parser for all methods, and the escaping for what we send."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from lxml import etree

from davfusion.dav.errors import HttpError

MAX_BODY = 1 << 20
"""Bytes of the largest XML body that is accepted."""

DAV = "{DAV:}"
_PLAIN = re.compile(r"[\w \-.,;:!?()\[\]{}+*/\"'=@#$%^~|]*", re.ASCII)
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parse(body: bytes) -> etree._Element:
    """The root element of an XML body. Raises HttpError 400 for anything malformed and for any DTD.

    Entities can blow up memory and refer to files; no WebDAV client needs them (RFC 4918, 20.6).
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
        remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise HttpError(400, "The body is not well-formed XML") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise HttpError(400, "A document type declaration is not accepted")
    return root


def text(value: str) -> str:
    """Escaped for element content; characters that XML cannot hold become U+FFFD, so that one odd name does not
    spoil a whole listing."""
    return value if _PLAIN.fullmatch(value) else escape(_ILLEGAL.sub("\ufffd", value))


def split_name(name: str) -> tuple[str, str]:
    """The namespace and the local part of a name in Clark notation."""
    if name.startswith("{"):
        namespace, _, local = name[1:].partition("}")
        return namespace, local
    return "", name


def empty_element(name: str) -> str:
    """An empty element of a Clark name, `D` being bound to `DAV:`."""
    namespace, local = split_name(name)
    if namespace == "DAV:":
        return f"<D:{local}/>"
    if not namespace:
        return f'<{local} xmlns=""/>'
    return f'<x:{local} xmlns:x="{escape(namespace, {chr(34): "&quot;"})}"/>'


def error_document(condition: str) -> bytes:
    """A DAV:error body (RFC 4918, 14.5)."""
    return f'<?xml version="1.0" encoding="utf-8"?>\n<D:error xmlns:D="DAV:">{condition}</D:error>'.encode()
