"""Addresses of stores and what is wrong with them."""

import io
import subprocess
import sys

import pytest

from davfusion.store.address import AddressError, open_store
from davfusion.store.errors import SignInNeededError, TemporaryError
from davfusion.store.local import LocalStore
from davfusion.store.memory import MemoryStore

ENVIRON = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hidden-secret", "AWS_REGION": "eu-central-1"}


def test_paths_and_file_urls_are_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a b%#?ü"
    folder.mkdir()
    (folder / "f").write_bytes(b"x")
    for address in (str(folder), "./a b%#?ü", "a b%#?ü", f"file://{tmp_path}/a%20b%25%23%3F%C3%BC",
                    f"file://localhost{tmp_path}/a%20b%25%23%3F%C3%BC"):
        store = open_store(address, environ={})
        assert isinstance(store, LocalStore)
        assert store.get_directory_listing("/") == ["/f"]


def test_a_folder_that_is_not_there_can_be_opened_but_not_used(tmp_path):
    store = open_store(str(tmp_path / "none"), environ={})
    with pytest.raises(TemporaryError, match="is the disk mounted"):
        store.get_directory_listing("/")


def test_memory():
    store = open_store("memory://", environ={})
    assert isinstance(store, MemoryStore)
    store.store_fileobject(io.BytesIO(b"x"), "/f")
    assert open_store("memory://", environ={}).get_directory_listing("/") == []


def test_s3_with_everything_from_the_environment():
    told = open_store("s3://bucket", environ=ENVIRON).get_configuration()
    assert told == {"endpoint": "https://s3.eu-central-1.amazonaws.com", "region": "eu-central-1",
                    "bucket": "bucket", "prefix": "", "conditional": "yes"}


def test_s3_with_options():
    store = open_store("s3://bucket/pre%20fix/deep/?endpoint=http://127.0.0.1:9&region=x&conditional=no",
                       environ=ENVIRON)
    assert store.get_configuration() == {
        "endpoint": "http://127.0.0.1:9", "region": "x", "bucket": "bucket", "prefix": "pre fix/deep",
        "conditional": "no"}
    assert not store.capabilities.conditional_write
    assert "hidden-secret" not in store.account_info()


def test_credentials_may_be_given_and_are_needed():
    given = {"access_key_id": "given", "secret_access_key": "also"}
    assert "give…" in open_store("s3://b", credentials=given, environ=ENVIRON).account_info()
    with pytest.raises(SignInNeededError, match="AWS_ACCESS_KEY_ID"):
        open_store("s3://b", environ={})
    with pytest.raises(SignInNeededError, match="AWS_SECRET_ACCESS_KEY"):
        open_store("s3://b", environ={"AWS_ACCESS_KEY_ID": "id"})


@pytest.mark.parametrize(("address", "remedy"), [
    ("", "folder"), ("gopher://x", "s3://bucket"), ("s3://", "s3://bucket"), ("s3:///prefix", "s3://bucket"),
    ("file://", "file:///path"), ("file://host/path", "file:///host/path"), ("memory://name", "memory://"),
    ("file:///a?b", "%3F"), ("file:///a#b", "%23"), ("s3://b#x", "%23"),
    ("s3://id:secret@bucket", "environment"), ("s3://id@bucket", "environment"),
    ("s3://b?endpont=http://x", "endpoint, region, conditional"), ("s3://b?conditional=maybe", "yes or no"),
    ("s3://b?endpoint=localhost:9000", "https://host"), ("s3://b?endpoint=http://u:secret@h", "environment"),
    ("s3://b?region=a&region=b", "twice"), ("s3://[b", "cannot be read"),
])
def test_what_is_wrong_is_told_with_the_remedy(address, remedy):
    with pytest.raises(AddressError) as caught:
        open_store(address, environ=ENVIRON)
    assert remedy in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_folder_opens_without_the_libraries_of_s3():
    code = ("import sys; from davfusion.store.address import open_store; open_store('.', environ={}); "
            "sys.exit(any(name in sys.modules for name in ('requests', 'lxml', 'urllib3')))")
    subprocess.run([sys.executable, "-c", code], check=True)
