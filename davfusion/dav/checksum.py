"""Checksums that a client sends along with a body: Content-MD5 (RFC 1864) and OC-Checksum (ownCloud)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from typing import Protocol

from davfusion.dav.errors import HttpError
from davfusion.dav.request import Environ


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Adler32:
    def __init__(self) -> None:
        self._value = 1

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = zlib.adler32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class BodyChecksum:
    """What the body must add up to; nothing where the client sent no checksum, or one of an unknown kind."""

    def __init__(self, expected: list[tuple[_Hash, str]]) -> None:
        """`expected`: what is reckoned and what is to come out, in hexadecimal digits."""
        self._expected = expected

    @classmethod
    def from_environ(cls, environ: Environ) -> BodyChecksum:
        """The checksums of a WSGI request. Raises HttpError 400 for a malformed Content-MD5."""
        expected: list[tuple[_Hash, str]] = []
        content_md5 = environ.get("HTTP_CONTENT_MD5")
        if content_md5 is not None:
            expected.append((hashlib.md5(usedforsecurity=False), _from_base64(content_md5)))
        for part in environ.get("HTTP_OC_CHECKSUM", "").split():
            algorithm, _, digest = part.partition(":")
            hasher = _hasher(algorithm)
            if hasher is not None:
                expected.append((hasher, digest.lower()))
        return cls(expected)

    def update(self, piece: bytes | memoryview) -> None:
        """Take in the next bytes of the body."""
        for hasher, _ in self._expected:
            hasher.update(piece)

    def verify(self) -> None:
        """Raises HttpError 400 when the body is not what the client meant to send."""
        for hasher, digest in self._expected:
            if hasher.hexdigest() != digest:
                raise HttpError(400, "The body does not match its checksum")


def _hasher(algorithm: str) -> _Hash | None:
    name = algorithm.lower().replace("-", "")
    if name == "adler32":
        return _Adler32()
    if name in ("md5", "sha1"):
        return hashlib.new(name, usedforsecurity=False)
    if name in ("sha256", "sha512"):
        return hashlib.new(name)
    return None


def _from_base64(text: str) -> str:
    try:
        digest = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise HttpError(400, "Content-MD5 is malformed")
    return digest.hex()
