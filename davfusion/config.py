"""Settings from a TOML file or from the command line, checked.

Every error is a ConfigError whose text names the file, the key, the value and what to write instead.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import os
import re
import tomllib
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass as checked
from pydantic_core import ErrorDetails

from davfusion.settings import Config, ConfigError, ShareSettings, split_listen

_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGTP]?)(I?)B?\s*", re.IGNORECASE)
_SHARE_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,100}")
_STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)


def parse_size(text: str | int) -> int:
    """Bytes of a size: `500M` and `10G` count in powers of ten, `16GiB` in powers of two.

    Raises ValueError.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None or (match[3] and not match[2]):
        raise ValueError("should be a size such as 500M, 10G or 16GiB")
    units = _BINARY if match[3] else _DECIMAL
    return int(float(match[1]) * units[match[2].upper()])


@checked(frozen=True, kw_only=True, config=_STRICT)
class _CheckedShare(ShareSettings):
    _parsed_size = field_validator(
        "cache_size", "pack_below", "archive_size", "block_size", mode="before")(parse_size)

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


def _credential(key: str, value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    if set(value) != {"env"} or not isinstance(value["env"], str):
        raise ValueError(f'{key}: write {{ env = "NAME" }} to take it from an environment variable')
    if value["env"] not in os.environ:
        raise ValueError(f"{key}: the environment variable {value['env']} is not set")
    return os.environ[value["env"]]


@checked(frozen=True, kw_only=True, config=_STRICT)
class _CheckedConfig(Config):
    share: tuple[_CheckedShare, ...]

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
        if self.lock_timeout > self.lock_timeout_max:
            raise ValueError("lock_timeout is longer than lock_timeout_max: give a shorter one, or raise both")
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
    config = validated(document, str(file))
    return _anchored(config, file.parent)


def from_options(store: str, overrides: Mapping[str, Any], *, share_overrides: Mapping[str, Any]) -> Config:
    """The settings of one share at `/`, from the command line alone. Raises ConfigError."""
    share = {"name": "files", "store": store, **share_overrides}
    return validated({**overrides, "at_root": True, "share": [share]}, "command line")


def validated(document: Mapping[str, Any], source: str) -> Config:
    """The settings that a document of JSON or TOML values means; `source` names it to people. Raises ConfigError."""
    try:
        config = TypeAdapter(_CheckedConfig).validate_python(document)
    except ValidationError as error:
        lines = [_explain(details, source) for details in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None
    return Config(**{**_fields(config), "share": tuple(ShareSettings(**_fields(share)) for share in config.share)})


def _fields(settings: Config | ShareSettings) -> dict[str, Any]:
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def _anchored(config: Config, folder: Path) -> Config:
    """The same settings, with relative paths made absolute below the folder of the file."""
    shares = tuple(
        dataclasses.replace(share, store=str((folder / Path(share.store).expanduser()).resolve()))
        if "://" not in share.store else share
        for share in config.share)
    paths = {name: (folder / path.expanduser()).resolve()
             for name in ("state", "users", "tls_cert", "tls_key") if (path := getattr(config, name)) is not None}
    return dataclasses.replace(config, share=shares, **paths)


def _explain(details: ErrorDetails, source: str) -> str:
    location = details["loc"]
    reason = str(details["msg"]).removeprefix("Value error, ")
    if not location:
        return f"{source}: {reason}."
    key = _key(location)
    known = dataclasses.fields(ShareSettings if len(location) >= 3 else Config)
    name = str(location[2] if len(location) >= 3 else location[0])
    if details["type"] == "unexpected_keyword_argument":
        suggestion = _suggestion(name, [field.name for field in known])
        return f"{source}: {key} = {details['input']!r}: is no setting; {suggestion}."
    descriptions = {field.name: field.metadata["description"] for field in known}
    remedy = f"Write {descriptions[name]}." if name in descriptions else "Remove it."
    if details["type"] == "missing":
        return f"{source}: {key}: is missing. {remedy}"
    secret = "credentials" in location or "credentials" in reason
    shown = "(hidden)" if secret else repr(details["input"])
    return f"{source}: {key} = {shown}: {reason[:1].lower() + reason[1:]}. {remedy}"


def _key(location: tuple[int | str, ...]) -> str:
    parts = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location)
    return parts.removeprefix(".")


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"the settings here are {', '.join(known)}"
