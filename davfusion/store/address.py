"""Addresses of stores: a path of this machine, or a URL."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from davfusion.store.errors import SignInNeededError
from davfusion.store.interface import Store
from davfusion.store.local import LocalStore
from davfusion.store.memory import MemoryStore

S3_OPTIONS = ("endpoint", "region", "conditional")


class AddressError(ValueError):
    """The address names no store. The text says what is wrong and what to write instead."""


def open_store(address: str, *, credentials: Mapping[str, str] | None = None,
               environ: Mapping[str, str]) -> Store:
    """The store at an address; makes no request.

    * `/path`, `./path`, `file:///path`: a folder of this machine,
    * `memory://`: the memory of this process,
    * `s3://bucket/prefix?endpoint=http://...&region=...&conditional=no`: an S3 bucket. `conditional=no`
      is for servers that ignore the conditions of requests.

    `credentials` holds `access_key_id`, `secret_access_key` and perhaps `session_token`; what it lacks
    is taken from `environ` (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
    `AWS_REGION`, `AWS_DEFAULT_REGION`). Raises AddressError; SignInNeededError without credentials.
    """
    if "://" not in address:
        if not address:
            raise AddressError("The address of the store is empty; give a folder or a URL such as s3://bucket")
        return LocalStore(address)
    url = _split(address)
    match url.scheme:
        case "file":
            return _open_file(url)
        case "memory":
            if url.netloc or url.path.strip("/") or url.query:
                raise AddressError("memory:// takes no name and no options; write just memory://")
            return MemoryStore()
        case "s3":
            return _open_s3(url, credentials or {}, environ)
    raise AddressError(f"There is no store for {url.scheme}://; use a folder, file:///path, memory:// or "
                       "s3://bucket/prefix")


def _split(address: str) -> SplitResult:
    try:
        url = urlsplit(address)
        secret = url.username is not None or url.password is not None
    except ValueError as error:
        raise AddressError(f"The address of the store cannot be read: {error}") from error
    if secret:
        raise AddressError("The address of a store holds no user and no password, because addresses are shown; "
                           "put credentials in the environment or the configuration")
    if url.fragment:
        raise AddressError("A # in the address of a store must be written %23")
    return url


def _open_file(url: SplitResult) -> Store:
    if url.netloc not in ("", "localhost"):
        raise AddressError(f"A folder is written file:///{url.netloc}{url.path}, with three strokes")
    if url.query:
        raise AddressError("A ? in the path of a file:// address must be written %3F")
    if not url.path:
        raise AddressError("The address file:// lacks the path of a folder; write file:///path")
    return LocalStore(unquote(url.path))


def _open_s3(url: SplitResult, credentials: Mapping[str, str], environ: Mapping[str, str]) -> Store:
    options = _options(url)
    if not url.netloc:
        raise AddressError("The address s3:// lacks a bucket; write s3://bucket or s3://bucket/prefix")
    endpoint = options.get("endpoint")
    if endpoint is not None:
        _check_endpoint(endpoint)
    conditional = options.get("conditional", "yes")
    if conditional not in ("yes", "no"):
        raise AddressError(f"The option conditional is yes or no, not {conditional!r}")
    region = options.get("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    # Late, because these libraries take a good part of a second to load.
    from davfusion.store.s3 import S3Store
    from davfusion.store.s3.signing import Credentials

    keys = Credentials(
        _credential("access_key_id", credentials, environ), _credential("secret_access_key", credentials, environ),
        _session_token(credentials, environ))
    return S3Store(url.netloc, keys, prefix=unquote(url.path), endpoint=endpoint, region=region,
                   conditional=conditional == "yes")


def _options(url: SplitResult) -> dict[str, str]:
    pairs = parse_qsl(url.query, keep_blank_values=True)
    for name, _ in pairs:
        if name not in S3_OPTIONS:
            raise AddressError(f"There is no option {name!r} for s3://; there are {', '.join(S3_OPTIONS)}")
    if len(dict(pairs)) != len(pairs):
        raise AddressError("An option is given twice in the address of the store")
    return dict(pairs)


def _check_endpoint(endpoint: str) -> None:
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise AddressError(f"The endpoint {endpoint!r} is not a URL; write endpoint=https://host")
    if url.username is not None or url.password is not None:
        raise AddressError("The endpoint holds no user and no password; put credentials in the environment")


def _credential(name: str, credentials: Mapping[str, str], environ: Mapping[str, str]) -> str:
    variable = f"AWS_{name.upper()}"
    value = credentials.get(name) or environ.get(variable)
    if not value:
        raise SignInNeededError(f"There are no credentials for S3: set {variable} in the environment or {name} "
                                "in the configuration")
    return value


def _session_token(credentials: Mapping[str, str], environ: Mapping[str, str]) -> str | None:
    if "access_key_id" in credentials:
        return credentials.get("session_token")
    return environ.get("AWS_SESSION_TOKEN") or None
