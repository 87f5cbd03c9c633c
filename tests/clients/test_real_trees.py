"""Real clients carry a real tree in and out; the bucket then holds the same bytes under the same names."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.serving import Served, served
from tests.clients.trees import FOLDER, assert_same, fingerprint, python_tree
from tests.servers import S3Server, find_program, rclone_s3

BUCKET = "bucket"
PREFIX = "drive"


@dataclass
class Drive:
    """A share on a bucket: the server, and the S3 server behind it."""

    server: Served
    s3: S3Server


@pytest.fixture
def workers() -> str:
    """How many processes answer the clients."""
    return "2"


@pytest.fixture
def drive(workers: str, tmp_path: Path) -> Iterator[Drive]:
    with rclone_s3(tmp_path / "s3") as s3:
        s3.make_bucket(BUCKET)
        address = s3.url(BUCKET, PREFIX, conditional="no")
        options = ("--upload-delay", "1", "--workers", workers)
        with served(address, *options, state=tmp_path / "state", environ=s3.environ) as server:
            yield Drive(server, s3)


def run(*command: str, timeout: float = 600, **options) -> str:
    done = subprocess.run(command, text=True, capture_output=True, timeout=timeout, check=False,
                          errors="replace", **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def rclone(*arguments: str) -> str:
    return run(find_program("rclone"), "--config", os.devnull, "--transfers", "8", "--checkers", "8", *arguments)


def webdav(server: Served, path: str = "") -> str:
    # rclone would pause 10 ms between requests by itself
    return f":webdav,url='{server.url}',pacer_min_sleep=0.1ms:{path}"


def assert_bucket_holds(drive: Drive, folder: str, expected: dict[str, str], scratch: Path) -> None:
    """Read the bucket with rclone's S3 client, which shares nothing with davfusion, and from the server's disk."""
    remote = (f":s3,provider=Other,endpoint='{drive.s3.endpoint}',access_key_id={drive.s3.access_key},"
              f"secret_access_key={drive.s3.secret_key}:{BUCKET}/{PREFIX}/{folder}")
    rclone("copy", remote, str(scratch))
    files = {name: digest for name, digest in expected.items() if digest != FOLDER}
    assert_same(files, fingerprint(scratch, folders=False))
    assert drive.s3.directory is not None
    assert_same(files, fingerprint(drive.s3.directory / BUCKET / PREFIX / folder, folders=False))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_rclone_carries_a_tree(drive: Drive, tmp_path: Path) -> None:
    tree = python_tree(tmp_path / "tree")
    expected = fingerprint(tree)
    rclone("copy", str(tree), webdav(drive.server, "lib"), "--create-empty-src-dirs")
    rclone("check", str(tree), webdav(drive.server, "lib"), "--download")
    rclone("copy", webdav(drive.server, "lib"), str(tmp_path / "back"), "--create-empty-src-dirs")
    assert_same(expected, fingerprint(tmp_path / "back"))
    drive.server.sync(150)
    assert_bucket_holds(drive, "lib", expected, tmp_path / "bucket")


@contextlib.contextmanager
def davfs_mount(url: str) -> Iterator[Path]:
    """A kernel mount with a new cache. The daemon runs as user davfs2, which must reach it."""
    account = pwd.getpwnam("davfs2")
    environ = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        cache, point, secrets, conf = (folder / part for part in ("cache", "mount", "secrets", "conf"))
        cache.mkdir()
        point.mkdir()
        os.chown(cache, 0, account.pw_gid)
        cache.chmod(0o775)
        secrets.touch(mode=0o600)
        conf.write_text(f"ask_auth 0\nuse_locks 1\ncache_dir {cache}\ndelay_upload 0\ngui_optimize 0\n"
                        f"buf_size 128\nsecrets {secrets}\n")
        run("mount.davfs", url, str(point), "-o", f"conf={conf},uid=0,gid=0", stdin=subprocess.DEVNULL,
            env=environ)
        try:
            yield point
        finally:
            run("umount.davfs", str(point), env=environ)


@pytest.mark.program("mount.davfs", "rsync", "/dev/fuse", "root")
def test_a_kernel_mount_carries_a_tree(drive: Drive, tmp_path: Path) -> None:
    tree = python_tree(tmp_path / "tree")
    expected = fingerprint(tree)
    with davfs_mount(drive.server.url) as mount:
        run("rsync", "--recursive", "--inplace", "--whole-file", f"{tree}/", f"{mount}/lib/")
    with davfs_mount(drive.server.url) as mount:
        # a second mount has an empty cache of its own: what it shows comes from the server
        run("rsync", "--recursive", "--exclude", "lost+found", f"{mount}/lib/", f"{tmp_path}/back/")
    assert_same(expected, fingerprint(tmp_path / "back"))
    drive.server.sync(150)
    assert_bucket_holds(drive, "lib", expected, tmp_path / "bucket")


def cadaver(url: str, commands: list[str], folder: Path) -> str:
    return run("cadaver", url, input="\n".join([*commands, "quit", ""]), cwd=folder,
               env={**os.environ, "HOME": str(folder), "LC_ALL": "C.UTF-8"})


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.mark.program("cadaver")
def test_a_cadaver_session_carries_a_tree(drive: Drive, tmp_path: Path) -> None:
    tree = python_tree(tmp_path / "tree")
    expected = fingerprint(tree)
    folders = sorted(name for name, digest in expected.items() if digest == FOLDER)
    files = sorted(name for name, digest in expected.items() if digest != FOLDER)
    upload = ["mkcol lib", *(f"mkcol {_quoted('lib/' + name)}" for name in folders),
              *(f"put {_quoted(str(tree / name))} {_quoted('lib/' + name)}" for name in files)]
    output = cadaver(drive.server.url, upload, tmp_path)
    assert output.count("succeeded.") == len(upload), [line for line in output.splitlines() if "failed" in line][:10]
    back = tmp_path / "back"
    for name in ["", *folders]:
        (back / name).mkdir()
    download = [f"get {_quoted('lib/' + name)} {_quoted(str(back / name))}" for name in files]
    output = cadaver(drive.server.url, download, tmp_path)
    assert output.count("succeeded.") == len(download)
    assert_same(expected, fingerprint(back))
    drive.server.sync(150)
    assert_bucket_holds(drive, "lib", expected, tmp_path / "bucket")


def test_what_another_tool_puts_into_the_bucket_is_on_the_drive(tmp_path: Path) -> None:
    tree = python_tree(tmp_path / "tree", part="json")
    with rclone_s3(tmp_path / "s3") as s3:
        s3.make_bucket(BUCKET)
        shutil.copytree(tree, tmp_path / "s3" / BUCKET / PREFIX / "json")
        address = s3.url(BUCKET, PREFIX, conditional="no")
        with served(address, state=tmp_path / "state", environ=s3.environ) as server:
            rclone("copy", webdav(server, "json"), str(tmp_path / "back"))
    assert_same(fingerprint(tree), fingerprint(tmp_path / "back"))
