"""The share as WsgiDAV's provider and resources: thin views on nodes.

They make a share run under WsgiDAV's own application; ours answers without them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from wsgidav.dav_error import DAVError
from wsgidav.dav_provider import DAVCollection, DAVNonCollection, DAVProvider

from davfusion.cache.incoming import Incoming
from davfusion.cache.node import Node
from davfusion.cache.reader import Reader
from davfusion.cache.share import Share
from davfusion.dav.body import announced_length
from davfusion.dav.errors import HttpError, http_error
from davfusion.dav.href import BadPathError, href, normalise
from davfusion.dav.media_types import content_type
from davfusion.dav.mounts import spelled_path
from davfusion.dav.resource_properties import ResourceProperties
from davfusion.store.interface import join

P = ParamSpec("P")
R = TypeVar("R")


def translated(method: Callable[P, R]) -> Callable[P, R]:
    """Errors of the share as WsgiDAV's DAVError, with the status that our own application would send."""
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except DAVError:
            raise
        except Exception as error:
            failure = http_error(error)
            raise DAVError(failure.status, failure.message, src_exception=error) from error
    return call


class ShareProvider(DAVProvider):  # type: ignore[misc]  # WsgiDAV has no types
    """One share. Thread-safe, as the share is."""

    def __init__(self, share: Share) -> None:
        super().__init__()
        self.share = share

    def is_readonly(self) -> bool:
        """Whether nobody may change anything."""
        return self.share.read_only

    @translated
    def get_resource_inst(self, path: str, environ: dict[str, Any]) -> ShareFile | ShareFolder | None:
        """The resource at a decoded path, or None where certainly nothing is. Raises DAVError."""
        node = spelled_path(self.share, self.local_path(path))[1]
        return None if node is None else resource(self, node, environ)

    def local_path(self, path: str) -> str:
        """The local path of a WsgiDAV path. Raises DAVError."""
        try:
            return normalise(path or "/")[0]
        except BadPathError as error:
            raise DAVError(400, str(error)) from None


def resource(provider: ShareProvider, node: Node, environ: dict[str, Any]) -> ShareFile | ShareFolder:
    """The view of a node."""
    return ShareFolder(provider, node, environ) if node.is_folder else ShareFile(provider, node, environ)


class _ShareResource(ResourceProperties):
    """What files and folders have in common."""

    provider: ShareProvider
    node: Node
    environ: dict[str, Any]

    @property
    def share(self) -> Share:
        return self.provider.share

    def get_creation_date(self) -> float:
        """Seconds since the epoch."""
        return self.node.created

    def get_last_modified(self) -> float:
        """Seconds since the epoch."""
        return self.node.modified

    def get_display_name(self) -> str:
        """The last part of the path."""
        return self.node.name

    def get_href(self) -> str:
        """The URL path; folders end in `/`."""
        return href(self.provider.mount_path + self.provider.share_path, self.node.path,
                    is_folder=self.node.is_folder)

    @translated
    def set_last_modified(self, dest_path: str, time_stamp: float, *, dry_run: bool) -> bool:
        """Set the time of the last change, in seconds since the epoch."""
        if not dry_run:
            self.share.change_properties(self.provider.local_path(dest_path), [], modified=float(time_stamp))
        return True

    @translated
    def delete(self) -> list[Any]:
        """Delete the resource with all below it."""
        if self.node.path == "/":
            raise HttpError(403, "The root of a share cannot be deleted")
        self.share.delete(self.node.path)
        return []

    @translated
    def copy_move_single(self, dest_path: str, *, is_move: bool) -> None:
        """Copy the resource without members, or move a file."""
        destination = self.provider.local_path(dest_path)
        if is_move and not self.node.is_folder:
            self.share.move(self.node.path, destination, overwrite=True)
        else:
            self.share.copy(self.node.path, destination, overwrite=True, infinite=False)

    def support_recursive_move(self, dest_path: str) -> bool:
        """One step of the share."""
        del dest_path
        return True

    @translated
    def move_recursive(self, dest_path: str) -> list[Any]:
        """Move the resource with all below it."""
        if self.node.path == "/":
            raise HttpError(403, "The root of a share cannot be moved")
        self.share.move(self.node.path, self.provider.local_path(dest_path), overwrite=True)
        return []


