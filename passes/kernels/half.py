"""Rows of halves, each with a scale, as the float32 that products are taken with."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.kernels import reference
from traceprop.passes.kernels.dispatch import _compiled

_half: ModuleType | None
try:
    from traceprop.passes.kernels import _half
except ImportError:
    _half = None


def widened(stored: NDArray[np.float16], scale: NDArray[Any]) -> NDArray[np.float32]:
    """Give the rows of `stored` float16 (m, p), each times its scale (m,): float32 (m, p), NumPy's bits.

    NumPy converts one half at a time, which takes longer than all the arithmetic of a hundred dot products with it.

    Raises
    ------
    ValueError
        Other shapes or types.
    """
    rows, scales = np.ascontiguousarray(stored), np.asarray(scale, dtype=np.float32)
    if rows.dtype != np.float16 or rows.ndim != 2 or scales.shape != rows.shape[:1]:
        raise ValueError(
            f"halves (m, p) and a scale of each row (m,), not {rows.dtype} {rows.shape} and {scales.shape}"
        )
    out = np.empty(rows.shape, dtype=np.float32)
    (_compiled(_half) or reference).widen(rows.view(np.uint16), scales, out)
    return out
