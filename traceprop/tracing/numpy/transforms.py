"""Fourier transforms over some axes, triangles and diagonals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.ir.expr import maximum, minimum
from traceprop.ir.given_map import GivenRead
from traceprop.ir.index_map import AxisRead, Full, Span, axis
from traceprop.tracing.numpy.calls import NoRule, axis_of, item_along
from traceprop.tracing.numpy.mapped import dims_of, dtype_of, mapped, number


def _transform(name: str, several: bool) -> Callable[..., Any]:
    """Every cell along the axes of a transform is made of all cells there."""
    function = getattr(np.fft, name)

    def handler(a: Any, n: Any = None, axis: Any = None, norm: Any = None, out: Any = None, **options: Any) -> Any:
        given = options.pop("s", n)
        rank = np.ndim(a)
        if given is not None:
            if several or "irfft" in name or "hfft" in name:
                raise NoRule
            return handler(_of_length(a, -1 if axis is None else axis, int(given)), None, axis, norm, **options)
        if several:
            axes = options.pop("axes", axis)
            axes = ((-2, -1) if "2" in name else tuple(range(rank))) if axes is None else tuple(axes)
        else:
            axes = (-1 if axis is None else axis,)
        if options:
            raise NoRule
        places = {axis_of(k, rank) for k in axes}
        keyword = {"axes": axes} if several else {"axis": axes[0]}
        tried = function(
            np.ones([number(a, k, f"numpy.fft.{name}") if k in places else 1 for k in range(rank)], dtype_of(a)),
            norm=norm, **keyword,
        )  # fmt: skip
        dims = [tried.shape[k] if k in places else dim for k, dim in enumerate(dims_of(a))]
        reads = [GivenRead(0, tuple(Full() if k in places else _own(k) for k in range(rank)))]
        return mapped(f"fft.{name}", [a], reads, dims, tried.dtype, lambda x: function(x, norm=norm, **keyword))

    return handler


_own = axis


def _of_length(a: Any, axis: int, count: int) -> Any:
    """Cut at a length along an axis, or with zeros up to it."""
    place = axis_of(axis, np.ndim(a))
    size = number(a, place, "numpy.fft")
    if size >= count:
        return item_along(a, place, slice(0, count))
    widths = [(0, count - size) if k == place else (0, 0) for k in range(np.ndim(a))]
    return np.pad(a, widths)


def _shifted(sign: int) -> Callable[..., Any]:
    def handler(x: Any, axes: Any = None) -> Any:
        listed = range(np.ndim(x)) if axes is None else [axes] if isinstance(axes, int) else axes
        for k in listed:
            size = number(x, axis_of(k, np.ndim(x)), "numpy.fft.fftshift")
            x = np.roll(x, size // 2 if sign > 0 else -(size // 2), axis=k)
        return x

    return handler


# -- triangles and diagonals ------------------------------------------------------------------------------------------------


def _triangle(name: str) -> Callable[..., Any]:
    """(i, j) <- %x[i, j] on one side of a diagonal, and nothing on the other."""
    function = getattr(np, name)

    def handler(m: Any, k: int = 0) -> Any:
        rank = np.ndim(m)
        if rank < 2:
            raise NoRule
        i, j = axis(rank - 2), axis(rank - 1)
        kept = Span(j, minimum(j + 1, i + (k + 1))) if name == "tril" else Span(maximum(j, i + k), j + 1)
        reads = [GivenRead(0, (*(axis(n) for n in range(rank - 1)), kept))]
        return mapped(name, [m], reads, dims_of(m), dtype_of(m), lambda x: function(x, k))

    return handler


def diag(v: Any, k: int = 0) -> Any:
    if np.ndim(v) == 2:
        return np.diagonal(v, k)
    size = number(v, 0, "numpy.diag") + abs(k)
    i, j = axis(0), axis(1)
    off = j - i - k
    place = i if k >= 0 else j
    # place .. place+1 where off is 0, and empty elsewhere
    reads = [GivenRead(0, (Span(place, minimum(place + 1 + off, place + 1 - off)),))]
    return mapped("diag", [v], reads, (size, size), dtype_of(v), lambda x: np.diag(x, k))


def diagflat(v: Any, k: int = 0) -> Any:
    return diag(np.ravel(v), k)


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonal of every matrix, as the last axis."""
    rank = np.ndim(a)
    if rank < 2:
        raise ValueError("diag requires an array of at least two dimensions")
    first, second = axis_of(axis1, rank), axis_of(axis2, rank)
    rows, columns = number(a, first, "numpy.diagonal"), number(a, second, "numpy.diagonal")
    count = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    dims = [dim for k, dim in enumerate(dims_of(a)) if k not in (first, second)]
    step = axis(len(dims))
    outer = iter(range(len(dims)))
    places: list[AxisRead] = [0] * rank
    for k in range(rank):
        places[k] = (
            step + max(-offset, 0) if k == first else step + max(offset, 0) if k == second else axis(next(outer))
        )
    native = lambda x: np.diagonal(x, offset, axis1, axis2)  # noqa: E731
    return mapped("diagonal", [a], [GivenRead(0, tuple(places))], (*dims, count), dtype_of(a), native)


def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Any:
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


def _last_two(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, /, *, offset=0, **options: function(x, offset, -2, -1, **options)


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{getattr(np.fft, name): _transform(name, False) for name in "fft ifft rfft irfft hfft ihfft".split()},
    **{getattr(np.fft, name): _transform(name, True) for name in "fft2 ifft2 rfft2 irfft2 fftn ifftn rfftn irfftn".split()},
    np.fft.fftshift: _shifted(1), np.fft.ifftshift: _shifted(-1),
    np.tril: _triangle("tril"), np.triu: _triangle("triu"),
    np.diag: diag, np.diagflat: diagflat, np.diagonal: diagonal, np.trace: trace,
    np.linalg.trace: _last_two(trace), np.linalg.diagonal: _last_two(diagonal),
    np.linalg.matrix_transpose: lambda x, /: np.swapaxes(x, -1, -2), np.matrix_transpose: lambda x, /: np.swapaxes(x, -1, -2),
}  # fmt: skip