class ShareFolder(_ShareResource, DAVCollection):  # type: ignore[misc]  # WsgiDAV has no types
    """A folder."""

    def __init__(self, provider: ShareProvider, node: Node, environ: dict[str, Any]) -> None:
        DAVCollection.__init__(self, node.path, environ)
        self.provider = provider
        self.node = node

    def get_used_bytes(self) -> int | None:
        """Bytes used in the share."""
        return self.share.quota().used

    def get_available_bytes(self) -> int | None:
        """Bytes that can still be written; None: unknown."""
        return self.share.quota().available

    @translated
    def get_member_names(self) -> list[str]:
        """The names of the children."""
        return [node.name for node in self.share.children(self.node)]

    @translated
    def get_member_list(self) -> list[ShareFile | ShareFolder]:
        """The children."""
        return [resource(self.provider, node, self.environ) for node in self.share.children(self.node)]

    def get_descendants(self, **options: Any) -> list[Any]:
        """As WsgiDAV's, but a COPY of depth 0 takes no members along: WsgiDAV forgets the depth."""
        if self._is_shallow_copy():
            return [self] if options.get("add_self") else []
        found: list[Any] = super().get_descendants(**options)
        return found

    def _is_shallow_copy(self) -> bool:
        return (self.environ["REQUEST_METHOD"] == "COPY" and self.environ.get("HTTP_DEPTH") == "0"
                and self.provider.local_path(self.environ["PATH_INFO"]) == self.node.path)

    def support_recursive_delete(self) -> bool:
        """One step of the share."""
        return True

    def create_empty_resource(self, name: str) -> ShareFile:
        """A file that is not there yet: PUT or LOCK make it, whole, in one step."""
        path = join(self.node.path, name)
        node = Node(id=0, path=path, is_folder=False, content=None, size=0, modified=0.0, created=0.0,
                    etag='""', media_type=None, dirty=False)
        return ShareFile(self.provider, node, self.environ)

    @translated
    def create_collection(self, name: str) -> None:
        """Make a folder."""
        self.share.make_folder(join(self.node.path, name))


class ShareFile(_ShareResource, DAVNonCollection):  # type: ignore[misc]  # WsgiDAV has no types
    """A file."""

    def __init__(self, provider: ShareProvider, node: Node, environ: dict[str, Any]) -> None:
        DAVNonCollection.__init__(self, node.path, environ)
        self.provider = provider
        self.node = node
        self._incoming: Incoming | None = None
        self._media_type: str | None = None

    def get_content_length(self) -> int:
        """Bytes."""
        return self.node.size

    def get_content_type(self) -> str:
        """The media type."""
        return content_type(self.node)

    def get_etag(self) -> str:
        """The entity tag without quotes, as WsgiDAV wants it."""
        return self.node.etag.strip('"')

    def support_etag(self) -> bool:
        """Strong tags."""
        return True

    def support_ranges(self) -> bool:
        """Readers can seek."""
        return True

    @translated
    def get_content(self) -> Reader:
        """The content, open for reading."""
        return self.share.open(self.node)

    @translated
    def begin_write(self, *, content_type: str | None = None) -> IncomingFile:
        """Receive a new content; nothing is visible before `end_write`."""
        self._incoming = self.share.receive(announced_length(self.environ))
        self._media_type = content_type or None
        return IncomingFile(self._incoming)

    @translated
    def end_write(self, *, with_errors: bool) -> None:
        """Publish the content, or drop it where it is not what was announced."""
        incoming = self._incoming
        if incoming is None:
            return
        self._incoming = None
        with incoming:
            if with_errors:
                return
            self._check_length(incoming.size)
            self.node, _ = self.share.put(self.node.path, incoming, media_type=self._media_type)

    def _check_length(self, size: int) -> None:
        for announced in (announced_length(self.environ), self.environ.get("HTTP_X_EXPECTED_ENTITY_LENGTH")):
            if announced is not None and str(announced) != str(size):
                raise HttpError(400, f"The body has {size} bytes where {announced} were announced")


class IncomingFile:
    """What WsgiDAV writes a body to."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming

    @translated
    def write(self, data: bytes) -> int:
        """Take in the next bytes."""
        return self._incoming.write(data)

    def close(self) -> None:
        """The end is told to `ShareFile.end_write`."""


