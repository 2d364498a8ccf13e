"""Means and spreads down columns, with the bits of `np.mean(x, axis=0)` and `np.std(x, axis=0)`, in a pass each over the rows."""

from __future__ import annotations

from math import prod
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


def means(x: NDArray[Any], count: int) -> NDArray[Any] | None:
    """The sum of each column over `count`, flat; `None` where NumPy must do it.

    That is where an array is not one of floats in C order with rows of several cells (what lies side by side NumPy adds up in
    pairs, other cells row after row), or where a sum is not finite.
    """
    dtype, shape = x.dtype, x.shape
    if (dtype is not _DOUBLE and dtype is not _SINGLE) or len(shape) < 2 or x.flags.num & _IN_ORDER != _IN_ORDER:
        return None
    width = shape[1] if len(shape) == 2 else prod(shape[1:])
    if width < 2 or not shape[0]:
        return None
    out = np.empty(width, dtype)
    return out if _columns.column_means(x, count, out, dtype is _DOUBLE) else None


def spreads(x: NDArray[Any], count: int, root: bool) -> NDArray[Any] | None:
    """The squares around each column's mean over `count`, with `root` the root of that, flat; `None` where NumPy must do it."""
    dtype, shape = x.dtype, x.shape
    if (dtype is not _DOUBLE and dtype is not _SINGLE) or len(shape) < 2 or x.flags.num & _IN_ORDER != _IN_ORDER:
        return None
    width = shape[1] if len(shape) == 2 else prod(shape[1:])
    if width < 2 or not shape[0]:
        return None
    out = np.empty((2, width), dtype)
    return out[0] if _columns.column_spreads(x, count, root, out, dtype is _DOUBLE) else None
