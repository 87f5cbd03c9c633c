"""Inserting several rows by one statement, which costs little more than half of what one for each does."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any


def insert_rows(connection: sqlite3.Connection, columns: str, row: str, values: Sequence[tuple[Any, ...]]) -> range:
    """Insert rows, one at least, into `table (column, ...)`; `row` is what stands for each, as `(?, 1, ?)`.

    Returns their ids where the table numbers them, in their order. Inside a transaction.
    """
    cursor = connection.execute(_insertion(columns, row, len(values)), tuple(chain.from_iterable(values)))
    assert cursor.lastrowid is not None
    return range(cursor.lastrowid - len(values) + 1, cursor.lastrowid + 1)


@lru_cache(maxsize=256)
def _insertion(columns: str, row: str, count: int) -> str:
    return f"INSERT INTO {columns} VALUES {', '.join([row] * count)}"
