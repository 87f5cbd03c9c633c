"""Signatures of requests, AWS version 4, as S3 wants them (path encoded once, body hashed)."""

from __future__ import annotations

import datetime
import hashlib
import hmac
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from requests import PreparedRequest
from requests.auth import AuthBase

UNRESERVED = "-_.~"
HASH = "x-amz-content-sha256"
"""The header with the hash of the body."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys of one account; the secrets stay out of its repr."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class Signature(AuthBase):
    """Signs every request it is given to; the hash of the body stands in its header already.

    Safe for several threads.
    """

    def __init__(self, credentials: Credentials, region: str) -> None:
        self._credentials = credentials
        self._region = region

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        now = datetime.datetime.now(datetime.UTC)
        url = urlsplit(str(request.url))
        digest = str(request.headers[HASH])
        request.headers["host"] = url.netloc
        request.headers["x-amz-date"] = now.strftime("%Y%m%dT%H%M%SZ")
        if self._credentials.session_token:
            request.headers["x-amz-security-token"] = self._credentials.session_token
        signed = {name.lower(): " ".join(str(value).split()) for name, value in request.headers.items()
                  if name.lower() == "host" or name.lower().startswith("x-amz-")}
        names = ";".join(sorted(signed))
        lines = [request.method or "", url.path, "&".join(sorted(filter(None, url.query.split("&")))),
                 *(f"{name}:{signed[name]}" for name in sorted(signed)), "", names, digest]
        scope = f"{now:%Y%m%d}/{self._region}/s3/aws4_request"
        signature = self._sign(now, scope, "\n".join(lines))
        request.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._credentials.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}")
        return request

    def _sign(self, now: datetime.datetime, scope: str, request: str) -> str:
        text = "\n".join(["AWS4-HMAC-SHA256", now.strftime("%Y%m%dT%H%M%SZ"), scope,
                          hashlib.sha256(request.encode()).hexdigest()])
        key = b"AWS4" + self._credentials.secret_key.encode()
        for part in (f"{now:%Y%m%d}", self._region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


def encode_path(key: str) -> str:
    """A key as it stands in the path of a URL."""
    return quote(key, safe="/" + UNRESERVED)


def encode_query(query: dict[str, str]) -> str:
    """A query in the order and encoding that signatures want."""
    return "&".join(f"{quote(name, safe=UNRESERVED)}={quote(value, safe=UNRESERVED)}"
                    for name, value in sorted(query.items()))
