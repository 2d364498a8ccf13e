"""Primitives that fold axes: reductions, running folds, contractions, windows."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from jax import lax

from traceprop.ir import ArrayType, Dim
from traceprop.ir.expr import maximum, minimum
from traceprop.ir.given_map import GivenMap, GivenRead
from traceprop.ir.index_map import Full, Span, axis
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


def _seen(place: int, size: int, stride: int, width: int, dilation: int, pad: tuple[int, int]) -> tuple[Any, bool]:
    """The positions of an axis of `size` under a window, for result axis `place`; and whether these are no others."""
    low, high = pad
    first: Dim = axis(place) * stride - low
    stop: Dim = first + ((width - 1) * dilation + 1)
    if width == 1 and low <= 0 and high <= 0:
        return first, True
    if low <= 0:
        return Span(first, minimum(stop, size), dilation), True
    return Span(maximum(first, 0), minimum(stop, size)), dilation == 1


def _conv(e: Equation) -> Sequence[Held]:
    """A result cell reads a window of positions over all input features (of its group), and its own output's weights."""
    numbers = e["dimension_numbers"]
    x, w = e.x, e.graph.value(e.inputs[1])
    if any(n != 1 for n in e["lhs_dilation"]) or e["batch_group_count"] != 1:
        return e.opaque(_conv_coarse(e))
    places: list[Any] = [Full()] * x.rank
    places[numbers.lhs_spec[0]] = axis(numbers.out_spec[0])
    exact = e["feature_group_count"] == 1
    for n, pad in enumerate(e["padding"]):
        there = numbers.lhs_spec[2 + n]
        places[there], tight = _seen(
            numbers.out_spec[2 + n], _int(x.type.dims[there]), e["window_strides"][n],
            _int(w.type.dims[numbers.rhs_spec[2 + n]]), e["rhs_dilation"][n], pad,
        )  # fmt: skip
        exact &= tight and pad == (0, 0)  # a window that hangs over the edge uses some weights only
    weights: list[Any] = [Full()] * w.rank
    weights[numbers.rhs_spec[0]] = axis(numbers.out_spec[1])
    return e.opaque(GivenMap((GivenRead(0, tuple(places)), GivenRead(1, tuple(weights))), exact))


def _conv_coarse(e: Equation) -> GivenMap:
    numbers = e["dimension_numbers"]
    places: list[Any] = [Full()] * e.x.rank
    if e["batch_group_count"] == 1:
        places[numbers.lhs_spec[0]] = axis(numbers.out_spec[0])
    return GivenMap((GivenRead(0, tuple(places)), GivenRead(1, (Full(),) * len(places))), False)


def _int(dim: Dim) -> int:
    if not isinstance(dim, int):
        raise NoRule
    return dim


def _reduce_window(e: Equation) -> Sequence[Held]:
    """Each result cell folds the cells under its window."""
    x = e.x
    if any(n != 1 for n in e.params.get("base_dilation", ())):
        raise NoRule
    widths = e["window_dimensions"]
    dilations = e.params.get("window_dilation") or (1,) * x.rank
    places, exact = [], True
    for k, size in enumerate(x.type.dims):
        place, tight = _seen(k, _int(size), e["window_strides"][k], widths[k], dilations[k], e["padding"][k])
        places.append(place)
        exact &= tight
    reads = tuple(GivenRead(n, tuple(places) if value_rank(held) == x.rank else ()) for n, held in enumerate(e.inputs))
    return e.opaque(GivenMap(reads, exact))


def value_rank(held: Held) -> int:
    """How many axes a value has."""
    return len(held.type.dims) if hasattr(held, "type") and isinstance(held.type, ArrayType) else held.array.ndim


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(
        "reduce_sum reduce_prod reduce_max reduce_min reduce_and reduce_or reduce_xor argmax argmin".split(), _reduce
    ),
    "reduce": _general_reduce,
    **dict.fromkeys("cumsum cumprod cummax cummin cumlogsumexp".split(), _running),
    "dot_general": _dot_general,
    "conv_general_dilated": _conv,
    **dict.fromkeys("reduce_window_sum reduce_window_max reduce_window_min reduce_window".split(), _reduce_window),
}
