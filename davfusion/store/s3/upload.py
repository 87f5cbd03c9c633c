"""Uploads by parts: large objects with little memory, under a condition, interruptible."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from davfusion.store.errors import TemporaryError
from davfusion.store.s3.client import S3Client
from davfusion.store.transfer import check_interrupt

PART = 8 * 1024 * 1024
"""Bytes of a part, as long as there are no more than MAX_PARTS."""

MAX_PARTS = 10_000
IN_FLIGHT = 2
"""Parts that travel at one time; memory for one more is needed."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What was published: the ETag that the server told, and the MD5 of the bytes in hexadecimal."""

    etag: str
    md5: str


def upload_parts(
    client: S3Client, fileobject: BinaryIO, size: int, key: str, path: str, *, condition: dict[str, str],
    headers: dict[str, str], check: Callable[[], None], interrupt: threading.Event | None,
) -> Uploaded:
    """Send `size` bytes from where the file object stands and publish them under `condition` (headers).

    `check` is called just before publishing and may raise.
    Nothing is published when it raises, except after a TemporaryError, when it is unknown.
    """
    upload = client.begin_upload(key, headers, path)
    digest = hashlib.md5(usedforsecurity=False)
    try:
        parts = _parts(fileobject, size, path, digest.update)
        etags = _send(client, parts, key, upload, path, interrupt)
        check_interrupt(interrupt, path)
        check()
        etag = client.complete_upload(key, upload, etags, condition, path).etag
        return Uploaded(etag, digest.hexdigest())
    except BaseException:
        client.abort_upload(key, upload)
        raise


def _send(client: S3Client, parts: Iterator[bytes], key: str, upload: str, path: str,
          interrupt: threading.Event | None) -> list[str]:
    etags: list[str] = []
    flying: deque[Future[str]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="upload") as pool:
        try:
            for number, part in enumerate(parts, 1):
                check_interrupt(interrupt, path)
                flying.append(pool.submit(client.upload_part, key, upload, number, part, path,
                                          interrupt))
                if len(flying) == IN_FLIGHT:
                    etags.append(flying.popleft().result())
            etags.extend(future.result() for future in flying)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return etags


def _parts(fileobject: BinaryIO, size: int, path: str, seen: Callable[[bytes], None]) -> Iterator[bytes]:
    length = max(PART, -(-size // MAX_PARTS))
    for start in range(0, size, length):
        wanted = min(length, size - start)
        part = fileobject.read(wanted)
        if len(part) != wanted:
            raise TemporaryError("The content ended early while it was sent", path)
        seen(part)
        yield part
