"""Rows of a matrix added one after another, as NumPy adds them, in registers where rows are short."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.kernels import reference

_rows: ModuleType | None
try:
    from traceprop.passes.kernels import _rows
except ImportError:
    _rows = None

SHORT = 64
"""From so many columns on NumPy's own loop over a row is as fast."""
_PANEL = 1 << 13
"""Cells that are gone through column by column while they are in the nearest cache."""


def sum_of_rows(rows: NDArray[Any], total: NDArray[Any] | None = None) -> NDArray[Any]:
    """`total` and the rows (n, …) of a C-contiguous float array added one after another, as `np.add.reduce` does over axis 0.

    Bit by bit; and where a sum is not finite NumPy adds again, so that its warnings are given too.

    >>> sum_of_rows(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.5, 0.5]))
    array([4.5, 6.5])
    """
    width = rows[0].size if len(rows) else 0
    if _rows is not None and 1 < width < SHORT and rows.dtype in (np.float32, np.float64):
        found = np.zeros(rows.shape[1:], rows.dtype) if total is None else total + 0.0  # NumPy too begins with 0.0
        _rows.add_rows(rows.reshape(len(rows), width), found.reshape(width), max(1, _PANEL // width))
        if np.isfinite(found).all():
            return found
    return reference.sum_of_rows(rows, total)
