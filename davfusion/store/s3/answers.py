"""What an S3 server answers, read: bodies, XML, ETags, times."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_plus

import requests
import urllib3
from lxml import etree

from davfusion.store.errors import TemporaryError
from davfusion.store.s3 import errors
from davfusion.store.transfer import PIECE, check_interrupt


@dataclass(frozen=True, slots=True)
class Listed:
    """One object, as listings and HEAD tell."""

    key: str
    size: int
    modified: float
    etag: str


@dataclass(frozen=True, slots=True)
class ListPage:
    """One answer to a listing. `token` asks for the next page; None: this was the last."""

    objects: list[Listed]
    prefixes: list[str]
    token: str | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What the server tells about an object that it has just made."""

    etag: str
    modified: float | None


def etag_of(answer: requests.Response, path: str) -> str:
    etag = bare_etag(answer.headers.get("ETag", ""))
    if not etag:
        raise TemporaryError("The store did not tell the ETag of the new object", path)
    return etag


def parse(content: bytes, path: str | None) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        return etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise TemporaryError("The answer of the store could not be read", path) from error


def local_name(element: etree._Element) -> str:
    return str(element.tag).rpartition("}")[2]


def text_of(element: etree._Element, name: str) -> str:
    for child in element:
        if local_name(child) == name:
            return child.text or ""
    return ""


def parse_page(content: bytes, path: str | None) -> ListPage:
    root = parse(content, path)
    if local_name(root) != "ListBucketResult":
        raise TemporaryError("The answer of the store is not a listing", path)
    encoded = text_of(root, "EncodingType") == "url"
    objects, prefixes = [], []
    for child in root:
        if local_name(child) == "Contents":
            objects.append(_parse_object(child, encoded, path))
        elif local_name(child) == "CommonPrefixes":
            prefix = text_of(child, "Prefix")
            prefixes.append(unquote_plus(prefix) if encoded else prefix)
    token = text_of(root, "NextContinuationToken")
    if text_of(root, "IsTruncated") != "true":
        return ListPage(objects, prefixes, None)
    if not token:
        raise TemporaryError("The store cut a listing off", path)
    return ListPage(objects, prefixes, token)


def _parse_object(element: etree._Element, encoded: bool, path: str | None) -> Listed:
    fields = {local_name(child): child.text or "" for child in element}
    try:
        key = unquote_plus(fields["Key"]) if encoded else fields["Key"]
        return Listed(key, int(fields["Size"]), _time(fields["LastModified"]), bare_etag(fields["ETag"]))
    except (KeyError, ValueError) as error:
        raise TemporaryError("The answer of the store could not be read", path) from error


def stored(answer: requests.Response, path: str | None) -> Stored:
    """S3 may begin to answer 200 before it is done, and then tell an error in the body."""
    root = parse(answer.content, path)
    if local_name(root) == "Error":
        raise errors.from_response(500, text_of(root, "Code"), path)
    etag, modified = text_of(root, "ETag"), text_of(root, "LastModified")
    if not etag:
        raise TemporaryError("The store did not tell the ETag of the new object", path)
    return Stored(bare_etag(etag), _time(modified) if modified else None)


def _time(text: str) -> float:
    return datetime.datetime.fromisoformat(text.strip()).timestamp()


def bare_etag(etag: str) -> str:
    return etag.strip().removeprefix('"').removesuffix('"')


def stream_body(answer: requests.Response, path: str, interrupt: threading.Event | None) -> Iterator[bytes]:
    """The body to its announced end; without a length its framing tells the end (RFC 9112, 6.3)."""
    told = answer.headers.get("Content-Length")
    left = None if told is None else int(told)
    while left is None or left > 0:
        check_interrupt(interrupt, path)
        try:
            piece: bytes = answer.raw.read(PIECE if left is None else min(PIECE, left), decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TemporaryError("The transfer ended early", path) from error
        if not piece:
            break
        left = None if left is None else left - len(piece)
        yield piece
    if left or (left is None and answer.headers.get("Transfer-Encoding", "").lower() != "chunked"):
        raise TemporaryError("The transfer ended early", path)
