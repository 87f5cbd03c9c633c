"""Large files lie in the store as parts of equal size, each an object named by the hash of its content."""

from __future__ import annotations

from davfusion.chunks.volume import block_path

__all__ = ["block_path", "split"]


def split(size: int, block_size: int) -> list[tuple[int, int]]:
    """The ranges [start, stop) of the blocks of a file; the last may be shorter, an empty file has none.

    Raises ValueError for a negative size or a block size below 1.
    """
    if size < 0 or block_size < 1:
        raise ValueError(f"Cannot cut {size} bytes into blocks of {block_size}")
    return [(start, min(start + block_size, size)) for start in range(0, size, block_size)]
