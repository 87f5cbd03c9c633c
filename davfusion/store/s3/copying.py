"""Copies inside the server, of objects of any size."""

from __future__ import annotations

from dataclasses import dataclass

from davfusion.store.s3.answers import Listed, Stored
from davfusion.store.s3.client import S3Client
from davfusion.store.s3.signing import encode_path


@dataclass(frozen=True, slots=True)
class CopySizes:
    """How large objects are copied; the defaults are the limits of S3."""

    limit: int = 5 * 1024**3
    """Bytes of the largest object that goes in one request."""
    part: int = 512 * 1024**2
    """Bytes of the parts in which a larger one goes."""


def copy_object(client: S3Client, source: Listed, destination: str, sizes: CopySizes, path: str) -> Stored:
    """Copy an object to the key `destination`, if it still has the ETag of `source`.

    Raises ConflictError when it has changed, NotFoundError when it is gone.
    """
    headers = {"x-amz-copy-source": encode_path(f"/{client.bucket}/{source.key}"),
               "x-amz-copy-source-if-match": f'"{source.etag}"'}
    if source.size <= sizes.limit:
        return client.copy(destination, headers, path)
    upload = client.begin_upload(destination, {}, path)
    try:
        etags = []
        for number, start in enumerate(range(0, source.size, sizes.part), 1):
            span = f"bytes={start}-{min(start + sizes.part, source.size) - 1}"
            part = client.copy(destination, headers | {"x-amz-copy-source-range": span}, path, part=(upload, number))
            etags.append(part.etag)
        return client.complete_upload(destination, upload, etags, {}, path)
    except BaseException:
        client.abort_upload(destination, upload)
        raise
