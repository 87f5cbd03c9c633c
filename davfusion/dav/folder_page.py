"""A folder as a plain page for browsers. No script; every name is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

from davfusion.cache.node import Node
from davfusion.dav.dates import iso_date
from davfusion.dav.request import Request

_STYLE = "body{font:15px sans-serif;margin:2em}td{padding:.1em 1em .1em 0}td+td{text-align:right;color:#555}"


def folder_page(request: Request, folder: Node, children: Iterable[Node]) -> str:
    """The page of a folder of a share."""
    rows = [_row(request.href(child), child) for child in children]
    title = (request.location.prefix + folder.path).rstrip("/") + "/"
    return page(title, rows, has_parent=title != "/")


def page(title: str, rows: Iterable[str], *, has_parent: bool) -> str:
    """A page with rows as `row` makes them."""
    up = '<tr><td><a href="../">../</a></td><td></td><td></td></tr>' if has_parent else ""
    name = html.escape(title)
    return (f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{name}</title><style>{_STYLE}</style></head>'
            f"<body><h1>{name}</h1><table>{up}{''.join(rows)}</table></body></html>\n")


def _row(href: str, node: Node) -> str:
    name = node.name + ("/" if node.is_folder else "")
    return row(href, name, "" if node.is_folder else f"{node.size:,}", iso_date(node.modified))


def row(href: str, name: str, size: str, modified: str) -> str:
    """One line of a page."""
    return (f'<tr><td><a href="{html.escape(href)}">{html.escape(name)}</a></td><td>{size}</td>'
            f"<td>{modified}</td></tr>")
