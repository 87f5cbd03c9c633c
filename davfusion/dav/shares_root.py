"""The folder above several shares: virtual, read-only, one member per share."""

from __future__ import annotations

from collections.abc import Mapping

from davfusion.accounts.rights import Principal
from davfusion.cache.node import Node
from davfusion.cache.share import Share
from davfusion.dav import xml
from davfusion.dav.body import read_all
from davfusion.dav.dates import iso_date
from davfusion.dav.errors import HttpError
from davfusion.dav.folder_page import page, row
from davfusion.dav.href import href, xml_href
from davfusion.dav.options import dav_headers
from davfusion.dav.properties import Scene
from davfusion.dav.propfind import Renderer, multistatus, plan_of
from davfusion.dav.request import Environ, Response, document, empty, script_path

_ALLOW = ("Allow", "OPTIONS, GET, HEAD, PROPFIND")


class SharesRoot:
    """Answers for the URL above the shares. Thread-safe."""

    def __init__(self, shares: Mapping[str, Share]) -> None:
        self._shares = shares

    def answer(self, environ: Environ, principal: Principal) -> Response:
        """The answer to a request for the root, which shows the shares that this person may read.

        Raises HttpError 403 for whatever would change it.
        """
        prefix = script_path(environ)
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS":
            return empty(200, [_ALLOW, *dav_headers(read_only=True)])
        if method in ("GET", "HEAD"):
            return self._page(prefix, principal)
        if method == "PROPFIND":
            return self._propfind(environ, prefix, principal)
        raise HttpError(403, "This folder holds the shares and cannot be changed")

    def _members(self, principal: Principal) -> list[Node]:
        members = []
        for place, share in self._shares.items():
            node = share.find("/") if principal.may(share.name, write=False) else None
            if node is not None:
                members.append(node._replace(path=place))
        return members

    def _page(self, prefix: str, principal: Principal) -> Response:
        rows = [row(href(prefix, node.path, is_folder=True), node.name + "/", "", iso_date(node.modified))
                for node in self._members(principal)]
        body = page(prefix + "/", rows, has_parent=False).encode("utf-8", "replace")
        return document(200, body, "text/html; charset=utf-8")

    def _propfind(self, environ: Environ, prefix: str, principal: Principal) -> Response:
        depth = environ.get("HTTP_DEPTH", "infinity").strip().lower()
        if depth == "infinity":
            raise HttpError(403, "Ask each share by itself", condition="<D:propfind-finite-depth/>")
        if depth not in ("0", "1"):
            raise HttpError(400, "Depth must be 0, 1 or infinity")
        plan = plan_of(read_all(environ, xml.MAX_BODY))
        scene = Scene(lambda node: xml_href(prefix, node.path, is_folder=True))
        renderer = Renderer(plan, scene)
        root = Node(id=0, path="/", is_folder=True, content=None, size=0, modified=0.0, created=0.0,
                    etag='"shares"', media_type=None, dirty=False)
        nodes = [root, *(self._members(principal) if depth == "1" else [])]
        return multistatus((renderer.response(node, {}) for node in nodes), [])
