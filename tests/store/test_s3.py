"""What only an S3Store does: keys as an independent client sees them, markers, parts, servers that fail."""

import io
import itertools
import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from davfusion.store.errors import (
    AlreadyExistsError,
    InvalidPathError,
    NotFoundError,
    OutOfSpaceError,
    PermanentError,
    PermissionDeniedError,
    RateLimitedError,
    SignInNeededError,
    StoreError,
    TemporaryError,
    TooLargeError,
    TransferInterruptedError,
)
from davfusion.store.interface import IfAbsent, IfVersion
from davfusion.store.s3 import S3Store
from davfusion.store.s3.copying import CopySizes
from davfusion.store.s3.keys import MARKER
from davfusion.store.s3.signing import Credentials
from tests.proxy import tcp_proxy
from tests.servers import free_port
from tests.store.scripted import Answer, scripted_server
from tests.store.test_contract_tree import NAMES

KEYS = Credentials("TESTACCESSKEY", "TESTSECRETKEY")
NUMBERS = itertools.count()
LARGE = bytes(range(256)) * 4096 * 20


@pytest.fixture
def bucket(moto):
    return moto.make_bucket(f"own-{next(NUMBERS)}")


@pytest.fixture
def raw(moto):
    return moto.client()


@pytest.fixture
def store(moto, bucket):
    store = S3Store(bucket, KEYS, endpoint=moto.endpoint)
    yield store
    store.close()


def keys_in(raw, bucket):
    pages = raw.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {found["Key"] for page in pages for found in page.get("Contents", [])}


@pytest.mark.parametrize("server", ["moto", "rclone"])
@pytest.mark.parametrize("prefix", ["", "deep/er prefix %25/ü"])
def test_keys_are_exactly_the_names(request, server, prefix):
    server = request.getfixturevalue(server)
    bucket = server.make_bucket(f"names-{next(NUMBERS)}")
    store = S3Store(bucket, KEYS, endpoint=server.endpoint, prefix=prefix)
    for number, name in enumerate(NAMES):
        store.store_fileobject(io.BytesIO(b"%d" % number), f"/{name}")
    begin = f"{prefix}/" if prefix else ""
    assert keys_in(server.client(), bucket) == {begin + name for name in NAMES}
    for number, name in enumerate(NAMES):
        body = server.client().get_object(Bucket=bucket, Key=begin + name)["Body"].read()
        assert body == b"%d" % number
    store.close()


def test_control_characters_are_refused_and_foreign_keys_left_out(store, raw, bucket, caplog):
    for name in ("a\nb", "Icon\r", "\x01", "a\x7f", "tab\t"):
        with pytest.raises(InvalidPathError):
            store.store_fileobject(io.BytesIO(b"x"), f"/{name}")
        assert not store.exists(f"/{name}")
        store.delete(f"/{name}", is_dir=False)
    for key in ("/abs", "a//b", "d/Icon\r", "d/../x", "d/./y", "good", "d/good", "odd//"):
        raw.put_object(Bucket=bucket, Key=key, Body=b"x")
    with caplog.at_level(logging.WARNING, logger="davfusion.store.s3"):
        assert set(store.get_directory_listing("/")) == {"/good", "/d", "/a", "/odd"}
        assert store.get_directory_listing("/d") == ["/d/good"]
        assert {entry.path for page in store.list_pages("/", recursive=True) for entry in page} == {
            "/good", "/d", "/d/good"}
    assert "key left out" in caplog.text
    with pytest.raises(PermanentError):
        store.move("/d", "/e")
    assert "d/../x" in keys_in(raw, bucket)


def test_a_move_takes_keys_along_that_are_no_paths(store, raw, bucket):
    for key in ("d/a//b", "d/Icon\r", "d/good"):
        raw.put_object(Bucket=bucket, Key=key, Body=key.encode())
    store.move("/d", "/e")
    assert keys_in(raw, bucket) == {"e/a//b", "e/Icon\r", "e/good"}
    assert raw.get_object(Bucket=bucket, Key="e/a//b")["Body"].read() == b"d/a//b"
    store.delete("/e", is_dir=True)
    assert keys_in(raw, bucket) == set()


def test_folders_of_other_tools_are_folders_and_go_with_a_delete(store, raw, bucket):
    for key in ("only/", "full/", "full/x", "deep/er/"):
        raw.put_object(Bucket=bucket, Key=key, Body=b"")
    assert set(store.get_directory_listing("/")) == {"/only", "/full", "/deep"}
    assert store.get_directory_listing("/full") == ["/full/x"]
    assert store.get_directory_listing("/only") == []
    assert store.is_dir("/only")
    store.delete_empty_directory("/only")
    store.delete("/full", is_dir=True)
    store.move("/deep", "/moved")
    assert keys_in(raw, bucket) == {f"moved/er/{MARKER}"}
    assert store.is_dir("/moved/er")


