"""State directories: where they are, what they are for, and that only one davfusion works on each.

Layout of a state directory, which holds everything that a davfusion must not lose:

    lock            held (flock) by every process of the davfusion that works here
    davfusion.json  which shares live here; tells `sync`, `status` and `check` what to open. No secrets.
    shares/NAME/    the index and the contents of one share; `address` in it says of which store
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from davfusion.cache.contents import flush_folder
from davfusion.cache.errors import StateInUseError
from davfusion.file_lock import try_lock
from davfusion.settings import Config, ConfigError, ShareSettings

_LOCK = "lock"
_DESCRIPTION = "davfusion.json"
_ADDRESS = "address"
_RETRY_EVERY = 0.02


def root(environ: Mapping[str, str]) -> Path:
    """The folder that holds the state directories which were not chosen by the user."""
    base = environ.get("XDG_STATE_HOME", "")
    folder = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state"
    return folder / "davfusion"


def directory_for(address: str, environ: Mapping[str, str]) -> Path:
    """The state directory of a store address or of a configuration file (its absolute path)."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", urllib.parse.urlsplit(address)._replace(query="").geturl())
    readable = words.strip("-")[-40:].strip("-") or "store"
    return root(environ) / f"{readable}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def find(chosen: Path | None, environ: Mapping[str, str]) -> Path:
    """The state directory that a command means: the chosen one, or the only one there is.

    Raises ConfigError with a sentence that says what to pass.
    """
    if chosen is not None:
        if not (chosen / _DESCRIPTION).is_file():
            raise ConfigError(f"{chosen} is not the state directory of a davfusion. "
                              "Give --state the folder that `davfusion serve` uses.")
        return chosen
    candidates = sorted(path.parent for path in root(environ).glob(f"*/{_DESCRIPTION}"))
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise ConfigError("No davfusion has run here yet. Start one with `davfusion serve`, "
                          "or give its state directory with --state.")
    listed = "\n".join(f"  --state {path}   ({describe(path)})" for path in candidates)
    raise ConfigError(f"There are several state directories; say which one is meant:\n{listed}")


def share_directory(state: Path, name: str) -> Path:
    """Where the index and the contents of the share `name` are."""
    return state / "shares" / urllib.parse.quote(name, safe=" ")


def prepare(state: Path) -> None:
    """Create a state directory that only its owner may enter. Raises ConfigError."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        (state / "shares").mkdir(exist_ok=True, mode=0o700)
        flush_folder(state)
        flush_folder(state.parent)
    except OSError as error:
        raise ConfigError(f"The state directory {state} cannot be created: {error.strerror}. "
                          "Give another one with --state.") from error


def claim(state: Path, share: ShareSettings) -> Path:
    """The folder of a share, bound to its store the first time.

    What waits there for one store must never go to another. Raises ConfigError when it is another store's.
    """
    folder = share_directory(state, share.name)
    folder.mkdir(mode=0o700, exist_ok=True)
    flush_folder(folder.parent)
    address = folder / _ADDRESS
    place = _place(share.store)
    try:
        owner = address.read_text(encoding="utf-8")
    except FileNotFoundError:
        address.write_text(place, encoding="utf-8")
        return folder
    if owner and owner != place:
        raise ConfigError(f"{folder} holds what belongs to the store {owner}, not to {place}. Give another "
                          f"directory with --state, or name the store {owner}.")
    return folder


def _place(address: str) -> str:
    """A store's address without options, which may change (another endpoint for the same bucket)."""
    return address.partition("?")[0].rstrip("/") or "/"


def save(state: Path, config: Config) -> None:
    """Write down which shares live here, for the commands that are run beside the server."""
    document = config.document()
    for share in document["share"]:
        del share["credentials"]
    temporary = state / f"{_DESCRIPTION}.new"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=2, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(state / _DESCRIPTION)


def saved(state: Path) -> Config:
    """The settings that `save` wrote, without credentials. Raises ConfigError."""
    # Late, because the processes of a server get checked settings, and what checks them is large.
    from davfusion.config import validated

    try:
        return validated(json.loads((state / _DESCRIPTION).read_text(encoding="utf-8")), _DESCRIPTION)
    except (OSError, ValueError, ConfigError) as error:
        raise ConfigError(f"{state / _DESCRIPTION} cannot be read: {error}. "
                          "Start `davfusion serve` once; it writes the file anew.") from error


def describe(state: Path) -> str:
    """The stores of a state directory, for people."""
    try:
        return ", ".join(share.store for share in saved(state).share)
    except ConfigError:
        return "unreadable"


class StateLock:
    """The right to work on a state directory, for this process and the children that inherit `fileno`.

    The system frees it when the last of them is gone, however they ended.
    """

    def __init__(self, state: Path, *, patience: float = 2.0) -> None:
        """Take the lock, waiting up to `patience` seconds for processes that are just ending.

        Raises StateInUseError.
        """
        self._file = (state / _LOCK).open("a+b")
        deadline = time.monotonic() + patience
        while not try_lock(self._file.fileno()):
            if time.monotonic() >= deadline:
                self._file.close()
                raise StateInUseError(
                    "Another davfusion works on this state directory; stop it first, or give another "
                    "directory with --state", str(state))
            time.sleep(_RETRY_EVERY)

    def fileno(self) -> int:
        """The descriptor that carries the lock."""
        return self._file.fileno()

    def release(self) -> None:
        """Give up this process's part in the lock."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.release()


def is_locked(state: Path) -> bool:
    """Whether a davfusion works on this state directory now."""
    try:
        StateLock(state, patience=0).release()
    except StateInUseError:
        return True
    return False
