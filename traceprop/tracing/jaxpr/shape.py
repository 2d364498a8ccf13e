"""Primitives that move cells by a rule known before the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from traceprop.ir import Value
from traceprop.ir.opset import broadcast, concat, iota, reshape, slice, transpose
from traceprop.ir.types import numpy_dtype
from traceprop.tracing.jaxpr.graph import MANY_CELLS, Equation, Handler, Held, Known


def _broadcast_in_dim(e: Equation) -> Sequence[Held]:
    return [spread(e, e.x, e.shape, tuple(e["broadcast_dimensions"]))]


def spread(e: Equation, x: Value, shape: Sequence[int], places: Sequence[int]) -> Value:
    """`x` with its axes at `places` of a result of `shape`, repeated along all others."""
    rank = len(shape)
    shape = tuple(shape)
    places = (*places, *range(rank - (x.rank - len(places)), rank))  # the words of a random key lie behind its axes
    lead = rank - x.rank
    if tuple(places) != tuple(range(lead, rank)):
        wide = [1] * rank
        for k, place in enumerate(places):
            wide[place] = x.type.dims[k]
        x = e.graph.reshape(x, wide)
    if x.type.dims == shape:
        return x
    if all(n == 1 for n in shape) or np.prod(shape) == np.prod(x.type.dims) != 0:
        return e.graph.reshape(x, shape)
    return e.emit(broadcast, [x], lambda t: jnp.broadcast_to(t, shape), shape=shape)


def _reshape(e: Equation) -> Sequence[Held]:
    return [e.graph.reshape(e.x, e.shape)]


def transposed(e: Equation, x: Value, axes: Sequence[int]) -> Value:
    """Result axis k is axis `axes[k]` of `x`."""
    axes = tuple(int(k) for k in axes)
    if axes == tuple(range(x.rank)):
        return x
    if all(n == 1 for k, n in enumerate(x.type.dims) if axes[k] != k):
        return e.graph.reshape(x, [x.type.dims[k] for k in axes])
    return e.emit(transpose, [x], lambda t: t.transpose(axes), axes=axes)


def _transpose(e: Equation) -> Sequence[Held]:
    axes = tuple(e["permutation"])
    return [transposed(e, e.x, (*axes, *range(len(axes), e.x.rank)))]


def sliced(e: Equation, x: Value, index: Sequence[Any], **attrs: Any) -> Value:
    """`x[index]`, of (start, stop, step) per axis."""
    index = tuple(index)
    if all(item in ((None, None, None), (0, n, None)) for item, n in zip(index, x.type.dims, strict=False)):
        return x
    taken = tuple(np.s_[item[0] : item[1] : item[2]] for item in index)
    return e.emit(slice, [x], lambda t: t[taken], index=index, **attrs)


def _slice(e: Equation) -> Sequence[Held]:
    steps = e["strides"] or [None] * len(e["start_indices"])
    bounds = zip(e["start_indices"], e["limit_indices"], steps, e.x.type.dims, strict=False)
    return [sliced(e, e.x, [(a or None, None if b == n else b, None if s == 1 else s) for a, b, s, n in bounds])]


def reversed_along(e: Equation, x: Value, axes: Sequence[int]) -> Value:
    """`x` back to front along some axes."""
    turned = tuple(axes)
    index = tuple((None, None, -1) if k in turned else (None, None, None) for k in range(x.rank))
    return e.emit(slice, [x], lambda t: lax.rev(t, turned), index=index)


def _rev(e: Equation) -> Sequence[Held]:
    return [reversed_along(e, e.x, e["dimensions"])] if e["dimensions"] else [e.x]


def joined(e: Equation, parts: Sequence[Held], k: int) -> Value:
    """Parts one after another along an axis."""
    values = [e.graph.value(part) for part in parts]
    if len(values) == 1:
        return values[0]
    return e.emit(concat, values, lambda *arrays: lax.concatenate(arrays, k), "concatenate", axis=k)


def _concatenate(e: Equation) -> Sequence[Held]:
    return [joined(e, e.inputs, e["dimension"])]


def _tile(e: Equation) -> Sequence[Held]:
    """Each axis beside one of its own for the repeats, joined again."""
    reps = [int(n) for n in e["reps"]]
    dims = [1] * (len(reps) - e.x.rank) + list(e.x.type.dims)
    apart = e.graph.reshape(e.x, [n for d in dims for n in (1, d)])
    wide = spread(e, apart, [n for r, d in zip(reps, dims, strict=True) for n in (r, d)], range(2 * len(dims)))
    return [e.graph.reshape(wide, e.shape)]


def _stack(e: Equation) -> Sequence[Held]:
    k = int(e["axis"])
    wide = (*e.shape[:k], 1, *e.shape[k + 1 :])
    return [joined(e, [e.graph.reshape(e.graph.value(x), wide) for x in e.inputs], k)]


def _unstack(e: Equation) -> Sequence[Held]:
    k, count = int(e["axis"]), len(e.types)
    index: list[Any] = [(None, None, None)] * k
    rows = [sliced(e, e.x, [*index, (n or None, None if n == count - 1 else n + 1, None)]) for n in range(count)]
    return [e.graph.reshape(row, type.dims) for row, type in zip(rows, e.types, strict=True)]


def _split(e: Equation) -> Sequence[Held]:
    k, start, parts = e["axis"], 0, []
    for size in e["sizes"]:
        stop = start + int(size)
        item = (start or None, None if stop == e.x.type.dims[k] else stop, None)
        parts.append(sliced(e, e.x, [item if n == k else (None, None, None) for n in range(e.x.rank)]))
        start = stop
    return parts


def _pad(e: Equation) -> Sequence[Held]:
    """A concat with blocks of the padding value; between cells, through an axis of their own."""
    x, filler = e.x, e.graph.value(e.inputs[1])

    def block(shape: Sequence[int]) -> Value:
        shape = tuple(shape)
        return e.emit(broadcast, [filler], lambda t: jnp.broadcast_to(t, shape), shape=shape)

    for k, pad in enumerate(e["padding_config"]):
        low, high, between = map(int, pad)
        dims: list[int] = list(x.type.dims)
        before, size, behind = dims[:k], dims[k], dims[k + 1 :]
        if between and size > 1:
            cells = e.graph.reshape(x, (*before, size, 1, *behind))
            wide = joined(e, [cells, block((*before, size, between, *behind))], k + 1)
            x = e.graph.reshape(wide, (*before, size * (between + 1), *behind))
            size = size * (between + 1) - between
            x = sliced(e, x, [*[(None, None, None)] * k, (None, size, None)])
        first, last = max(-low, 0), size - max(-high, 0)
        if first or last != size:
            item = (first or None, max(last, first), None)
            x = sliced(e, x, [item if n == k else (None, None, None) for n in range(x.rank)])
        parts: list[Held] = [x]
        if low > 0:
            parts.insert(0, block((*before, low, *behind)))
        if high > 0:
            parts.append(block((*before, high, *behind)))
        x = joined(e, parts, k)
    return [x]


def _iota(e: Equation) -> Sequence[Held]:
    k, size, dtype = e["dimension"], e.shape[e["dimension"]], e.type.dtype
    numpy = np.dtype(e["dtype"])
    if np.prod(e.shape) <= MANY_CELLS:
        return [
            Known(np.broadcast_to(np.arange(size, dtype=numpy).reshape([-1] + [1] * (len(e.shape) - 1 - k)), e.shape))
        ]
    counted = e.emit(iota, [], lambda: lax.iota(numpy, size), dtype=dtype, size=size)
    return [spread(e, counted, e.shape, (k,))]


def _empty(e: Equation) -> Sequence[Held]:
    """Cells that are written before they are read, or never: zeros are as good as any."""
    zero = Known(np.zeros((), numpy_dtype(e.type.dtype)))
    return [spread(e, e.graph.value(zero), e.shape, ())]


HANDLERS: dict[str, Handler] = {
    "broadcast_in_dim": _broadcast_in_dim,
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    "transpose": _transpose,
    "slice": _slice,
    "rev": _rev,
    "concatenate": _concatenate,
    "split": _split,
    "tile": _tile,
    "stack": _stack,
    "unstack": _unstack,
    "pad": _pad,
    "iota": _iota,
    **dict.fromkeys(("empty", "empty2"), _empty),
}
__all__ = ["HANDLERS", "joined", "reshape", "reversed_along", "sliced", "spread", "transposed"]
