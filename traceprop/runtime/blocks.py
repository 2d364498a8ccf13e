"""What the code of a segment calls to go over rows block by block, so that what is between two ops stays in the cache.

Every bit is NumPy's own: a function of cells gives the same cell whatever stands beside it, and NumPy folds the rows of a matrix
in row order one after another, as is done here from block to block. `tests/runtime/test_blocks.py` holds both to it.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from traceprop.passes.kernels.rows import SHORT, sum_of_rows

LARGE = 1 << 16
"""From so many cells on a segment is computed in blocks; below, what is between its ops fits the cache as a whole."""
BLOCK = 1 << 14
"""The cells of a block: 128 KiB of 64 bits, several of which fit a core's own cache."""
FOR_TWO = 1 << 19
"""From so many cells on the second core pays for its thread."""


def row_major(*arrays: np.ndarray) -> bool:
    """Whether arrays lie in memory row after row, without gaps."""
    return all(array.flags.c_contiguous for array in arrays)


def rows_of_block(cells: int) -> int:
    """How many rows of so many cells are a block."""
    return max(1, BLOCK // max(1, cells))


def blocks(first: int, last: int, rows: int) -> Iterator[tuple[int, int]]:
    """The blocks of the rows from `first` to `last`."""
    for start in range(first, last, rows):
        yield start, min(start + rows, last)


def tiled(row: np.ndarray, rows: int) -> np.ndarray:
    """So many copies of a row, under one another."""
    return np.ascontiguousarray(np.broadcast_to(row, (rows, *row.shape)))


def folded(function: np.ufunc, room: np.ndarray, rows: int, total: np.ndarray | None) -> np.ndarray:
    """The fold of what came before and of `rows` more, which stand in `room` from its second row on."""
    if function is np.add and room[0].size < SHORT:
        return sum_of_rows(room[1 : rows + 1], total)
    if total is None:
        return function.reduce(room[1 : rows + 1], axis=0)  # type: ignore[no-any-return]
    room[0] = total
    return function.reduce(room[: rows + 1], axis=0, out=total)  # type: ignore[no-any-return]


def averaged(total: Any, count: int) -> Any:
    """A sum divided as `np.mean` divides it; an array in place."""
    if isinstance(total, np.ndarray):
        return np.true_divide(total, np.intp(count), out=total, casting="unsafe")
    return total.dtype.type(total / np.intp(count))


def over_rows(sweep: Callable[[int, int], None], rows: int, cells: int, worth_two: int = 0) -> None:
    """Runs `sweep(first, last)` over all rows: at once, or in two halves where a second core is free to take one.

    A second core pays from `worth_two` cells on. Its thread lives no longer than the sweep, so that a process may fork behind
    it, and has the context of the first one (`np.errstate`).
    """
    if cells < (worth_two or FOR_TWO) or _cores() < 2:
        return sweep(0, rows)
    half, failed = rows // 2, []
    context = contextvars.copy_context()

    def second() -> None:
        try:
            context.run(sweep, half, rows)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=second, name="traceprop-rows")
    thread.start()
    try:
        sweep(0, half)
    finally:
        thread.join()
    if failed:
        raise failed[0]
    return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


PAYLOADS: dict[str, Callable[..., Any]] = {
    "row_major": row_major,
    "rows_of_block": rows_of_block,
    "blocks": blocks,
    "tiled": tiled,
    "sum_of_rows": sum_of_rows,
    "folded": folded,
    "averaged": averaged,
    "over_rows": over_rows,
}