def test_nothing_keeps_a_folder_whoever_put_its_markers_and_whatever_is_in_it(store, raw, bucket):
    members = {f"d/{name}" for name in ("!", "#1", "-a", "file", "sub/")}
    for key in {"d/", *members}:
        raw.put_object(Bucket=bucket, Key=key, Body=b"")
    store.keep_directory("/d")
    store.unkeep_directory("/d")
    assert keys_in(raw, bucket) == members


def test_a_marker_keeps_a_folder_and_is_never_seen(store, raw, bucket):
    store.create_directory("/d")
    assert keys_in(raw, bucket) == {f"d/{MARKER}"}
    assert store.get_directory_listing("/d") == []
    assert list(store.list_pages("/d", recursive=True)) == []
    with pytest.raises(NotFoundError):
        store.get_file(f"/d/{MARKER}")
    with pytest.raises(InvalidPathError):
        store.store_fileobject(io.BytesIO(b""), f"/d/{MARKER}")
    store.delete(f"/d/{MARKER}", is_dir=False)
    assert store.is_dir("/d")


def test_a_file_hides_a_folder_of_its_name(store, raw, bucket, caplog):
    for key in ("a", "a-b", "a/x", "a/y/z", "b/x"):
        raw.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert sorted(store.get_directory_listing("/")) == ["/a", "/a-b", "/b"]
    found = {entry.path: entry.is_dir for page in store.list_pages("/", recursive=True) for entry in page}
    assert found == {"/a": False, "/a-b": False, "/b": True, "/b/x": False}
    assert not store.get_metadata("/a").is_dir


def test_a_long_listing_is_one_request_per_page(store, raw, bucket, caplog):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.store_fileobject(io.BytesIO(b"x"), f"/d/{number}"), range(1010)))
    with caplog.at_level(logging.DEBUG, logger="urllib3.connectionpool"):
        assert len(store.get_bulk_metadata("/d")) == 1010
    requests = [record.getMessage() for record in caplog.records if "HTTP/1.1" in record.getMessage()]
    assert len(requests) == 2
    assert all("list-type=2" in request for request in requests)


def test_a_save_is_one_request(store, caplog):
    with caplog.at_level(logging.DEBUG, logger="urllib3.connectionpool"):
        stored = store.store_fileobject(io.BytesIO(b"x"), "/f", condition=IfAbsent())
        store.store_fileobject(io.BytesIO(b"y"), "/f", condition=IfVersion(stored.version))
    requests = [record.getMessage() for record in caplog.records if "HTTP/1.1" in record.getMessage()]
    assert len(requests) == 2


