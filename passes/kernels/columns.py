"""Means and spreads down columns, with the bits of `np.mean(x, axis=0)` and `np.std(x, axis=0)`, in a pass each over the rows."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.kernels import reference

_columns: ModuleType | Any
try:
    from traceprop.passes.kernels import _columns
except ImportError:
    _columns = reference

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_IN_ORDER = 0x101  # the flags C_CONTIGUOUS and ALIGNED


def fits(x: NDArray[Any], width: int) -> bool:
    """Whether an array, seen as rows of `width` cells, is one that the kernels take: floats in C order, at least one row.

    A single column is none: NumPy adds up in pairs where what it adds lies side by side, and row after row elsewhere.
    """
    dtype = x.dtype
    return width > 1 and (dtype is _DOUBLE or dtype is _SINGLE) and x.flags.num & _IN_ORDER == _IN_ORDER and x.size > 0


def means(x: NDArray[Any], width: int, count: int) -> NDArray[Any] | None:
    """The sum of each column of an array that `fits`, over `count`: (width,); `None` where one is not finite."""
    dtype = x.dtype
    out = np.empty(width, dtype)
    return out if _columns.column_means(x, count, out, dtype is _DOUBLE) else None


def spreads(x: NDArray[Any], width: int, count: int, root: bool) -> NDArray[Any] | None:
    """The squares around each column's mean over `count`, with `root` the root of that; `None` where one is not finite."""
    dtype = x.dtype
    out = np.empty((2, width), dtype)
    return out[0] if _columns.column_spreads(x, count, root, out, dtype is _DOUBLE) else None
