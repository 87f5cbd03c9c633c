"""What the tests of sign-in send."""

from __future__ import annotations

import base64
import unicodedata
from typing import Any

from davfusion.accounts.passwords import Passwords

PASSWORDS = {"alice": "correct horse", "bob": "a:colon:", "Jürgen": "Größe über €"}


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class CountedPasswords(Passwords):
    """Counts how often a password is checked, and against what."""

    def __init__(self) -> None:
        super().__init__()
        self.checked: list[str | None] = []

    def matches(self, expected: str | None, password: str) -> bool:
        self.checked.append(expected)
        return super().matches(expected, password)


def header_of(name: str, password: str) -> str:
    """The header that a client sends."""
    text = unicodedata.normalize("NFC", f"{name}:{password}")
    return "Basic " + base64.b64encode(text.encode("utf-8")).decode("ascii")


def sent(name: str, password: str | None = None, address: str = "192.0.2.1", **environ: str) -> dict[str, Any]:
    """The environ of a request with credentials."""
    known = PASSWORDS[name] if password is None else password
    return {"REMOTE_ADDR": address, "HTTP_AUTHORIZATION": header_of(name, known), **environ}
