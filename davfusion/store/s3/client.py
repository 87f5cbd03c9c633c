"""The requests of S3, one method each: what is sent, and what the answer means."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import http.cookiejar
import io
import os
import threading
from collections.abc import Iterable
from xml.sax.saxutils import escape

import requests
from requests.adapters import HTTPAdapter

from davfusion.store.errors import ConflictError, NotFoundError, PermanentError, StoreError, TemporaryError
from davfusion.store.s3 import errors
from davfusion.store.s3.answers import (
    Listed,
    ListPage,
    Stored,
    bare_etag,
    etag_of,
    local_name,
    parse,
    parse_page,
    stored,
    text_of,
)
from davfusion.store.s3.signing import HASH, Credentials, Signature, encode_path, encode_query
from davfusion.store.transfer import check_interrupt

TIMEOUT = (10.0, 60.0)
"""Seconds to connect and to pass on each block of a body, and to wait for each piece of an answer."""

LONG_TIMEOUT = (10.0, 600.0)
"""The same where the server answers only when it has copied or put together a large object."""

BATCH = 1000
"""Keys of one request to delete."""


class RangeError(PermanentError):
    """The range asked for begins at or behind the end of the object."""


class S3Client:
    """One bucket over HTTP, with path-style addresses. Safe for several threads; retries nothing."""

    def __init__(self, endpoint: str, bucket: str, credentials: Credentials, region: str) -> None:
        self.bucket = bucket
        self._url = f"{endpoint.rstrip('/')}/{encode_path(bucket)}"
        self._session = requests.Session()
        # Once, because requests else looks through the whole environment for every request.
        self._session.trust_env = False
        self._session.proxies.update(requests.utils.get_environ_proxies(endpoint))
        self._session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        self._session.auth = Signature(credentials, region)
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=32, max_retries=0))

    def close(self) -> None:
        self._session.close()

    def send(self, method: str, key: str, path: str | None, *, query: dict[str, str] | None = None,
             headers: dict[str, str] | None = None, body: bytes = b"", stream: bool = False,
             timeout: tuple[float, float] = TIMEOUT, interrupt: threading.Event | None = None,
             ) -> requests.Response:
        """Make one request and return a successful answer; `path` is for errors only.

        `interrupt` is looked at while the body is sent. With `stream` the caller reads and closes.
        """
        if not {".", ".."}.isdisjoint(key.split("/")):
            raise PermanentError("The store holds a name with . or .. in it, which cannot be reached", path)
        url = f"{self._url}/{encode_path(key)}" if key else self._url
        if query:
            url += "?" + encode_query(query)
        signed = {HASH: hashlib.sha256(body).hexdigest(), "Accept-Encoding": "identity"} | (headers or {})
        try:
            answer = self._session.request(
                method, url, headers=signed, data=_Body(body, path or "/", interrupt) if body else b"",
                timeout=timeout, allow_redirects=False, stream=stream)
        except (requests.RequestException, OSError) as error:
            raise TemporaryError(f"The store could not be asked ({_reason(error)})", path) from error
        if answer.status_code >= 300:
            raise _refusal(answer, path)
        return answer

    # -- single objects -------------------------------------------------------------------------

    def head(self, key: str, path: str | None) -> Listed | None:
        """What is known of an object; None where there is none (or no bucket: HEAD does not tell)."""
        try:
            headers = self.send("HEAD", key, path).headers
        except NotFoundError:
            return None
        try:
            modified = email.utils.parsedate_to_datetime(headers["Last-Modified"]).timestamp()
            return Listed(key, int(headers["Content-Length"]), modified, bare_etag(headers["ETag"]))
        except (KeyError, ValueError) as error:
            raise TemporaryError("The answer of the store could not be read", path) from error

    def get(self, key: str, start: int, stop: int | None, etag: str | None, path: str) -> requests.Response:
        """A stream of the bytes [start, stop), if the object has the ETag; the caller closes it.

        Raises ConflictError, NotFoundError, RangeError when the object ends before `start`.
        """
        headers = {} if etag is None else {"If-Match": f'"{etag}"'}
        ranged = start > 0 or stop is not None
        if ranged:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        answer = self.send("GET", key, path, headers=headers, stream=True)
        # Some servers answer a range with 200 and a Content-Range.
        if ranged and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            answer.close()
            raise TemporaryError("The store answered with another range than was asked for", path)
        if etag is not None and bare_etag(answer.headers.get("ETag", "")) != etag:
            answer.close()
            raise ConflictError("The object has changed in the meantime", path)
        return answer

    def put(self, key: str, body: bytes, headers: dict[str, str], path: str, *,
            interrupt: threading.Event | None = None) -> str:
        """Publish an object in one request and return its ETag."""
        answer = self.send("PUT", key, path, body=body, headers=headers, interrupt=interrupt)
        return etag_of(answer, path)

    def list_page(self, prefix: str, *, delimiter: bool, token: str | None = None, limit: int = 1000,
                  path: str | None = None) -> ListPage:
        """One page of the keys that begin with `prefix`; those with a further `/` become prefixes."""
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(limit), "encoding-type": "url"}
        if delimiter:
            query["delimiter"] = "/"
        if token is not None:
            query["continuation-token"] = token
        answer = self.send("GET", "", path, query=query)
        return parse_page(answer.content, path)

    def delete(self, key: str, path: str | None = None) -> None:
        """Delete one key; nothing there is success."""
        try:
            self.send("DELETE", key, path)
        except NotFoundError:
            return

    def delete_many(self, keys: Iterable[str], path: str | None = None) -> None:
        """Delete the keys, in as few requests as can be. Raises the first error of any key."""
        waiting = list(keys)
        for first in range(0, len(waiting), BATCH):
            self._delete_batch(waiting[first:first + BATCH], path)

    def _delete_batch(self, keys: list[str], path: str | None) -> None:
        listed = "".join(f"<Object><Key>{_escape(key)}</Key></Object>" for key in keys)
        body = f"<Delete><Quiet>true</Quiet>{listed}</Delete>".encode()
        headers = {"Content-MD5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
                   "Content-Type": "application/xml"}
        answer = self.send("POST", "", path, query={"delete": ""}, headers=headers, body=body)
        for element in parse(answer.content, path):
            if local_name(element) == "Error" and text_of(element, "Code") not in ("NoSuchKey", ""):
                raise errors.from_response(400, text_of(element, "Code"), path)

    def copy(self, destination: str, headers: dict[str, str], path: str | None, *,
             part: tuple[str, int] | None = None) -> Stored:
        """Copy what the headers name, as an object or as a part: the id of an upload and a number."""
        query = None if part is None else {"partNumber": str(part[1]), "uploadId": part[0]}
        return stored(self.send("PUT", destination, path, headers=headers, query=query, timeout=LONG_TIMEOUT), path)

    # -- multipart uploads ----------------------------------------------------------------------

    def begin_upload(self, key: str, headers: dict[str, str], path: str | None) -> str:
        """Start an upload by parts and return its id."""
        answer = self.send("POST", key, path, query={"uploads": ""}, headers=headers)
        upload = text_of(parse(answer.content, path), "UploadId")
        if not upload:
            raise TemporaryError("The store did not begin the upload", path)
        return upload

    def upload_part(self, key: str, upload: str, number: int, body: bytes, path: str,
                    interrupt: threading.Event | None) -> str:
        """Send one part and return its ETag."""
        answer = self.send("PUT", key, path, body=body, interrupt=interrupt,
                           query={"partNumber": str(number), "uploadId": upload})
        return etag_of(answer, path)

    def complete_upload(self, key: str, upload: str, etags: list[str], headers: dict[str, str],
                        path: str | None) -> Stored:
        """Publish the parts. `headers` may hold a condition; its refusal is ConflictError."""
        parts = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{_escape(etag)}&quot;</ETag></Part>"
                        for number, etag in enumerate(etags, 1))
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        answer = self.send("POST", key, path, query={"uploadId": upload}, body=body, timeout=LONG_TIMEOUT,
                           headers={"Content-Type": "application/xml"} | headers)
        return stored(answer, path)

    def abort_upload(self, key: str, upload: str) -> None:
        """Forget the parts. What cannot be reached is left to the bucket's own rules."""
        try:
            self.send("DELETE", key, None, query={"uploadId": upload})
        except StoreError:
            return


