"""Dead properties and the properties that WsgiDAV gets wrong, for the resources under WsgiDAV's own application."""

from __future__ import annotations

from typing import Any

from lxml import etree
from wsgidav.dav_error import (
    HTTP_CONFLICT,
    HTTP_FORBIDDEN,
    HTTP_NOT_FOUND,
    DAVError,
    PRECONDITION_CODE_ProtectedProperty,
)

from davfusion.cache.node import Node
from davfusion.cache.share import Share
from davfusion.dav.properties import LIVE, WIN32_CREATED, WIN32_MODIFIED, Scene
from davfusion.dav.proppatch import Update, effect_of, status_of, update_of

_OURS = ("{DAV:}getetag", "{DAV:}getlastmodified", WIN32_MODIFIED, WIN32_CREATED)


class ResourceProperties:
    """Mixed into a resource: properties from the share, by WsgiDAV's contract."""

    node: Node
    environ: dict[str, Any]

    @property
    def share(self) -> Share:
        """The share of the resource."""
        raise NotImplementedError

    def get_property_names(self, *, is_allprop: bool) -> list[str]:
        """The names of the live properties that WsgiDAV knows and of the dead ones."""
        live = [name for name in super().get_property_names(is_allprop=is_allprop)  # type: ignore[misc]
                if not (is_allprop and "quota-" in name)]
        return list(dict.fromkeys([*live, *self._dead()]))

    def get_property_value(self, name: str) -> Any:
        """An element or text. Raises DAVError 404."""
        stored = self._dead().get(name)
        if stored is not None:
            return etree.fromstring(stored)
        if name in _OURS:
            fragment = LIVE[name](Scene(lambda node: node.path), self.node)
            if fragment is None:
                raise DAVError(HTTP_NOT_FOUND)
            return etree.fromstring(f'<r xmlns:D="DAV:">{fragment}</r>')[0]
        value = super().get_property_value(name)  # type: ignore[misc]
        if value is None:
            raise DAVError(HTTP_NOT_FOUND)
        return value

    def set_property_value(self, name: str, value: etree._Element | None, *, dry_run: bool = False) -> bool:
        """Set or, with None, remove. Raises DAVError 403 for protected properties, 409 for a bad time."""
        update = Update(name, None, "") if value is None else update_of(value)
        status = status_of(update)
        if status == HTTP_CONFLICT:
            raise DAVError(HTTP_CONFLICT, "The value is not a date")
        if status != 200:
            raise DAVError(HTTP_FORBIDDEN, err_condition=PRECONDITION_CODE_ProtectedProperty)
        if not dry_run:
            effect = effect_of([update])
            self.node = self.share.change_properties(
                self.node.path, effect.changes, modified=effect.modified, created=effect.created)
        return True

    def _dead(self) -> dict[str, bytes]:
        return self.share.properties(self.node) if self.node.id else {}
