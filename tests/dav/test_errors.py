"""The table from errors to statuses: "could not ask" never looks like "not there"."""

from __future__ import annotations

import pytest

from davfusion.cache import errors as tree
from davfusion.dav.body import BrokenBodyError, announced_length, read_all, stream_into
from davfusion.dav.checksum import BodyChecksum
from davfusion.dav.dates import http_date, iso_date, parse_http_date
from davfusion.dav.errors import HttpError, http_error
from davfusion.store import errors as store


def slow() -> store.TemporaryError:
    error = store.TemporaryError("slow", "/a")
    error.__cause__ = TimeoutError()
    return error


@pytest.mark.parametrize(("error", "status", "retry_after"), [
    (store.TemporaryError("away", "/a"), 503, "5"),
    (store.TemporaryError("away", "/a", 30.2), 503, "30"),
    (store.RateLimitedError("slow down", "/a", 0.2), 503, "1"),
    (slow(), 504, "5"),
    (TimeoutError(), 504, "5"),
    (store.ConflictError("changed", "/a"), 503, "5"),
    (store.TransferInterruptedError("stopped", "/a"), 503, "5"),
    (store.SignInNeededError("sign in", "/a"), 502, None),
    (store.PermanentError("refused", "/a"), 502, None),
    (store.StoreError("odd", "/a"), 502, None),
    (store.PermissionDeniedError("no", "/a"), 403, None),
    (store.OutOfSpaceError("full", "/a"), 507, None),
    (store.TooLargeError("large", "/a"), 413, None),
    (store.InvalidPathError("name", "/a"), 400, None),
    (store.NotFoundError("gone", "/a"), 404, None),
    (tree.NoSuchNodeError("gone", "/a"), 404, None),
    (tree.NoParentError("no folder", "/a"), 409, None),
    (tree.WrongKindError("folder", "/a"), 409, None),
    (tree.IntoItselfError("itself", "/a"), 403, None),
    (tree.CacheFullError("full", "/a"), 507, None),
    (tree.LengthMismatchError("short", "/a"), 400, None),
    (tree.LockConflictError("locked", "/a", []), 423, None),
    (ZeroDivisionError("secret"), 500, None),
])
def test_status_of_errors(error: Exception, status: int, retry_after: str | None) -> None:
    failure = http_error(error)
    assert failure.status == status
    assert dict(failure.headers).get("Retry-After") == retry_after
    assert "secret" not in failure.message and failure.message


def test_every_store_error_has_a_status_of_its_own_kind() -> None:
    for kind in vars(store).values():
        if isinstance(kind, type) and issubclass(kind, store.StoreError) and kind is not store.NotFoundError:
            assert http_error(kind("x")).status not in (404, 405, 500)


class Cut:
    """A body that ends early, as the servers tell it: by no more bytes, or by an error."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self.pieces = list(pieces)
        self.error = error

    def read(self, size: int) -> bytes:
        if self.pieces:
            return self.pieces.pop(0)[:size]
        if self.error is not None:
            raise self.error
        return b""


class Oddity(Exception):
    """cheroot's MaxSizeExceeded is such a one."""


@pytest.mark.parametrize(("stream", "headers"), [
    (Cut(b"abc"), {"CONTENT_LENGTH": "5"}),
    (Cut(), {"CONTENT_LENGTH": "1"}),
    (Cut(b"abc", error=ConnectionResetError()), {"CONTENT_LENGTH": "5"}),
    (Cut(b"abc", error=ValueError("Bad chunked transfer size")), {"HTTP_TRANSFER_ENCODING": "chunked"}),
    (Cut(b"abc", error=Oddity()), {"HTTP_TRANSFER_ENCODING": "Chunked"}),
])
def test_bodies_that_end_early_are_broken(stream: Cut, headers: dict[str, str]) -> None:
    environ = {"wsgi.input": stream, **headers}
    with pytest.raises(BrokenBodyError) as raised:
        stream_into(environ, announced_length(environ), lambda piece: None)
    assert raised.value.status == 400 and raised.value.close


@pytest.mark.parametrize("length", ["-1", "+1", "1_0", "0x1", " 1", "1.0", "٣"])
def test_content_length_is_digits_only(length: str) -> None:
    with pytest.raises(HttpError) as raised:
        announced_length({"CONTENT_LENGTH": length})
    assert raised.value.status == 400


@pytest.mark.parametrize("headers", [{"CONTENT_LENGTH": "11"}, {"HTTP_TRANSFER_ENCODING": "chunked"}])
def test_bodies_over_the_limit_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(HttpError) as raised:
        read_all({"wsgi.input": Cut(b"12345", b"67890", b"1"), **headers}, 10)
    assert raised.value.status == 413


@pytest.mark.parametrize(("headers", "right"), [
    ({"HTTP_OC_CHECKSUM": "MD5:900150983cd24fb0d6963f7d28e17f72"}, True),
    ({"HTTP_OC_CHECKSUM": "SHA1:A9993E364706816ABA3E25717850C26C9CD0D89D"}, True),
    ({"HTTP_OC_CHECKSUM": "Adler32:024d0127"}, True),
    ({"HTTP_OC_CHECKSUM": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}, True),
    ({"HTTP_OC_CHECKSUM": "FUTURE:00"}, True),
    ({"HTTP_OC_CHECKSUM": "MD5:00"}, False),
    ({"HTTP_CONTENT_MD5": "kAFQmDzST7DWlj99KOF/cg=="}, True),
    ({"HTTP_CONTENT_MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, False),
    ({}, True),
])
def test_checksums_of_a_body(headers: dict[str, str], right: bool) -> None:
    checksum = BodyChecksum.from_environ(headers)
    checksum.update(memoryview(b"a"))
    checksum.update(memoryview(b"bc"))
    if right:
        checksum.verify()
        return
    with pytest.raises(HttpError) as raised:
        checksum.verify()
    assert raised.value.status == 400


def test_a_malformed_content_md5_is_refused() -> None:
    with pytest.raises(HttpError):
        BodyChecksum.from_environ({"HTTP_CONTENT_MD5": "no base64"})


@pytest.mark.parametrize("text", [
    "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_the_three_forms_of_dates(text: str) -> None:
    assert parse_http_date(text) == 784111777


@pytest.mark.parametrize("text", ["", "x", "1994", "Sun, 99 Nov 1994 08:49:37 GMT", "0", "\xff"])
def test_what_is_no_date(text: str) -> None:
    assert parse_http_date(text) is None


@pytest.mark.parametrize("seconds", [0, 784111777, -1.5, 253402300799, 1e18, -1e18])
def test_dates_can_always_be_written(seconds: float) -> None:
    assert http_date(seconds).endswith(" GMT")
    assert iso_date(seconds).endswith("Z")
