"""Partial derivatives of element-wise functions: for each payload, one function per operand of operands and result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Partial = Callable[..., Any]


def _present(cells: np.ndarray) -> np.ndarray:
    return ~np.isnan(cells) if cells.dtype.kind in "fc" else np.ones(cells.shape, dtype=bool)


def _or_zero(cells: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Cells where they count, 0 elsewhere: what is missing has no slope, and no NaN."""
    return np.where(keep, cells, 0.0)


def _of_or(cells: np.ndarray, weight: np.ndarray, result: np.ndarray) -> np.ndarray:
    return np.asarray(weight != 0, dtype=np.float64)


_MAXIMUM = (lambda x, y, r: (x > y) + 0.5 * (x == y), lambda x, y, r: (y > x) + 0.5 * (x == y))
_POWER = (lambda x, y, r: y * x ** np.asarray(y - 1.0), lambda x, y, r: r * np.log(np.where(x > 0, x, 1.0)))
_DIVIDE = (lambda x, y, r: 1.0 / y, lambda x, y, r: -x / (np.asarray(y) * y))

PARTIALS: dict[str, tuple[Partial | None, ...]] = {
    "numpy.add": (lambda x, y, r: 1.0, lambda x, y, r: 1.0),
    "numpy.subtract": (lambda x, y, r: 1.0, lambda x, y, r: -1.0),
    "numpy.multiply": (lambda x, y, r: y, lambda x, y, r: x),
    **dict.fromkeys(("numpy.divide", "numpy.true_divide"), _DIVIDE),
    "numpy.negative": (lambda x, r: -1.0,),
    "numpy.positive": (lambda x, r: 1.0,),
    "numpy.astype": (lambda x, r: 1.0,),
    "numpy.copy": (lambda x, r: 1.0,),
    "numpy.sqrt": (lambda x, r: np.where(r > 0, 0.5 / np.where(r > 0, r, 1.0), 0.0),),
    "numpy.square": (lambda x, r: 2.0 * x,),
    "numpy.exp": (lambda x, r: r,),
    "numpy.exp2": (lambda x, r: r * np.log(2.0),),
    "numpy.expm1": (lambda x, r: r + 1.0,),
    "numpy.log": (lambda x, r: 1.0 / x,),
    "numpy.log2": (lambda x, r: 1.0 / (x * np.log(2.0)),),
    "numpy.log10": (lambda x, r: 1.0 / (x * np.log(10.0)),),
    "numpy.log1p": (lambda x, r: 1.0 / (1.0 + x),),
    "numpy.reciprocal": (lambda x, r: -r * r,),
    "numpy.sin": (lambda x, r: np.cos(x),),
    "numpy.cos": (lambda x, r: -np.sin(x),),
    "numpy.tanh": (lambda x, r: 1.0 - r * r,),
    "numpy.arctan": (lambda x, r: 1.0 / (1.0 + x * x),),
    **dict.fromkeys(("numpy.abs", "numpy.absolute", "numpy.fabs"), (lambda x, r: np.sign(x),)),
    "numpy.maximum": _MAXIMUM,
    "numpy.minimum": (_MAXIMUM[1], _MAXIMUM[0]),
    **dict.fromkeys(("numpy.power", "numpy.float_power"), _POWER),
    "numpy.where": (None, lambda c, x, y, r: c, lambda c, x, y, r: ~np.asarray(c, dtype=bool)),
    "numpy.hypot": (lambda x, y, r: x / r, lambda x, y, r: y / r),
    "weighted.scaled": (lambda x, w, r: w, lambda x, w, r: _or_zero(x, np.isfinite(x) | (w != 0))),
    "weighted.scaled_present": (
        lambda x, w, r: np.where(_present(x), w, 0.0),
        lambda x, w, r: _or_zero(x, _present(x)),
    ),
    "weighted.of_present": (None, lambda x, w, r: _present(x)),
    "weighted.ratio": _DIVIDE,
    "weighted.less": (lambda x, y, r: r > 0, None),
    **{
        f"weighted.or_{name}": (_of_or, None) for name in ("zero", "one", "true", "false", "nan", "largest", "smallest")
    },
}
FLAT = frozenset(
    {f"numpy.{name}" for name in ("sign", "floor", "ceil", "rint", "trunc", "round", "ones_like", "zeros_like")}
    | {"weighted.one", "weighted.nonzero"}
)
"""Functions whose cells have slope 0 wherever they have one."""
