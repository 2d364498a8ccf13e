"""Calls that move cells by a rule known before the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from traceprop.ir import Dim, Expr, Value
from traceprop.ir.expr import maximum, minimum, mod
from traceprop.ir.given_map import GivenRead
from traceprop.ir.index_map import Full, Span, axes, axis
from traceprop.ir.opset import concat, elementwise, gather, slice, transpose
from traceprop.tracing.aten.call import ALL, Aten
from traceprop.tracing.aten.graph import NoRule


def _expand(a: Aten) -> Value:
    return a.spread(a.x, a.type.dims)


def _reshape(a: Aten) -> Value:
    if a.type.dtype != a.x.type.dtype:  # type: ignore[union-attr]
        raise NoRule
    return a.reshaped(a.x, a.type.dims)


def _permute(a: Aten) -> Value:
    rank = a.x.rank
    order = list(range(rank))
    if a.name.startswith("permute"):
        order = [int(k) % rank for k in a["dims"]]
    elif a.name.startswith("transpose"):
        i, j = a.axis("dim0"), a.axis("dim1")
        if rank:
            order[i], order[j] = order[j], order[i]
    else:
        order.reverse()
    return a.emit(transpose, axes=tuple(order))


def _slice(a: Aten) -> Value:
    if a.x.type == a.type and (a["step"] or 1) == 1:
        return a.x
    start, stop, step = a["start"] or 0, a["end"], a.number("step")
    if isinstance(start, Expr) or isinstance(stop, Expr):
        raise NoRule
    return a.sliced(a.x, a.axis(), (start, None if stop is None or stop >= 2**62 else stop, step), a.native)


def _select(a: Aten) -> Value:
    return a.sliced(a.x, a.axis(), a.number("index"), a.native)


def _flip(a: Aten) -> Value:
    places = {int(k) % max(a.x.rank, 1) for k in a["dims"]}
    return a.emit(slice, index=tuple((None, None, -1) if k in places else ALL for k in range(a.x.rank)))


def _split(a: Aten) -> tuple[Value, ...]:
    k, start, parts = a.axis(), 0, []
    for out in a.out:
        size = a.graph.dim(out.shape[k])
        if isinstance(size, Expr):
            if len(a.out) == 1:
                return (a.x,)
            raise NoRule
        parts.append(a.narrowed(a.x, k, start, start + size))
        start += size
    return tuple(parts)


def _unbind(a: Aten) -> tuple[Value, ...]:
    k = a.axis()
    return tuple(a.sliced(a.x, k, n, lambda t, n=n: t.select(k, n)) for n in range(len(a.out)))


def joined(a: Aten, parts: list[Value], k: int) -> Value:
    """Parts one after another along an axis."""
    if len(parts) == 1:
        return parts[0]
    return a.emit(concat, parts, lambda *tensors: torch.cat(tensors, k), "cat", axis=k)


def _cat(a: Aten) -> Value:
    k = a.axis(rank=len(a.type.dims))
    parts = [x for x in a.tensors if not (x.rank == 1 and x.type.dims[0] == 0)] or a.tensors[:1]
    if len(parts) == 1 and parts[0].type != a.type:
        raise NoRule
    return joined(a, parts, k)


def _stack(a: Aten) -> Value:
    k = a.axis(rank=a.x.rank + 1)
    return joined(a, [a.reshaped(x, (*x.type.dims[:k], 1, *x.type.dims[k:])) for x in a.tensors], k)


def _pad(a: Aten) -> Value:
    """A concat with blocks of the padding value, axis by axis; a negative width cuts."""
    x, widths = a.x, a["pad"]
    if a.sizes:
        raise NoRule
    value = a["value"] if a["value"] is not None else 0
    for n in range(len(widths) // 2):
        k = x.rank - 1 - n
        low, high = int(widths[2 * n]), int(widths[2 * n + 1])
        if min(low, high) < 0:
            x = a.narrowed(x, k, max(-low, 0), _known(x.type.dims[k]) - max(-high, 0))
        parts = [x]
        for place, width in ((0, low), (1, high)):
            if width > 0:
                shape = (*x.type.dims[:k], width, *x.type.dims[k + 1 :])
                parts.insert(place * len(parts), a.spread(a.held(value, a.type.dtype), shape))
        x = joined(a, parts, k)
    return x


def _known(dim: Dim) -> int:
    if isinstance(dim, Expr):
        raise NoRule
    return dim


def _triangle(a: Aten) -> Any:
    """tril: (i, j) <- %x[i, j] where j <= i+diagonal, and nothing elsewhere."""
    off = a.number("diagonal")
    *lead, i, j = axes(a.x.rank)
    kept = Span(j, minimum(j + 1, i + (off + 1))) if a.name == "tril" else Span(maximum(j, i + off), j + 1)
    return a.mapped(GivenRead(0, (*lead, i, kept)))


def _diagonal(a: Aten) -> Any:
    """(i) <- %x[i, i+offset]"""
    off, rank = a.number("offset"), a.x.rank
    first, second = a.axis("dim1"), a.axis("dim2")
    rest = iter(axes(rank - 2))
    last = axis(rank - 2)
    places = {first: last + max(-off, 0), second: last + max(off, 0)}
    return a.mapped(GivenRead(0, tuple(places[k] if k in places else next(rest) for k in range(rank))))


def _unfold(a: Aten) -> Any:
    """Windows as a last axis of their own: (i, j) <- %x[i*step+j]."""
    if not a.x.rank:
        raise NoRule
    k, step = a.axis("dimension"), a.number("step")
    places: list[Any] = list(axes(a.x.rank))
    places[k] = places[k] * step + axis(a.x.rank)
    return a.mapped(GivenRead(0, tuple(places)))


def _repeat(a: Aten) -> Any:
    """(i, j) <- %x[i%rows, j%columns]"""
    times = a["repeats"]
    if a.sizes:
        raise NoRule
    lead = len(times) - a.x.rank
    places = [
        0 if size in (0, 1) else axis(lead + k) if times[lead + k] == 1 else mod(axis(lead + k), size)
        for k, size in enumerate(a.x.type.dims)
    ]
    return a.mapped(GivenRead(0, tuple(0 if 0 in times else place for place in places)))


def _as_strided(a: Aten) -> Value:
    """A view of memory: the cells that lay there when the function was traced, taken by positions."""
    fake = a.fakes[0]
    if a.sizes or any(isinstance(n, Expr) for n in (*a.x.type.dims, *a.type.dims)):
        raise NoRule
    shape, stride = [int(n) for n in a["size"]], [int(n) for n in a["stride"]]
    offset = int(fake.storage_offset() if a["storage_offset"] is None else a["storage_offset"])
    own = _places([int(n) for n in fake.shape], [int(n) for n in fake.stride()], int(fake.storage_offset()))
    wanted = _places(shape, stride, offset)
    cell_at = np.full(max(own.max(initial=-1), wanted.max(initial=-1)) + 1, -1)
    cell_at[own.ravel()] = np.arange(own.size)
    index = cell_at[wanted]
    if (index < 0).any():
        raise NoRule  # memory that is not among the cells of %x
    flat = a.reshaped(a.x, (own.size,))
    return a.emit(gather, [flat, a.held(index, "i64")], lambda t, i: t[i], axis=0)


def _places(shape: list[int], stride: list[int], offset: int) -> np.ndarray:
    """Where in memory each cell of a strided array lies."""
    found = np.full(shape, offset)
    for k, (size, step) in enumerate(zip(shape, stride, strict=True)):
        found += (np.arange(size) * step).reshape([-1 if n == k else 1 for n in range(len(shape))])
    return found


def _as_real(a: Aten) -> Any:
    """Real and imaginary parts as a last axis: (i, j) <- %x[i]"""
    return a.mapped(GivenRead(0, axes(a.x.rank)))


def _as_complex(a: Aten) -> Any:
    return a.mapped(GivenRead(0, (*axes(a.x.rank)[:-1], Full())))


def _slice_scatter(a: Aten) -> Value:
    """%x with a run of cells along an axis replaced: what is before it, the source, what is behind it."""
    x, source = a.tensors
    k = a.axis()
    if source.type == x.type:
        return source
    if a.sizes:
        raise NoRule
    size = _known(x.type.dims[k])
    positions = range(size)[a["start"] : a["end"] : a["step"]]
    if len(positions) and positions.step != 1:
        order = np.arange(size)
        order[positions] = size + np.arange(len(positions))
        index, dtype = a.held(order, "i64"), a.out.dtype
        both = joined(a, [x, a.emit(elementwise, [source], lambda t: t.to(dtype), "_to_copy")], k)
        return a.emit(gather, [both, index], lambda t, i: t.index_select(k, i), axis=k)
    return _placed(a, x, source, k, positions.start, max(positions.stop, positions.start))


def _select_scatter(a: Aten) -> Value:
    x, source = a.tensors
    k = a.axis()
    at = a.number("index") % _known(x.type.dims[k])
    wide = a.reshaped(source, (*source.type.dims[:k], 1, *source.type.dims[k:]))
    return _placed(a, x, wide, k, at, at + 1)


def _placed(a: Aten, x: Value, source: Value, k: int, start: int, stop: int) -> Value:
    if start == stop:
        return x
    size = _known(x.type.dims[k])
    dtype = a.out.dtype
    if source.type.dtype != x.type.dtype:  # type: ignore[union-attr]
        source = a.emit(elementwise, [source], lambda t: t.to(dtype), "_to_copy")
    parts = [source]
    if start:
        parts.insert(0, a.narrowed(x, k, 0, start))
    if stop < size:
        parts.append(a.narrowed(x, k, stop, size))
    return joined(a, parts, k)


HANDLERS: dict[str, Callable[[Aten], Any]] = {
    **dict.fromkeys(
        "view view_copy _unsafe_view reshape _reshape_alias unsqueeze unsqueeze_copy squeeze squeeze_copy "
        "squeeze_ unsqueeze_".split(),
        _reshape,
    ),
    **dict.fromkeys("expand expand_copy".split(), _expand),
    **dict.fromkeys("permute permute_copy t t_ t_copy transpose transpose_ transpose_copy".split(), _permute),
    **dict.fromkeys("slice slice_copy".split(), _slice),
    **dict.fromkeys("select select_copy".split(), _select),
    **dict.fromkeys("split split_copy split_with_sizes split_with_sizes_copy chunk".split(), _split),
    **dict.fromkeys("unbind unbind_copy".split(), _unbind),
    **dict.fromkeys("tril triu".split(), _triangle),
    **dict.fromkeys("diagonal diagonal_copy".split(), _diagonal),
    **dict.fromkeys("unfold unfold_copy".split(), _unfold),
    "flip": _flip,
    "repeat": _repeat,
    **dict.fromkeys("as_strided as_strided_copy".split(), _as_strided),
    "view_as_real": _as_real,
    "view_as_real_copy": _as_real,
    "view_as_complex": _as_complex,
    "view_as_complex_copy": _as_complex,
    "cat": _cat,
    "stack": _stack,
    "constant_pad_nd": _pad,
    "slice_scatter": _slice_scatter,
    "select_scatter": _select_scatter,
}
