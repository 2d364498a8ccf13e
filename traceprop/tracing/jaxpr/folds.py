"""Primitives that fold axes: reductions, running folds, contractions."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from jax import lax

from traceprop.ir.opset import contract, elementwise, reduce, scan
from traceprop.tracing.jaxpr.graph import Equation, Handler, Held, NoRule
from traceprop.tracing.jaxpr.shape import reversed_along


def _reduce(e: Equation) -> Sequence[Held]:
    axes = tuple(int(k) for k in e["axes"])
    return [e.emit(reduce, e.inputs, axes=axes)] if axes or not e.x.rank else [e.emit(elementwise)]


def _general_reduce(e: Equation) -> Sequence[Held]:
    """`lax.reduce` with the user's own function: over one array and one start it is a fold like others."""
    if len(e.inputs) != 2:
        raise NoRule
    axes = tuple(int(k) for k in e["dimensions"])
    folded = e.emit(reduce, e.inputs[:1], lambda t: e.native(t, start_of(e)), axes=axes)
    return [folded]


def start_of(e: Equation) -> Any:
    """The start of a fold, where it is known."""
    start = e.inputs[1]
    if not hasattr(start, "array"):
        raise NoRule
    return start.array


def _running(e: Equation) -> Sequence[Held]:
    k = int(e["axis"])
    if not e["reverse"]:
        return [e.emit(scan, axis=k)]
    turned = reversed_along(e, e.x, (k,))
    folded = e.emit(scan, [turned], lambda t: lax.rev(e.native(lax.rev(t, (k,))), (k,)), axis=k)
    return [reversed_along(e, folded, (k,))]


def _dot_general(e: Equation) -> Sequence[Held]:
    (left_folded, right_folded), (left_batch, right_batch) = e["dimension_numbers"]
    left, right = (e.graph.value(x) for x in e.inputs)
    # In the order in which einsum's users write them: shared rows, the left one's, what is summed, the right one's.
    letters = iter(string.ascii_letters)
    a, b = [""] * left.rank, [""] * right.rank
    for i, j in zip(left_batch, right_batch, strict=True):
        a[i] = b[j] = next(letters)
    batch = "".join(a[i] for i in left_batch)
    a = [letter if letter or i in left_folded else next(letters) for i, letter in enumerate(a)]
    for i, j in zip(left_folded, right_folded, strict=True):
        a[i] = b[j] = next(letters)
    b = [letter or next(letters) for letter in b]
    free = [a[i] for i in range(left.rank) if i not in (*left_batch, *left_folded)]
    free += [b[j] for j in range(right.rank) if j not in (*right_batch, *right_folded)]
    return [e.emit(contract, [left, right], spec=f"{''.join(a)},{''.join(b)}->{batch}{''.join(free)}")]


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(
        "reduce_sum reduce_prod reduce_max reduce_min reduce_and reduce_or reduce_xor argmax argmin".split(), _reduce
    ),
    "reduce": _general_reduce,
    **dict.fromkeys("cumsum cumprod cummax cummin cumlogsumexp".split(), _running),
    "dot_general": _dot_general,
}
