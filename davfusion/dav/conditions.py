"""Conditional requests: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since (RFC 9110, 13).

Pure functions; nothing here knows a share.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from davfusion.dav.dates import parse_http_date

_ENTITY_TAG = re.compile(r'(?:W/)?"[^"]*"')
_SEPARATOR = re.compile(r"[ \t]*(?:,[ \t]*)+")


class MalformedConditionError(ValueError):
    """The header does not follow the grammar; to be answered with 400."""


class Outcome(enum.Enum):
    """What the conditions of a request say."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"
    """304; only for GET and HEAD."""
    FAILED = "failed"
    """412."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The four headers as they came, None where absent."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    if_unmodified_since: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, Any]) -> Conditions:
        """The conditions of a WSGI request; where there are none, UNCONDITIONAL."""
        values = (environ.get("HTTP_IF_MATCH"), environ.get("HTTP_IF_NONE_MATCH"),
                  environ.get("HTTP_IF_MODIFIED_SINCE"), environ.get("HTTP_IF_UNMODIFIED_SINCE"))
        return UNCONDITIONAL if values == _NONE else cls(*values)


_NONE = (None, None, None, None)
UNCONDITIONAL = Conditions()


@dataclass(frozen=True, slots=True)
class Current:
    """The resource that the conditions are about, as it is now.

    `etag` is quoted; None where the resource has none. `modified` likewise, in seconds since the epoch.
    """

    exists: bool
    etag: str | None = None
    modified: float | None = None


ABSENT = Current(exists=False)


def entity_tags(header: str) -> list[str]:
    """The entity tags of a list, quoted and with their `W/`. Raises MalformedConditionError."""
    tags, position, text = [], 0, header.strip(" \t,")
    while position < len(text):
        match = _ENTITY_TAG.match(text, position)
        if match is None:
            raise MalformedConditionError(f"Not a list of entity tags: {header!r}")
        tags.append(match.group())
        position = match.end()
        if position == len(text):
            break
        separator = _SEPARATOR.match(text, position)
        if separator is None:
            raise MalformedConditionError(f"Not a list of entity tags: {header!r}")
        position = separator.end()
    if not tags:
        raise MalformedConditionError("An empty list of entity tags")
    return tags


def evaluate(conditions: Conditions, current: Current, *, is_read: bool) -> Outcome:
    """Decide in the order of RFC 9110, 13.2.2. `is_read`: the method is GET or HEAD.

    Raises MalformedConditionError.
    """
    if conditions.if_match is not None:
        if not _matches_strongly(conditions.if_match, current):
            return Outcome.FAILED
    elif conditions.if_unmodified_since is not None and _modified_after(conditions.if_unmodified_since, current):
        return Outcome.FAILED
    if conditions.if_none_match is not None:
        if _matches_weakly(conditions.if_none_match, current):
            return Outcome.NOT_MODIFIED if is_read else Outcome.FAILED
    elif is_read and conditions.if_modified_since is not None \
            and _modified_after(conditions.if_modified_since, current) is False:
        return Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def _matches_strongly(header: str, current: Current) -> bool:
    if header.strip() == "*":
        return current.exists
    tags = entity_tags(header)
    return current.exists and current.etag is not None and current.etag in tags


def _matches_weakly(header: str, current: Current) -> bool:
    if header.strip() == "*":
        return current.exists
    tags = entity_tags(header)
    return current.exists and current.etag is not None \
        and current.etag.removeprefix("W/") in [tag.removeprefix("W/") for tag in tags]


def _modified_after(header: str, current: Current) -> bool | None:
    """None where the header must be ignored: no valid date, or the resource has none (RFC 9110, 13.1.3)."""
    limit = parse_http_date(header)
    if limit is None or not current.exists or current.modified is None:
        return None
    return int(current.modified // 1) > limit