def test_no_parts_stay_behind(store, raw, bucket):
    interrupt = threading.Event()

    class Interrupting(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > len(LARGE) // 2:
                interrupt.set()
            return super().read(size)

    with pytest.raises(TransferInterruptedError):
        store.store_fileobject(Interrupting(LARGE), "/f", interrupt=interrupt)
    store.store_fileobject(io.BytesIO(b"small"), "/f")
    with pytest.raises(AlreadyExistsError):
        store.store_fileobject(io.BytesIO(LARGE), "/f", condition=IfAbsent())
    assert raw.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert store.get_file("/f") == b"small"


def test_the_time_travels_as_metadata_that_rclone_reads(store, raw, bucket):
    store.store_fileobject(io.BytesIO(b"x"), "/small", modified=1234567890.25)
    store.store_fileobject(io.BytesIO(LARGE), "/large", modified=1234567890.25)
    for key in ("small", "large"):
        assert float(raw.head_object(Bucket=bucket, Key=key)["Metadata"]["mtime"]) == 1234567890.25


def test_what_is_too_large_for_one_copy_goes_by_parts(moto, bucket, raw):
    store = S3Store(bucket, KEYS, endpoint=moto.endpoint, copy_sizes=CopySizes(6 * 2**20, 5 * 2**20))
    store.store_fileobject(io.BytesIO(LARGE), "/f")
    made = store.duplicate("/f", "/g")
    assert store.get_file("/g") == LARGE
    assert store.get_metadata("/g").version == made.version
    assert raw.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


OPERATIONS = {
    "metadata": lambda store: store.get_metadata("/x"),
    "root": lambda store: store.get_metadata("/"),
    "read": lambda store: store.get_file("/x"),
    "empty range": lambda store: store.get_range("/x", 0, 0),
    "list": lambda store: store.get_directory_listing("/"),
    "put": lambda store: store.store_fileobject(io.BytesIO(b"x"), "/x"),
    "put if absent": lambda store: store.store_fileobject(io.BytesIO(b"x"), "/x", condition=IfAbsent()),
    "put if version": lambda store: store.store_fileobject(io.BytesIO(b"x"), "/x", condition=IfVersion("v")),
    "put parts": lambda store: store.store_fileobject(io.BytesIO(LARGE), "/x"),
    "folder": lambda store: store.create_directory("/x"),
    "delete": lambda store: store.delete("/x", is_dir=False),
    "delete version": lambda store: store.delete("/x", is_dir=False, if_version="v"),
    "delete folder": lambda store: store.delete("/x", is_dir=True),
    "delete empty": lambda store: store.delete_empty_directory("/x"),
    "copy": lambda store: store.duplicate("/x", "/y"),
    "move": lambda store: store.move("/x", "/y"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("server", ["moto", "rclone"])
def test_a_missing_bucket_is_not_a_missing_file(request, server, operation):
    server = request.getfixturevalue(server)
    store = S3Store("no-such-bucket", KEYS, endpoint=server.endpoint)
    with pytest.raises(TemporaryError, match="bucket does not exist") as caught:
        OPERATIONS[operation](store)
    assert caught.value.path is None
    store.close()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_wrong_keys_ask_for_a_sign_in(rclone, operation):
    for keys in (Credentials("TESTACCESSKEY", "WRONG"), Credentials("NOSUCHKEY", "TESTSECRETKEY")):
        store = S3Store("bucket", keys, endpoint=rclone.endpoint)
        with pytest.raises((SignInNeededError, PermissionDeniedError)) as caught:
            OPERATIONS[operation](store)
        assert operation == "delete version" or isinstance(caught.value, SignInNeededError)
        store.close()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_is_away_is_a_temporary_error_at_once(operation):
    store = S3Store("bucket", KEYS, endpoint=f"http://127.0.0.1:{free_port()}")
    begin = time.monotonic()
    with pytest.raises(TemporaryError, match="refused"):
        OPERATIONS[operation](store)
    assert time.monotonic() - begin < 2
    store.close()


def test_a_server_that_goes_and_comes_back(moto):
    with tcp_proxy(moto.port, latency=0.01) as proxy:
        store = S3Store("bucket", KEYS, endpoint=proxy.endpoint, prefix="away")
        store.store_fileobject(io.BytesIO(LARGE), "/f")
        stream = store.read("/f")
        next(stream)
        proxy.down()
        with pytest.raises(TemporaryError):
            list(stream)
        with pytest.raises(TemporaryError):
            store.store_fileobject(io.BytesIO(b"x"), "/f")
        proxy.up()
        assert store.get_file("/f") == LARGE
        store.close()


def error_body(code):
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode()


@pytest.mark.parametrize(("status", "code", "error"), [
    (400, "ExpiredToken", SignInNeededError), (400, "RequestTimeout", TemporaryError),
    (400, "EntityTooLarge", TooLargeError), (400, "KeyTooLongError", InvalidPathError),
    (401, "Unauthorized", SignInNeededError), (403, "AccessDenied", PermissionDeniedError),
    (403, "InvalidAccessKeyId", SignInNeededError), (403, "RequestTimeTooSkewed", TemporaryError),
    (403, "QuotaExceeded", OutOfSpaceError), (405, "MethodNotAllowed", PermanentError),
    (409, "OperationAborted", TemporaryError), (409, "ConditionalRequestConflict", TemporaryError),
    (413, "TooLarge", TooLargeError), (429, "TooManyRequests", RateLimitedError),
    (500, "InternalError", TemporaryError), (501, "NotImplemented", PermanentError),
    (502, "", TemporaryError), (503, "SlowDown", RateLimitedError), (504, "", TemporaryError),
    (507, "InsufficientStorage", OutOfSpaceError), (301, "PermanentRedirect", PermanentError),
    (307, "TemporaryRedirect", PermanentError),
])
def test_refusals_have_types(status, code, error):
    with scripted_server() as server:
        store = S3Store("bucket", KEYS, endpoint=server.endpoint)
        server.answer(Answer(status, error_body(code), {"Retry-After": "7"}))
        for name in ("list", "read", "put", "put if absent", "put parts", "delete", "delete folder"):
            with pytest.raises(error) as caught:
                OPERATIONS[name](store)
            assert type(caught.value) is error
            if error is RateLimitedError:
                assert caught.value.retry_after == 7
        store.close()


def test_answers_that_are_not_from_s3_are_no_absence():
    with scripted_server() as server:
        store = S3Store("bucket", KEYS, endpoint=server.endpoint)
        for answer in (Answer(404, b"<html><body>no</body></html>"), Answer(404, b""), Answer(200, b"<html/>"),
                       Answer(200, b"not xml"), Answer(200, b"")):
            server.answer(answer)
            for name in ("metadata", "root", "list", "delete folder", "delete empty", "put", "put parts"):
                with pytest.raises(TemporaryError):
                    OPERATIONS[name](store)
        server.answer(Answer(404, b"<html><body>no</body></html>"))
        for name in OPERATIONS:
            with pytest.raises(TemporaryError):
                OPERATIONS[name](store)
        store.close()


def test_a_cut_stream_never_just_stops():
    with scripted_server() as server:
        store = S3Store("bucket", KEYS, endpoint=server.endpoint)
        server.answer(Answer(200, bytes(100_000), {"ETag": '"v"'}, cut=50_000))
        received = 0
        with pytest.raises(TemporaryError):
            for piece in store.read("/x"):
                received += len(piece)
        assert received <= 50_000
        store.close()


def test_a_stream_without_a_length_is_whole_or_an_error():
    body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    chunked = {"ETag": '"v"', "Transfer-Encoding": "chunked"}
    with scripted_server() as server:
        store = S3Store("bucket", KEYS, endpoint=server.endpoint)
        server.answer(Answer(200, body, chunked))
        assert store.get_file("/x") == b"hello world"
        for cut in (0, 4, 8, 14, len(body) - 5):
            server.answer(Answer(200, body, chunked, cut=cut))
            with pytest.raises(TemporaryError):
                store.get_file("/x")
        server.answer(Answer(200, b"hello", {"ETag": '"v"', "Connection": "close"}, cut=3, length=False))
        with pytest.raises(TemporaryError):
            store.get_file("/x")
        store.close()


def test_a_range_that_the_server_ignores_is_an_error():
    with scripted_server() as server:
        store = S3Store("bucket", KEYS, endpoint=server.endpoint)
        server.answer(Answer(200, b"the whole", {"ETag": '"v"'}))
        with pytest.raises(TemporaryError):
            store.get_range("/x", 2, 4)
        store.close()


def test_an_error_inside_a_success_is_an_error():
    started = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    part = Answer(200, b"", {"ETag": '"p"'})
    with scripted_server() as server:
        store = S3Store("bucket", KEYS, endpoint=server.endpoint)
        server.answer(Answer(200, started), part, part, part, Answer(200, error_body("InternalError")), Answer(204))
        with pytest.raises(TemporaryError):
            store.store_fileobject(io.BytesIO(LARGE), "/x")
        assert server.requests[-1].startswith("DELETE /bucket/x?uploadId=u")
        store.close()


def test_a_listing_that_is_cut_off_is_an_error():
    entry = (b"<Contents><Key>a</Key><Size>1</Size><ETag>e</ETag>"
             b"<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>")
    page = b"<ListBucketResult><IsTruncated>true</IsTruncated>%s%s</ListBucketResult>"
    with scripted_server() as server:
        store = S3Store("bucket", KEYS, endpoint=server.endpoint)
        server.answer(Answer(200, page % (b"", entry)))
        with pytest.raises(TemporaryError):
            store.get_directory_listing("/")
        token = b"<NextContinuationToken>t</NextContinuationToken>"
        server.answer(Answer(200, page % (token, entry)), Answer(503, error_body("SlowDown")))
        with pytest.raises(RateLimitedError):
            store.get_directory_listing("/")
        store.close()


GROWTH = """
import io, resource, sys
from davfusion.store.address import open_store
from davfusion.store.interface import IfAbsent

class Zeros(io.RawIOBase):
    def __init__(self, size): self.size, self.position = size, 0
    def seek(self, offset, whence=0):
        self.position = (0, self.position, self.size)[whence] + offset
        return self.position
    def read(self, size=-1):
        size = min(self.size - self.position, self.size if size < 0 else size)
        self.position += size
        return bytes(size)

size, address = int(sys.argv[1]), sys.argv[2]
store = open_store(address, environ={"AWS_ACCESS_KEY_ID": "TESTACCESSKEY", "AWS_SECRET_ACCESS_KEY": "TESTSECRETKEY"})
store.store_fileobject(io.BytesIO(b"warm"), "/warm"); store.get_file("/warm")
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.store_fileobject(Zeros(size), "/big", condition=IfAbsent())
assert sum(map(len, store.read("/big"))) == size
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024)
"""


@pytest.mark.parametrize("mebibytes", [128, pytest.param(4096, marks=pytest.mark.slow)])
def test_large_files_need_little_memory(rclone, mebibytes):
    result = subprocess.run(
        [sys.executable, "-c", GROWTH, str(mebibytes * 2**20), rclone.url("bucket", f"m{mebibytes}", conditional="no")],
        check=True, capture_output=True, text=True, timeout=280)
    assert int(result.stdout) < 64


def test_errors_hold_no_secret():
    with scripted_server() as server:
        store = S3Store("bucket", KEYS, endpoint=server.endpoint)
        server.answer(Answer(500, b"TESTSECRETKEY"))
        with pytest.raises(StoreError) as caught:
            store.get_file("/x")
        assert "TESTSECRETKEY" not in str(caught.value) + repr(caught.value) + repr(KEYS)
        store.close()
