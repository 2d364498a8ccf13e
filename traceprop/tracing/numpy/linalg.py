"""Decompositions and solutions of linear equations: maps over blocks, exact to the cells that they read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.ir.expr import maximum, minimum
from traceprop.ir.given_map import GivenRead
from traceprop.ir.index_map import AxisRead, Full, Span, axis
from traceprop.tracing.lazy import fresh_symbol
from traceprop.tracing.numpy.calls import NoRule
from traceprop.tracing.numpy.mapped import blocks, dims_of, dtype_of, mapped, number, sample, whole
from traceprop.tracing.numpy.reductions import reduction

# -- functions of whole blocks ----------------------------------------------------------------------------------------------


def _whole(name: str) -> Callable[..., Any]:
    """Every result cell is made of every cell of its matrix."""
    function = getattr(np.linalg, name)

    def handler(a: Any, *args: Any, **kwargs: Any) -> Any:
        return blocks(f"linalg.{name}", lambda x: function(x, *args, **kwargs), [a], [2])

    return handler


def solve(a: Any, b: Any) -> Any:
    """A column of the solution reads its own column of `b` and all of `a`."""
    if np.ndim(b) == 1:
        return blocks("linalg.solve", np.linalg.solve, [a, b], [2, 1])
    return blocks(
        "linalg.solve", np.linalg.solve, [a, b], [2, 2], lambda _, n: [(Full(), Full()), (Full(), axis(n + 1))]
    )


def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, Any, Any, Any]:
    """Solution, residuals (as many as the rank says), rank and singular values; a column reads its own column of `b`."""
    columns = np.ndim(b) == 2
    n = number(a, 1, "numpy.linalg.lstsq")
    reads = [GivenRead(0, whole(a)), GivenRead(1, (Full(), axis(1)) if columns else (Full(),))]
    dtype = np.linalg.lstsq(sample(a, (1, 1)), sample(b, (1, 1)), rcond)[0].dtype
    rest = dims_of(b)[1:]

    def result(k: int, operands: list[Any], dims: Any, kind: Any, given: Any) -> Any:
        def native(x: Any, y: Any = None) -> Any:
            return np.linalg.lstsq(x, np.zeros(len(x), x.dtype) if y is None else y, rcond)[k]

        return mapped("linalg.lstsq", operands, given, dims, kind, native, result=k)

    size = min(number(a, 0, "numpy.linalg.lstsq"), n)
    return (
        result(0, [a, b], (n, *rest), dtype, reads),
        result(
            1,
            [a, b],
            (fresh_symbol("K"),),
            np.zeros(0, dtype).real.dtype,
            [GivenRead(0, whole(a)), GivenRead(1, whole(b))],
        ),
        result(2, [a], (), np.int32, reads[:1]),
        result(3, [a], (size,), np.zeros(0, dtype).real.dtype, reads[:1]),
    )


def _of_triangle(name: str) -> Callable[..., Any]:
    """LAPACK reads one triangle of a symmetric matrix, and so the other one is cut off first."""
    function = getattr(np.linalg, name)

    def handler(a: Any, UPLO: str = "L") -> Any:
        half = np.tril(a) if UPLO.upper() == "L" else np.triu(a)
        return blocks(f"linalg.{name}", lambda x: function(x, UPLO=UPLO), [half], [2])

    return handler


def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """L[i, j] is made of the rows of the lower triangle up to j, and of row i, up to column j."""
    size = number(a, np.ndim(a) - 1, "numpy.linalg.cholesky")
    half = np.triu(a) if upper else np.tril(a)
    dims = dims_of(a)
    lead = [axis(k) for k in range(len(dims) - 2)]
    i, j = axis(len(dims) - 2), axis(len(dims) - 1)
    if upper:
        i, j = j, i
    upto = minimum(j + 1, maximum(0, (i + 1 - j) * size))
    line = (Span(0, upto), i) if upper else (i, Span(0, upto))
    reads = [GivenRead(0, (*lead, Span(0, upto), Span(0, upto))), GivenRead(0, (*lead, *line))]
    dtype = np.linalg.cholesky(np.eye(1, dtype=dtype_of(a))).dtype
    native = lambda x: np.linalg.cholesky(x, upper=upper)  # noqa: E731
    return mapped("linalg.cholesky", [half], reads, dims, dtype, native, **({"upper": True} if upper else {}))


def qr(a: Any, mode: str = "reduced") -> Any:
    """Column j of Q is made of the columns up to j; R[i, j] of those up to i, and of column j."""
    if mode not in ("reduced", "complete", "r"):
        raise NoRule
    rank = np.ndim(a)
    lead = [axis(k) for k in range(rank - 2)]
    rows, columns = number(a, rank - 2, "numpy.linalg.qr"), number(a, rank - 1, "numpy.linalg.qr")
    i, j = axis(rank - 2), axis(rank - 1)
    tried = np.linalg.qr(sample(a, (*(1,) * len(lead), rows, columns)), mode)
    batch = dims_of(a)[:-2]

    def read(*places: AxisRead) -> GivenRead:
        return GivenRead(0, (*lead, Full(), *places))

    # The last reflection of a square block turns one number, which for real ones changes nothing.
    turning = rows - (dtype_of(a).kind != "c")
    # Below the diagonal R is zero, and reads nothing: these spans end where they begin.
    upto = minimum(minimum(i + 1, turning), maximum(0, (j + 1 - i) * (rows + columns)))
    of_r = [read(Span(0, upto)), read(Span(j, minimum(j + 1, maximum(j, 2 * j + 1 - i))))] if rows and columns else []

    def result(position: int | None, array: np.ndarray, reads: Sequence[GivenRead]) -> Any:
        def native(x: Any) -> Any:
            found = np.linalg.qr(x, mode)
            return found if position is None else found[position]

        attrs = {} if position is None else {"result": position}
        return mapped("linalg.qr", [a], reads, (*batch, *array.shape[-2:]), array.dtype, native, **attrs)

    if mode == "r":
        return result(None, np.asarray(tried), of_r)
    q = result(0, tried[0], [read(Span(0, minimum(j + 1, min(columns, turning))))])
    return type(tried)(q, result(1, tried[1], of_r))


def matrix_power(a: Any, n: int) -> Any:
    """As products of matrices where a power is small; else every cell reads its matrix."""
    if n in (2, 3):
        return np.matmul(a, a) if n == 2 else np.matmul(np.matmul(a, a), a)
    if n == 1:
        return a
    return blocks("linalg.matrix_power", lambda x: np.linalg.matrix_power(x, n), [a], [2])


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Of vectors along an axis, or of matrices in two: a reduction either way."""
    options = {} if ord is None else {"ord": ord}

    return reduction(np.linalg.norm, "numpy.linalg.norm", x, axis, keepdims=keepdims, **options)


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    if axis is None:
        found = norm(np.ravel(x), ord, 0)
        return np.reshape(found, (1,) * np.ndim(x)) if keepdims else found
    if isinstance(axis, (tuple, list)):
        rank = np.ndim(x)
        folded = [int(np.lib.array_utils.normalize_axis_index(k, rank)) for k in axis]
        kept = [k for k in range(rank) if k not in folded]
        turned = np.transpose(x, [*folded, *kept])
        found = norm(np.reshape(turned, (-1, *np.shape(turned)[len(folded) :])), ord, 0)
        return np.expand_dims(found, tuple(folded)) if keepdims else found
    return norm(x, ord, axis, keepdims)


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return norm(x, ord, (-2, -1), keepdims)