class _Body(io.BytesIO):
    """A body that is sent block by block, so that the timeout is for each block, until interrupted."""

    def __init__(self, data: bytes, path: str, interrupt: threading.Event | None) -> None:
        super().__init__(data)
        self._path, self._interrupt, self._size = path, interrupt, len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() < self._size:  # all of it is a request that the store may act upon
            check_interrupt(self._interrupt, self._path)
        return super().read(size)


def _reason(error: Exception) -> str:
    """The innermost reason in words, as the outer ones repeat addresses."""
    text = str(error)
    for known in ("Connection refused", "timed out", "Name or service not known", "CERTIFICATE_VERIFY_FAILED",
                  "Connection reset", "without response", "Network is unreachable"):
        if known in text:
            return known.removeprefix("without").strip()
    return type(error).__name__


def _refusal(answer: requests.Response, path: str | None) -> StoreError:
    code = ""
    if answer.request.method != "HEAD":
        try:
            code = text_of(parse(answer.content, path), "Code") or errors.NO_CODE
        except (TemporaryError, requests.RequestException):
            code = errors.NO_CODE
    answer.close()
    if answer.status_code == 416:
        return RangeError("The object ends before the range", path)
    wait = errors.retry_after(answer.headers.get("Retry-After"))
    return errors.from_response(answer.status_code, code, path, wait)


def _escape(key: str) -> str:
    if any(ord(character) < 32 and character not in "\t\n\r" for character in key):
        raise PermanentError("The store holds a name with control characters, which cannot be removed from here")
    return escape(key, {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})
