"""Opens contents that are wholly here, wherever they lie."""

from __future__ import annotations

import io
from typing import BinaryIO

from davfusion.cache.contents import ContentFiles
from davfusion.cache.index import View


def open_whole(view: View, files: ContentFiles, content: int) -> BinaryIO | None:
    """A content that is wholly here, in the index or in its cache file, for reading; None where it is not."""
    opened = view.contents.opened(content)
    if opened is None or not opened[0].whole:
        return None
    row, data = opened
    if data is not None or row.size == 0:
        return io.BytesIO(data or b"")
    try:
        return files.open(row.file or "")
    except FileNotFoundError:
        return None
