"""What a davfusion runs by: typed values, made by `davfusion.config` and handed to every process.

Imports nothing but the standard library, because every process keeps what it imports in memory. Each field carries
what its value may be, and how to put that to people, as metadata. Sizes are in bytes, times in seconds.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

Durability = Literal["power-safe", "process-safe"]
Access = Literal["none", "read", "write"]
LayoutName = Literal["plain", "chunked"]

_PATHS = ("users", "tls_cert", "tls_key", "state")


class ConfigError(Exception):
    """The settings cannot be used; the text says where, what and how to put it right."""


def _about(description: str, **limits: object) -> dict[str, object]:
    return {"description": description, **limits}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareSettings:
    """One share: a store, and how it is cached and carried."""

    name: str = field(metadata=_about("a name without / such as photos; it is the first part of the address"))
    store: str = field(metadata=_about(
        "a folder such as /srv/files, or an address such as s3://bucket/prefix?region=eu-west-1"))
    layout: LayoutName = field(default="plain", metadata=_about('"plain" or "chunked"'))
    """How the files lie in the store: each as an object of its own, or packed into archives and blocks."""
    pack_below: int = field(default=1_000_000, metadata=_about("a size up to 64M, such as 1M", ge=1, le=64 * 10**6))
    """Chunked: files smaller than this are packed into archives."""
    archive_size: int = field(default=16_000_000, metadata=_about(
        "a size from 64K to 1G, such as 16M", ge=64_000, le=10**9))
    """Chunked: about the size of an archive."""
    block_size: int = field(default=4_000_000, metadata=_about(
        "a size from 64K to 64M, such as 4M", ge=64_000, le=64 * 10**6))
    """Chunked: larger files are cut into blocks of this size."""
    compress: bool = field(default=True, metadata=_about("true or false"))
    """Chunked: deflate what it makes smaller."""
    keep_deleted: float = field(default=86_400.0, metadata=_about(
        "seconds, 0 or more, such as 86400", ge=0, allow_inf_nan=False))
    """Chunked: how long an object stays in the store after the journal has ceased to name it."""
    read_only: bool = field(default=False, metadata=_about("true or false"))
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False, metadata=_about(
        'texts, access_key_id = "...", or names of variables, access_key_id = { env = "NAME" }'))
    """In clear: never to be shown."""
    upload_delay: float = field(
        default=5.0, metadata=_about("seconds, 0 or more, such as 5", ge=0, allow_inf_nan=False))
    revalidate_after: float = field(
        default=60.0, metadata=_about("seconds, 0 or more, such as 60", ge=0, allow_inf_nan=False))
    cache_size: int = field(default=10 * 10**9, metadata=_about("a size such as 500M, 10G or 16GiB", ge=1))
    durability: Durability = field(default="power-safe", metadata=_about('"power-safe" or "process-safe"'))
    access: Access = field(default="write", metadata=_about('"none", "read" or "write"'))
    """What people who signed in may do where the users file says nothing else of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that `davfusion serve` needs to know."""

    listen: str = field(default="127.0.0.1:8080", metadata=_about(
        'an address and a port such as "127.0.0.1:8080" or "[::1]:8080"'))
    anonymous: bool = field(default=False, metadata=_about("true or false"))
    users: Path | None = field(default=None, metadata=_about(
        "a users file, made with davfusion user add --users FILE NAME"))
    trusted_proxies: tuple[str, ...] = field(default=(), metadata=_about('addresses of proxies, such as ["127.0.0.1"]'))
    """Whose X-Forwarded-For is believed."""
    tls_cert: Path | None = field(default=None, metadata=_about("a PEM file with the certificate and its chain"))
    tls_key: Path | None = field(default=None, metadata=_about("a PEM file with the key of the certificate"))
    lock_timeout: float = field(
        default=600.0, metadata=_about("seconds, 1 or more, such as 600", ge=1, allow_inf_nan=False))
    """How long a lock holds whose client names no time."""
    lock_timeout_max: float = field(
        default=3600.0, metadata=_about("seconds, 1 or more, such as 3600", ge=1, allow_inf_nan=False))
    """The longest time that a lock is granted for; clients refresh."""
    infinite_depth_limit: int = field(default=20_000, metadata=_about("a number, 0 or more, such as 20000", ge=0))
    """The most resources that one PROPFIND of infinite depth lists; 0 refuses them all."""
    any_destination_host: bool = field(default=False, metadata=_about("true or false"))
    """Behind a proxy that changes scheme or host: compare only the path of Destination and If."""
    workers: int | Literal["auto"] = field(default=1, metadata=_about('a number of processes from 1, or "auto"'))
    state: Path | None = field(default=None, metadata=_about("a folder on a local disk such as /var/lib/davfusion"))
    at_root: bool = field(default=False, metadata=_about("true or false"))
    """The only share is served at `/` instead of `/name/`."""
    share: tuple[ShareSettings, ...] = field(metadata=_about("at least one [[share]] with a name and a store"))

    @property
    def host(self) -> str:
        """The address to listen on, without brackets."""
        return split_listen(self.listen)[0]

    @property
    def port(self) -> int:
        """The port to listen on; 0 lets the system choose."""
        return split_listen(self.listen)[1]

    def worker_count(self) -> int:
        """The number of front processes; "auto" is one per core that this process may use."""
        if self.workers != "auto":
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def handover(self) -> str:
        """The settings as one line of JSON for a child process, secrets included: never log it."""
        return json.dumps(self.document())

    @classmethod
    def from_handover(cls, line: str) -> Self:
        """The settings that another process of the same davfusion wrote with `handover`, taken as they are."""
        document = json.loads(line)
        paths = {name: None if document[name] is None else Path(document[name]) for name in _PATHS}
        shares = tuple(ShareSettings(**share) for share in document["share"])
        return cls(**{**document, **paths, "share": shares, "trusted_proxies": tuple(document["trusted_proxies"])})

    def document(self) -> dict[str, Any]:
        """The settings in values that JSON has, secrets included."""
        document = dataclasses.asdict(self)
        return {**document, **{name: None if document[name] is None else str(document[name]) for name in _PATHS}}

    def require_private(self) -> None:
        """Raise ConfigError when everybody on the network could read and change the shares unasked."""
        if self.anonymous or self.users is not None or is_loopback(self.host):
            return
        raise ConfigError(
            f"Listening on {self.host} without accounts would let everybody who reaches this computer read "
            "and change the files. Listen on 127.0.0.1, give --users FILE (see davfusion user add), or give "
            "--anonymous if this is what you want.")


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of `host:port`, `[v6]:port` or a port alone. Raises ValueError."""
    host, _, port = listen.rpartition(":")
    host = host or "127.0.0.1"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("has an IPv6 address without brackets")
    if not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
        raise ValueError("has no port from 0 to 65535")
    return host, int(port)


def join_listen(host: str, port: int) -> str:
    """The reverse of `split_listen`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
