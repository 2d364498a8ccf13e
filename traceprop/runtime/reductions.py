"""NumPy's reductions as the ufunc calls that they come down to: the same calls in the same order, and so the same bits.

`np.std` of a hundred cells spends most of its time in the Python around its seven ufunc calls. What is written here makes those
calls alone, for arrays and options for which that is all that NumPy does, and has a kernel for those down columns of
floats; for anything else it hands over to NumPy's own function. A form is used once NumPy has confirmed it, bit for bit, on
a handful of arrays. (NumPy ignores underflow unless it is told; down columns it is not looked for.)
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from traceprop.passes.kernels import columns

_FLOATS = frozenset("fd")
_NUMBERS = frozenset("?bhilqBHILQfdFD")
_EXACT = 1 << 24
_add, _divide, _subtract = np.add.reduce, np.true_divide, np.subtract


def _folded(ufunc: np.ufunc, own: Callable[..., Any]) -> Callable[..., Any]:
    reduce = ufunc.reduce

    def apply(a: Any, axis: Any = None, **options: Any) -> Any:
        if type(a) is np.ndarray and a.dtype.char in _NUMBERS:
            return reduce(a, axis, **options)
        return own(a, axis=axis, **options)

    apply.__name__, apply.__doc__ = own.__name__, f"`np.{own.__name__}`."
    return apply


_sum = _folded(np.add, np.sum)


def _count(a: np.ndarray, axis: Any) -> int:
    """How many cells go into one cell of the result."""
    if axis is None:
        return a.size
    shape = a.shape
    return shape[axis] if type(axis) is int else prod(shape[k] for k in axis)


def total(a: Any, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
    """`np.sum`."""
    if axis == 0 and not options and type(a) is np.ndarray and (found := columns.means(a, 1)) is not None:
        return found if not keepdims and a.ndim == 2 else _shaped(found, a.shape[1:], keepdims)
    return _sum(a, axis, keepdims=keepdims, **options)


def mean(a: Any, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
    """`np.mean`."""
    if options or type(a) is not np.ndarray or a.dtype.char not in _FLOATS or not (count := _count(a, axis)):
        return np.mean(a, axis=axis, keepdims=keepdims, **options)
    if axis == 0 and (found := columns.means(a, count)) is not None:
        return _shaped(found, a.shape[1:], keepdims)
    return _divided(_add(a, axis, None, None, keepdims), count)


def var(a: Any, axis: Any = None, ddof: Any = 0, keepdims: bool = False, **options: Any) -> Any:
    """`np.var`."""
    if options or not _plain(a, axis, ddof):
        return np.var(a, axis=axis, ddof=ddof, keepdims=keepdims, **options)
    return _spread(a, axis, ddof, keepdims, False)


def std(a: Any, axis: Any = None, ddof: Any = 0, keepdims: bool = False, **options: Any) -> Any:
    """`np.std`."""
    if options or not _plain(a, axis, ddof):
        return np.std(a, axis=axis, ddof=ddof, keepdims=keepdims, **options)
    return _spread(a, axis, ddof, keepdims, True)


def _plain(a: Any, axis: Any, ddof: Any) -> bool:
    """Whether NumPy would neither convert the cells nor warn of too few."""
    return (
        type(a) is np.ndarray
        and a.dtype.char in _FLOATS
        and a.ndim > 0
        and type(ddof) is int
        and 0 <= ddof < _count(a, axis)
    )


def _shaped(found: np.ndarray, shape: tuple[int, ...], keepdims: bool) -> np.ndarray:
    if keepdims:
        return found.reshape(1, *shape)
    return found if len(shape) == 1 else found.reshape(shape)


def _spread(a: np.ndarray, axis: Any, ddof: int, keepdims: bool, root: bool) -> Any:
    if axis == 0 and (found := columns.spreads(a, a.shape[0] - ddof, root)) is not None:
        return _shaped(found, a.shape[1:], keepdims)
    apart = _subtract(a, _divided(_add(a, axis, None, None, True), _count(a, axis)))
    squares = np.square(apart, apart)
    found = _divided(_add(squares, axis, None, None, keepdims), _count(squares, axis) - ddof)
    if not root:
        return found
    return np.sqrt(found, found) if type(found) is np.ndarray else found.dtype.type(np.sqrt(found))


def _divided(total: Any, count: int) -> Any:
    if type(total) is not np.ndarray:
        return total.dtype.type(total / np.intp(count))
    if count <= _EXACT:
        return _divide(total, _divisor(count, total.dtype.char), total)
    return _divide(total, np.intp(count), total, casting="unsafe")


@functools.lru_cache(maxsize=4096)
def _divisor(count: int, dtype: str) -> np.ndarray:
    """A count as a float. NumPy divides a float32 by it as float64, and rounds: the same, as 53 bits are twice 24 and two."""
    return np.array(count, dtype)


_FORMS: dict[str, Callable[..., Any]] = {
    "sum": total,
    "prod": _folded(np.multiply, np.prod),
    "max": _folded(np.maximum, np.max),
    "min": _folded(np.minimum, np.min),
    "any": _folded(np.logical_or, np.any),
    "all": _folded(np.logical_and, np.all),
    "mean": mean,
    "var": var,
    "std": std,
}


@functools.cache
def reduction(name: str) -> Callable[..., Any] | None:
    """The form of `np.<name>`; `None` where there is none, or where NumPy does not confirm it bit for bit."""
    form, own = _FORMS.get(name), getattr(np, name, None)
    if form is None or own is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return form if all(same_bits(form(a, **options), own(a, **options)) for a, options in _probes()) else None
    except Exception:  # a NumPy whose calls are others: its own function is the one that is right
        return None


def _probes() -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    cells = np.cos(np.arange(1.0, 241.0) ** 2).reshape(40, 6) * 1e3
    cells[:, 0] = -0.0
    for array in (cells, cells.astype(np.float32), np.asfortranarray(cells)[::3, 1:], cells > 0):
        for axis in (None, 0, (0, 1)):
            yield array, {"axis": axis, "keepdims": axis == 0}


def same_bits(one: Any, other: Any) -> bool:
    """Whether two results are of one class, dtype, shape and memory layout, with the same bits in every cell."""
    if type(one) is not type(other) or one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool(one.strides == other.strides and one.tobytes() == other.tobytes())
