"""The Basic scheme (RFC 7617): from a header to a name and a password. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from davfusion.accounts.errors import UnusableError
from davfusion.accounts.names import PASSWORD_MAX, has_control, usable_name

_HEADER = re.compile(r"basic +([A-Za-z0-9+/]+={0,2})[ \t]*", re.IGNORECASE | re.ASCII)
_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name that a user could have (NFC), and a password."""

    name: str
    password: str = field(repr=False)


def credentials(header: str) -> Credentials | None:
    """What an Authorization header says; None when it is malformed or says what no user can have.

    The text is UTF-8, as the server asks for; what is not is taken as ISO 8859-1, which older clients send.
    """
    match = _HEADER.fullmatch(header) if len(header) <= _LONGEST else None
    if match is None or len(match[1]) % 4:
        return None
    try:
        raw = base64.b64decode(match[1], validate=True)
    except binascii.Error:
        return None
    name, colon, password = _text(raw).partition(":")
    if not colon or len(password) > PASSWORD_MAX or has_control(password):
        return None
    try:
        return Credentials(usable_name(name), password)
    except UnusableError:
        return None


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
