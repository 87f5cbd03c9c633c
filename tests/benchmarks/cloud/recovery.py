"""A whole share comes back from its store alone."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.cloud.client import describe_folder, exchange, get_files, make_folders, put_files
from tests.benchmarks.cloud.mounts import DavfusionMount, Mount
from tests.benchmarks.cloud.saves import CONNECTIONS
from tests.benchmarks.cloud.tree import Tree
from tests.benchmarks.data import Scale
from tests.benchmarks.site import Task
from tests.benchmarks.wire import AnswerError, Client
from tests.benchmarks.work import Ask, Outcome

SIZE = 1024
"""Bytes of a file."""
_AUTHOR = (b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><author xmlns="urn:example">Zo\xc3\xab</author></D:prop>'
           b"</D:set></D:propertyupdate>")


def recover(mount: Mount, scale: Scale) -> Iterator[Task]:
    """Into an empty state directory; what is served afterwards is compared with what was served before."""
    assert isinstance(mount, DavfusionMount)
    tree = Tree("/kept", *scale.recovered, SIZE)
    make_folders(mount.url, tree)
    put_files(mount.url, tree, CONNECTIONS)
    _set_properties(mount.url, tree)
    mount.settle()
    folders = [tree.folder, *tree.folder_paths()]
    before = [describe_folder(mount.url, path) for path in folders]

    def measure() -> Outcome:
        ended = mount.recover()
        return Outcome(len(tree.paths()), ended.seconds, cpu=ended.cpu,
                       notes=[f"{ended.peak >> 20} MiB resident at the worst moment"])

    def check() -> None:
        mount.start()
        after = [describe_folder(mount.url, path) for path in folders]
        wrong = [path for path, one, other in zip(folders, before, after, strict=True) if one != other]
        if wrong:
            raise AnswerError(f"{len(wrong)} folders came back otherwise, such as {wrong[0]}")
        get_files(mount.url, tree, list(tree.samples()))

    while True:
        mount.forget()
        yield Task(measure, check)


def _set_properties(url: str, tree: Tree) -> None:
    with Client(url) as client:
        for path in tree.samples():
            exchange(client, Ask("PROPPATCH", path, (("Content-Type", "application/xml"),), _AUTHOR), 207)
