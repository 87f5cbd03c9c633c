"""The If header of RFC 4918, 10.4: parser and evaluation. Pure; nothing here knows a share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_SPACE = re.compile(r"[ \t]*")
_CODED_URL = re.compile(r"<([^<>]*)>")
_ETAG = re.compile(r'\[[ \t]*((?:W/)?"[^"]*"|[^"\[\]]+?)[ \t]*\]')
_NOT = re.compile(r"[Nn][Oo][Tt](?![A-Za-z0-9])")


class MalformedIfError(ValueError):
    """The header does not follow the grammar; to be answered with 400."""


@dataclass(frozen=True, slots=True)
class StateCondition:
    """One condition: the resource is locked with `token`, or has the entity tag `etag` (exactly one is given)."""

    token: str | None
    etag: str | None
    negated: bool


@dataclass(frozen=True, slots=True)
class ConditionList:
    """Conditions of which all must hold. `resource` is the tag as it came, None for the request's own URL."""

    resource: str | None
    conditions: tuple[StateCondition, ...]


@dataclass(frozen=True, slots=True)
class ResourceState:
    """What a resource is like now: its entity tag (quoted), None where nothing is there, and the tokens of the
    locks that cover it."""

    etag: str | None
    tokens: frozenset[str]


NO_STATE = ResourceState(None, frozenset())
"""A resource that is not ours or not there: every positive condition on it is false."""


def parse(header: str) -> tuple[ConditionList, ...]:
    """The lists of the header, in order. Raises MalformedIfError."""
    lists: list[ConditionList] = []
    resource: str | None = None
    position = _skip(header, 0)
    tagged = header[position:position + 1] == "<"
    lists_of_tag = 0
    while position < len(header):
        if header[position] == "<":
            if not tagged or (resource is not None and lists_of_tag == 0):
                raise MalformedIfError("A resource tag stands before its lists and not among untagged ones")
            resource, position = _coded_url(header, position)
            lists_of_tag = 0
        else:
            conditions, position = _list(header, position)
            lists.append(ConditionList(resource, conditions))
            lists_of_tag += 1
        position = _skip(header, position)
    if lists_of_tag == 0:
        raise MalformedIfError("The header has no list of conditions")
    return tuple(lists)


def submitted_tokens(lists: tuple[ConditionList, ...]) -> frozenset[str]:
    """All state tokens that appear: to appear is to be submitted (RFC 4918, 10.4.1)."""
    return frozenset(
        condition.token for each in lists for condition in each.conditions if condition.token is not None)


def holds(lists: tuple[ConditionList, ...], state_of: Callable[[str | None], ResourceState]) -> bool:
    """Whether any list holds. `state_of` tells the state of the resource that a tag names."""
    return any(_list_holds(each.conditions, state_of(each.resource)) for each in lists)


def _list_holds(conditions: tuple[StateCondition, ...], state: ResourceState) -> bool:
    for condition in conditions:
        if condition.token is not None:
            fulfilled = condition.token in state.tokens
        else:
            # Weak tags never match: the comparison is the strong one (RFC 4918, 10.4.4).
            fulfilled = state.etag is not None and condition.etag == state.etag and not state.etag.startswith("W/")
        if fulfilled == condition.negated:
            return False
    return True


def _skip(header: str, position: int) -> int:
    match = _SPACE.match(header, position)
    return match.end() if match else position


def _coded_url(header: str, position: int) -> tuple[str, int]:
    match = _CODED_URL.match(header, position)
    if match is None or not match.group(1).strip():
        raise MalformedIfError(f"Expected <URL> at character {position + 1}")
    return match.group(1).strip(), match.end()


def _list(header: str, position: int) -> tuple[tuple[StateCondition, ...], int]:
    if header[position] != "(":
        raise MalformedIfError(f"Expected ( at character {position + 1}")
    conditions: list[StateCondition] = []
    position = _skip(header, position + 1)
    while position < len(header) and header[position] != ")":
        condition, position = _condition(header, position)
        conditions.append(condition)
        position = _skip(header, position)
    if position >= len(header):
        raise MalformedIfError("A list of conditions does not end")
    if not conditions:
        raise MalformedIfError("A list of conditions is empty")
    return tuple(conditions), position + 1


def _condition(header: str, position: int) -> tuple[StateCondition, int]:
    negation = _NOT.match(header, position)
    if negation is not None:
        position = _skip(header, negation.end())
    if header[position:position + 1] == "<":
        token, position = _coded_url(header, position)
        return StateCondition(token, None, negation is not None), position
    match = _ETAG.match(header, position)
    if match is None:
        raise MalformedIfError(f"Expected <token> or [entity tag] at character {position + 1}")
    return StateCondition(None, match.group(1), negation is not None), match.end()
