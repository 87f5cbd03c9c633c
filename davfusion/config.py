"""Settings of a davfusion: from a TOML file, from the command line, or handed over by a supervisor.

Every error is a ConfigError whose text names the file, the key, the value and what to write instead.
Values are immutable. Sizes are in bytes, times in seconds.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    SerializationInfo,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGTP]?)(I?)B?\s*", re.IGNORECASE)
_SHARE_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,100}")
_SIZE_REMEDY = "a size such as 500M, 10G or 16GiB"

Durability = Literal["power-safe", "process-safe"]


class ConfigError(Exception):
    """The settings cannot be used; the text says where, what and how to put it right."""


def parse_size(text: str | int) -> int:
    """Bytes of a size: `500M` and `10G` count in powers of ten, `16GiB` in powers of two.

    Raises ValueError.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"should be {_SIZE_REMEDY}")
    units = _BINARY if match[3] else _DECIMAL
    return int(float(match[1]) * units[match[2].upper()])


Size = Annotated[int, BeforeValidator(parse_size), Field(ge=1, description=_SIZE_REMEDY)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ShareSettings(_Settings):
    """One share: a store, and how it is cached and carried."""

    name: str = Field(description="a name without / such as photos; it is the first part of the address")
    store: str = Field(description="a folder such as /srv/files, or an address such as s3://bucket/prefix?region=eu-west-1")
    layout: Literal["plain"] = Field("plain", description='"plain"')
    read_only: bool = Field(False, description="true or false")
    credentials: dict[str, SecretStr] = Field(
        default_factory=dict,
        description='texts, access_key_id = "...", or names of variables, access_key_id = { env = "NAME" }')
    upload_delay: float = Field(5.0, ge=0, allow_inf_nan=False, description="seconds, 0 or more, such as 5")
    revalidate_after: float = Field(
        60.0, ge=0, allow_inf_nan=False, description="seconds, 0 or more, such as 60")
    cache_size: Size = 10 * 10**9
    durability: Durability = Field("power-safe", description='"power-safe" or "process-safe"')
    access: Literal["none", "read", "write"] = Field("write", description='"none", "read" or "write"')
    """What people who signed in may do where the users file says nothing else of them."""

    @field_validator("name")
    @classmethod
    def _usable_name(cls, name: str) -> str:
        if not _SHARE_NAME.fullmatch(name) or name in (".", "..") or name.startswith(".davfusion"):
            raise ValueError("cannot be the name of a share")
        return name

    @field_validator("store")
    @classmethod
    def _store_given(cls, store: str) -> str:
        if not store.strip():
            raise ValueError("is empty")
        if "@" in urllib.parse.urlsplit(store).netloc:
            raise ValueError(
                "holds credentials; they belong into environment variables or [share.credentials]")
        return store

    @field_validator("credentials", mode="before")
    @classmethod
    def _from_environment(cls, credentials: object) -> object:
        if not isinstance(credentials, Mapping):
            return credentials
        return {key: _credential(key, value) for key, value in credentials.items()}

    @field_serializer("credentials")
    def _reveal(self, credentials: dict[str, SecretStr], info: SerializationInfo) -> dict[str, str]:
        reveal = bool(info.context and info.context.get("reveal"))
        return {key: value.get_secret_value() if reveal else str(value) for key, value in credentials.items()}

    def plain_credentials(self) -> dict[str, str]:
        """The credentials in clear, for the store that needs them."""
        return {key: value.get_secret_value() for key, value in self.credentials.items()}


def _credential(key: str, value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    if set(value) != {"env"} or not isinstance(value["env"], str):
        raise ValueError(f'{key}: write {{ env = "NAME" }} to take it from an environment variable')
    if value["env"] not in os.environ:
        raise ValueError(f"{key}: the environment variable {value['env']} is not set")
    return os.environ[value["env"]]


class Config(_Settings):
    """All that `davfusion serve` needs to know."""

    listen: str = Field(
        "127.0.0.1:8080", description='an address and a port such as "127.0.0.1:8080" or "[::1]:8080"')
    anonymous: bool = Field(False, description="true or false")
    users: Path | None = Field(None, description="a users file, made with davfusion user add --users FILE NAME")
    trusted_proxies: tuple[str, ...] = Field((), description='addresses of proxies, such as ["127.0.0.1"]')
    """Whose X-Forwarded-For is believed."""
    tls_cert: Path | None = Field(None, description="a PEM file with the certificate and its chain")
    tls_key: Path | None = Field(None, description="a PEM file with the key of the certificate")
    workers: int | Literal["auto"] = Field(1, description='a number of processes from 1, or "auto"')
    state: Path | None = Field(None, description="a folder on a local disk such as /var/lib/davfusion")
    at_root: bool = Field(False, description="true or false")
    """The only share is served at `/` instead of `/name/`."""
    share: tuple[ShareSettings, ...] = Field(description="at least one [[share]] with a name and a store")

    @field_validator("listen")
    @classmethod
    def _splittable(cls, listen: str) -> str:
        split_listen(listen)
        return listen

    @field_validator("workers")
    @classmethod
    def _some_workers(cls, workers: int | Literal["auto"]) -> int | Literal["auto"]:
        if workers != "auto" and not 1 <= workers <= 256:
            raise ValueError("is out of range")
        return workers

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ipaddress.ip_network(proxy.strip())
        return proxies

    @model_validator(mode="after")
    def _whole_choices(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: give both or neither")
        if self.users is not None and self.anonymous:
            raise ValueError("users and anonymous exclude each other: give one of them")
        return self

    @model_validator(mode="after")
    def _distinct_shares(self) -> Self:
        if not self.share:
            raise ValueError("share: no share is given")
        names = [share.name.casefold() for share in self.share]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"share: the name {min(twice)!r} is given twice (case does not count)")
        if self.at_root and len(self.share) > 1:
            raise ValueError("at_root: only one share can be served at /")
        return self

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
        return self.model_dump_json(context={"reveal": True})

    @classmethod
    def from_handover(cls, line: str) -> Config:
        """The settings that a supervisor wrote with `handover`."""
        return cls.model_validate_json(line)

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


def load(file: Path, overrides: Mapping[str, Any] | None = None, *,
         share_overrides: Mapping[str, Any] | None = None) -> Config:
    """The settings of a TOML file, with values from the command line put over them.

    `share_overrides` apply to every share. Relative paths in the file are relative to its folder.
    Raises ConfigError.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read: {error.strerror}. Give another file with --config.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text; save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is not valid TOML: {error}.") from error
    document.update(overrides or {})
    shares = document.get("share")
    if isinstance(shares, list):
        document["share"] = [{**share, **(share_overrides or {})} if isinstance(share, dict) else share
                             for share in shares]
    config = _validated(document, str(file))
    return _anchored(config, file.parent)


def from_options(store: str, overrides: Mapping[str, Any], *, share_overrides: Mapping[str, Any]) -> Config:
    """The settings of one share at `/`, from the command line alone. Raises ConfigError."""
    share = {"name": "files", "store": store, **share_overrides}
    return _validated({**overrides, "at_root": True, "share": [share]}, "command line")


def _validated(document: Mapping[str, Any], source: str) -> Config:
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        lines = [_explain(details, source) for details in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None


def _anchored(config: Config, folder: Path) -> Config:
    """The same settings, with relative paths made absolute below the folder of the file."""
    shares = tuple(
        share.model_copy(update={"store": str((folder / Path(share.store).expanduser()).resolve())})
        if "://" not in share.store else share
        for share in config.share)
    paths = {name: (folder / path.expanduser()).resolve()
             for name in ("state", "users", "tls_cert", "tls_key") if (path := getattr(config, name)) is not None}
    return config.model_copy(update={"share": shares, **paths})


def _explain(details: ErrorDetails, source: str) -> str:
    location = details["loc"]
    reason = str(details["msg"]).removeprefix("Value error, ")
    if not location:
        return f"{source}: {reason}."
    key = _key(location)
    model: type[_Settings] = ShareSettings if len(location) >= 3 else Config
    name = str(location[2] if len(location) >= 3 else location[0])
    if details["type"] == "extra_forbidden":
        return f"{source}: {key} = {details['input']!r}: is no setting; {_suggestion(name, model)}."
    field = model.model_fields.get(name)
    remedy = f"Write {field.description}." if field else "Remove it."
    if details["type"] == "missing":
        return f"{source}: {key}: is missing. {remedy}"
    secret = "credentials" in location or "credentials" in reason
    shown = "(hidden)" if secret else repr(details["input"])
    return f"{source}: {key} = {shown}: {reason[:1].lower() + reason[1:]}. {remedy}"


def _key(location: tuple[int | str, ...]) -> str:
    parts = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location)
    return parts.removeprefix(".")


def _suggestion(name: str, model: type[_Settings]) -> str:
    known = list(model.model_fields)
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"the settings here are {', '.join(known)}"
