"""What must hold before a method may act: conditions of HTTP, the If header, and locks.

The same object is asked twice: on the share before the body of a request is waited for, and on the tree inside the
write transaction, where the answer counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from davfusion.cache.node import Lock, Node
from davfusion.dav.conditions import ABSENT, UNCONDITIONAL, Conditions, Current, Outcome, evaluate
from davfusion.dav.destination import ForeignURLError
from davfusion.dav.errors import HttpError
from davfusion.dav.href import BadPathError, parent
from davfusion.dav.if_header import NO_STATE, ResourceState, holds, parse, submitted_tokens
from davfusion.dav.request import Request


class View(Protocol):
    """A share, or its tree as a write transaction sees it."""

    def find(self, path: str) -> Node | None: ...
    def locks_on(self, path: str) -> list[Lock]: ...
    def locks_under(self, path: str) -> list[Lock]: ...


Need = Callable[[View], Iterable[list[Lock]]]
"""Tells which locks a change meets, as groups: those that cover one resource together."""


class Preconditions:
    """The conditions of one request and the lock tokens that it submits. Raises HttpError 400 when malformed."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._conditions = Conditions.from_environ(request.environ)
        header = request.header("IF")
        self._lists = parse(header) if header is not None else ()
        self._places = self._locate_tags() if self._lists else {}
        self.tokens = submitted_tokens(self._lists) if self._lists else frozenset()

    @property
    def conditional(self) -> bool:
        """Whether the request asks for anything to hold, so that it matters what is there now."""
        return self._conditions is not UNCONDITIONAL or bool(self._lists)

    def check(self, view: View, need: Need | None = None) -> None:
        """Raises HttpError 412 or 304 by the conditions, then 423 for a lock whose token was not submitted."""
        self.check_conditions(view)
        if need is not None:
            self.check_locks(view, need)

    def guard(self, need: Need) -> Callable[[View], None]:
        """To be run in a transaction: `check` there."""
        return lambda view: self.check(view, need)

    def check_conditions(self, view: View) -> None:
        """Raises HttpError 412; 304 for GET and HEAD."""
        conditional = self._conditions is not UNCONDITIONAL
        self.check_conditions_of(view.find(self._request.path) if conditional else None, view)

    def check_conditions_of(self, node: Node | None, view: View) -> None:
        """As `check_conditions`, for what was found at the path of the request."""
        if self._conditions is not UNCONDITIONAL:
            self._check_http(node)
        if self._lists and not holds(self._lists, lambda tag: self._state(view, tag)):
            raise HttpError(412, "The If header does not hold")

    def check_locks(self, view: View, need: Need) -> None:
        """Raises HttpError 423 with the roots of the locks that stand in the way."""
        missing = {lock.path: lock for group in need(view) for lock in self._not_submitted(group)}
        if missing:
            raise locked(self._request, view, missing.values(), "lock-token-submitted",
                         "The resource is locked and the request has no token of the lock")

    def _check_http(self, node: Node | None) -> None:
        current = ABSENT
        if node is not None:
            current = Current(exists=True, etag=None if node.is_folder else node.etag, modified=node.modified)
        outcome = evaluate(self._conditions, current, is_read=self._request.method in ("GET", "HEAD"))
        if outcome is Outcome.FAILED:
            raise HttpError(412, "A condition of the request does not hold")
        if outcome is Outcome.NOT_MODIFIED:
            raise HttpError(304, headers=[("ETag", node.etag)] if node is not None and not node.is_folder else [])

    def _not_submitted(self, covering: list[Lock]) -> list[Lock]:
        if not covering:
            return []
        held = [lock for lock in covering
                if lock.token in self.tokens and lock.principal == self._request.principal.name]
        # One token is enough among locks that share the resource (RFC 4918, 6.2).
        if any(not lock.exclusive for lock in held):
            return []
        return [lock for lock in covering if lock not in held]

    def _locate_tags(self) -> dict[str, str | None]:
        """The local path that each resource tag names; None for what lies elsewhere and so has no state here."""
        return {each.resource: self._local_path(each.resource)
                for each in self._lists if each.resource is not None}

    def _local_path(self, url: str) -> str | None:
        try:
            location = self._request.locate(url)
        except (ForeignURLError, BadPathError):
            return None
        if location is None or location.share is not self._request.share:
            return None
        return self._request.spelled(location)[0]

    def _state(self, view: View, tag: str | None) -> ResourceState:
        path = self._request.path if tag is None else self._places[tag]
        if path is None:
            return NO_STATE
        node = view.find(path)
        return ResourceState(
            node.etag if node is not None else None, frozenset(lock.token for lock in view.locks_on(path)))


def changing(path: str) -> Need:
    """What the change of a resource meets that stays where it is."""
    return lambda view: [view.locks_on(path)]


def placing(path: str) -> Need:
    """What a write to a path meets: the locks on it and, where it makes a new member, those on its folder."""
    def need(view: View) -> list[list[Lock]]:
        above = view.locks_on(parent(path))
        if above and view.find(path) is not None:
            above = []
        return [view.locks_on(path), above]
    return need


def replacing(path: str) -> Need:
    """What COPY and MOVE meet at their destination: `placing`, and all locks inside of what goes away."""
    def need(view: View) -> list[list[Lock]]:
        return [*placing(path)(view), *_inside(view, path)]
    return need


def removing(path: str) -> Need:
    """What DELETE and MOVE meet at what goes away: its locks, those inside, and those on its folder."""
    def need(view: View) -> list[list[Lock]]:
        return [view.locks_on(path), view.locks_on(parent(path)), *_inside(view, path)]
    return need


def _inside(view: View, path: str) -> list[list[Lock]]:
    groups: dict[str, list[Lock]] = {}
    for lock in view.locks_under(path):
        groups.setdefault(lock.path, []).append(lock)
    return list(groups.values())


def locked(request: Request, view: View, locks: Iterable[Lock], element: str, message: str) -> HttpError:
    """The 423 that names the roots of locks in the precondition element (RFC 4918, 16)."""
    hrefs = "".join(f"<D:href>{lock_root(request, view, lock.path)}</D:href>" for lock in locks)
    return HttpError(423, message, condition=f"<D:{element}>{hrefs}</D:{element}>")


def lock_root(request: Request, view: View, path: str) -> str:
    """The URL of a lock's root, for XML."""
    node = view.find(path)
    return request.xml_href(path, is_folder=node is not None and node.is_folder)