def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of the array as a matrix, its first `ind` axes against the others."""
    shape = [number(a, k, "numpy.linalg.tensorinv") for k in range(np.ndim(a))]
    inverse = np.linalg.inv(np.reshape(a, (int(np.prod(shape[:ind])), -1)))
    return np.reshape(inverse, (*shape[ind:], *shape[:ind]))


def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    if axes is not None:
        raise NoRule
    shape = [number(a, k, "numpy.linalg.tensorsolve") for k in range(np.ndim(b), np.ndim(a))]
    size = int(np.prod(shape))
    return np.reshape(np.linalg.solve(np.reshape(a, (size, size)), np.ravel(b)), tuple(shape))


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{getattr(np.linalg, name): _whole(name) for name in "inv pinv det slogdet svd svdvals matrix_rank cond".split()},
    **{getattr(np.linalg, name): _of_triangle(name) for name in ("eigh", "eigvalsh")},
    np.linalg.solve: solve, np.linalg.lstsq: lstsq, np.linalg.cholesky: cholesky, np.linalg.qr: qr,
    np.linalg.matrix_power: matrix_power, np.linalg.tensorinv: tensorinv, np.linalg.tensorsolve: tensorsolve,
    np.linalg.norm: norm, np.linalg.vector_norm: vector_norm, np.linalg.matrix_norm: matrix_norm,
}  # fmt: skip
