"""Real S3 servers as processes of their own: `rclone serve s3` and moto's server.

    with moto_s3() as server:
        server.make_bucket("bucket")
        ... server.endpoint, server.access_key, server.secret_key ...

Each runs on a free port of 127.0.0.1, has answered before the `with` body begins, and is killed at
its end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

START_TIMEOUT = 30.0
KEYS = ("TESTACCESSKEY", "TESTSECRETKEY")


@dataclass
class S3Server:
    """A running server. `process` may be killed by a test that wants it to be gone."""

    endpoint: str
    access_key: str
    secret_key: str
    process: subprocess.Popen[bytes]
    directory: Path | None = None
    """Where rclone's server keeps the buckets, as folders; None for moto."""

    @property
    def port(self) -> int:
        return int(self.endpoint.rpartition(":")[2])

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables by which clients take the credentials."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def make_bucket(self, name: str) -> str:
        self.client().create_bucket(Bucket=name)
        return name

    def client(self) -> Any:
        """An independent client: boto3's for S3."""
        return boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key, region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))

    def url(self, bucket: str, prefix: str = "", **options: str) -> str:
        """The address of a store in this server."""
        query = "&".join(f"{key}={value}" for key, value in {"endpoint": self.endpoint, **options}.items())
        return f"s3://{bucket}{'/' + prefix if prefix else ''}?{query}"


@contextlib.contextmanager
def rclone_s3(directory: Path, keys: tuple[str, str] = KEYS, port: int | None = None) -> Iterator[S3Server]:
    """rclone's S3 server over a folder. It checks signatures and ignores every condition."""
    program = find_program("rclone")
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [program, "serve", "s3", str(directory), "--addr", f"127.0.0.1:{port}",
               "--auth-key", ",".join(keys), "--config", os.devnull, "--log-level", "ERROR"]
    with running(command, port) as process:
        yield S3Server(f"http://127.0.0.1:{port}", *keys, process, directory)


@contextlib.contextmanager
def moto_s3(port: int | None = None) -> Iterator[S3Server]:
    """moto's server, in memory. It honours conditions and checks no signatures."""
    port = port or free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, port) as process:
        yield S3Server(f"http://127.0.0.1:{port}", *KEYS, process)


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process from when it listens on the port until the end of the block, when it is killed."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        await_port(port, process)
        yield process
    finally:
        process.kill()
        process.wait()


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when something listens; fail when the process ends or nothing does in time."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"{process.args!r} did not listen on port {port}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def find_program(name: str) -> str:
    """A program of the environment that runs the tests, or of the system."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; install the test dependencies")
    return found
