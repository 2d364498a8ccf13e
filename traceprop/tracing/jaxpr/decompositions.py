"""Decompositions and triangular solutions: maps over blocks, exact to the cells that they read.

LAPACK reads one triangle of a triangular or symmetric matrix, and so the other one is cut off first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from traceprop.ir import Kind, Value
from traceprop.ir.expr import maximum, minimum
from traceprop.ir.given_map import GivenMap, GivenRead
from traceprop.ir.index_map import Bound, Full, Span, axes, axis
from traceprop.ir.opset import broadcast, gather, opaque
from traceprop.ir.types import numpy_dtype
from traceprop.tracing.jaxpr.graph import Equation, Handler, Held, NoRule
from traceprop.tracing.jaxpr.linalg import matrices
from traceprop.tracing.jaxpr.rows import taken_along


def _half(e: Equation, x: Value, lower: bool, k: int = 0) -> Value:
    """(i, j) <- %x[i, j] on one side of the diagonal number `k`, and nothing on the other."""
    i, j = axis(x.rank - 2), axis(x.rank - 1)
    kept = Span(j, minimum(j + 1, i + (k + 1))) if lower else Span(maximum(j, i + k), j + 1)
    rule = GivenMap((GivenRead(0, (*axes(x.rank - 1), kept)),))
    native = functools.partial(jnp.tril if lower else jnp.triu, k=k)
    name = "tril" if lower else "triu"
    return e.emit(opaque, [x], native, name, x.type.dtype, rule, shape=x.type.dims)


def _cholesky(e: Equation) -> Sequence[Held]:
    """L[i, j] is made of the rows of the lower triangle up to j, and of row i, up to column j.

    Whether there is such a matrix at all, or NaN in its place, the whole triangle decides.
    """
    half = _half(e, e.x, lower=True)
    size, rank = int(half.type.dims[-1]), half.rank
    lead, i, j = axes(rank - 2), axis(rank - 2), axis(rank - 1)
    below = maximum(0, (i + 1 - j) * (size + 1))  # 0 above the diagonal, whose cells are not the factor's
    upto, whole = Span(0, minimum(j + 1, below)), Span(0, minimum(size, below))
    reads = (
        GivenRead(0, (*lead, upto, upto)),
        GivenRead(0, (*lead, i, upto)),
        GivenRead(0, (*lead, whole, whole), Kind.CONTROL),
    )
    return [e.emit(opaque, [half], rule=GivenMap(reads), shape=e.shape)]


def _qr(e: Equation) -> Sequence[Held]:
    """Column j of Q is made of the columns up to j; R[i, j] of those up to i, and of column j."""
    x = e.x
    if e.params.get("pivoting"):
        raise NoRule
    rows, columns, rank = int(x.type.dims[-2]), int(x.type.dims[-1]), x.rank
    lead, i, j = axes(rank - 2), axis(rank - 2), axis(rank - 1)
    # The last reflection of a square block turns one number, which for real ones changes nothing.
    turning = rows - (numpy_dtype(x.type.dtype).kind != "c")
    # Below the diagonal R is zero, and reads nothing: these spans end where they begin.
    upto = Span(0, minimum(minimum(i + 1, turning), maximum(0, (j + 1 - i) * (rows + columns))))
    own = Span(j, minimum(j + 1, maximum(j, 2 * j + 1 - i)))
    of_q = (GivenRead(0, (*lead, Full(), Span(0, minimum(j + 1, min(columns, turning))))),)
    of_r = (GivenRead(0, (*lead, Full(), upto)), GivenRead(0, (*lead, Full(), own)))
    return e.opaque([GivenMap(of_q), GivenMap(of_r)], **e.scalars())


def _lu(e: Equation) -> Sequence[Held]:
    """Rows are put in an order, which the columns so far decide row by row; the factors are made of the ordered rows.

    With t = min(i, j): (i, j) <- %ordered[0..t, 0..t], %ordered[i, 0..t], %ordered[0..t, j].
    """
    x = e.x
    rows, columns, rank = int(x.type.dims[-2]), int(x.type.dims[-1]), x.rank
    lead, i, j = axes(rank - 2), axis(rank - 2), axis(rank - 1)
    choices = min(rows - 1, columns)  # of the last row there is no choice
    factors, pivots, order = e.result_natives()
    so_far = GivenRead(0, (*lead, Full(), Span(0, minimum(i + 1, choices))))
    chosen = GivenMap((GivenRead(0, so_far.axes, where=(Bound(rank - 2, None, choices),)),))
    pivot = e.emit(opaque, [x], pivots, "lu_pivots", e.types[1].dtype, chosen, shape=e.types[1].dims)
    permutation = e.emit(opaque, [x], order, "lu_order", e.types[2].dtype, GivenMap((so_far,)), shape=e.types[2].dims)
    ordered = _rows_in_order(e, x, permutation)
    before, upto = Span(0, minimum(i, j + 1)), Span(0, minimum(i, j) + 1)
    reads = (
        GivenRead(0, (*lead, upto, before)),
        GivenRead(0, (*lead, i, before)),
        GivenRead(0, (*lead, upto, j)),
    )
    # The rows are ordered as they are eliminated: to compute the factors of ordered ones would be to round otherwise.
    lu = e.emit(opaque, [ordered, x], functools.partial(_behind, factors), rule=GivenMap(reads), shape=e.shape)
    return [lu, pivot, permutation]


def _behind(factors: Callable[..., Any], ordered: Any, x: Any) -> Any:
    return factors(x)


def _rows_in_order(e: Equation, x: Value, order: Value) -> Value:
    if x.rank == 2:
        return e.emit(gather, [x, order], lambda t, i: t.at[i].get(mode="promise_in_bounds"), "take", axis=0)
    shape = x.type.dims
    wide = e.graph.reshape(order, (*order.type.dims, 1))
    wide = e.emit(broadcast, [wide], lambda t: jnp.broadcast_to(t, shape), shape=shape)
    return taken_along(e, x, wide, x.rank - 2)


def _triangular_solve(e: Equation) -> Sequence[Held]:
    """Row i of the solution reads the rows up to i of a lower triangle, and of its own column; columns from the right."""
    a, b = e.x, e.graph.value(e.inputs[1])
    batch = b.rank - 2
    if a.type.dims[:batch] != b.type.dims[:batch]:
        raise NoRule
    lower, left = bool(e["lower"]), bool(e["left_side"])
    unit = 1 if e["unit_diagonal"] else 0
    half = _half(e, a, lower, -unit if lower else unit)
    lead, k = axes(batch), axis(batch if left else batch + 1)
    forward = (lower != bool(e["transpose_a"])) == left
    done = Span(0, k + 1) if forward else Span(k, int(a.type.dims[-1]))
    own = (done, axis(batch + 1)) if left else (axis(batch), done)
    reads = (GivenRead(0, (*lead, done, done)), GivenRead(1, (*lead, *own)))
    return [e.emit(opaque, [half, b], rule=GivenMap(reads), shape=e.shape, **e.scalars())]


def _or_whole(handler: Handler) -> Handler:
    """Of matrices without a cell, and where a handler has no rule, every result cell reads its matrix."""

    def guarded(e: Equation) -> Sequence[Held]:
        try:
            if all(e.x.type.dims):
                return handler(e)
        except NoRule:
            pass
        return matrices(False)(e)

    return guarded


HANDLERS: dict[str, Handler] = {
    "cholesky": _or_whole(_cholesky),
    "qr": _or_whole(_qr),
    "lu": _or_whole(_lu),
    "triangular_solve": _triangular_solve,
}
