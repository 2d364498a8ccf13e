"""Calls that put cells at positions: the result asks for each of its cells which put one it holds, if any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from traceprop.ir import Dim, Expr, Kind, Value
from traceprop.ir.expr import product
from traceprop.ir.given_map import OWN_RESULT, GivenLook, GivenMap, GivenRead
from traceprop.ir.index_map import Full, axes
from traceprop.ir.opset import elementwise, gather, opaque
from traceprop.tracing.aten.call import Aten
from traceprop.tracing.aten.graph import NoRule, Sized, numbers
from traceprop.tracing.aten.indexing import one_index


def _index_put(a: Aten) -> Any:
    given, x = a["indices"], a.x
    places = [k for k, index in enumerate(given) if index is not None]
    if a["accumulate"]:
        return _added(a)
    k, index = places[0], given[places[0]]
    if len(places) == 1 and index.type.dtype == "bool":
        return _masked_put(a, index, k)
    joined, at = one_index(a, given)
    width = at.rank
    inner = x.type.dims[k + len(places) :]
    values = a.spread(a["values"], (*x.type.dims[:k], *at.type.dims, *inner))
    values = a.reshaped(values, (*x.type.dims[:k], product(at.type.dims), *inner))
    owner = _owner(a, a.reshaped(at, (product(at.type.dims),)) if width != 1 else at, joined.type.dims[k])
    return a.reshaped(_chosen(a, joined, values, owner, k), x.type.dims)


def _owner(a: Aten, index: Value, size: Dim) -> Value:
    """For each of `size` positions the last place of the index that names it, or -1."""

    def native(i: Any, sizes: Any) -> Any:
        (count,) = numbers([size], sizes)
        return torch.full((count,), -1).index_put((i,), torch.arange(len(i)))

    return a.emit(
        opaque, [index], Sized(native, [size]), "owner", "i64", _decided(), shape=(size,)
    )  # fmt: skip


def _decided() -> GivenMap:
    """(i) <- control %index[result[i]], order %index[*]"""
    return GivenMap((
        GivenRead(0, (GivenLook(OWN_RESULT, axes(1)),), Kind.CONTROL), GivenRead(0, (Full(),), Kind.ORDER)
    ))  # fmt: skip


def _chosen(a: Aten, x: Value, values: Value, owner: Value, k: int) -> Value:
    """The value that a position's owner put there; where there is no owner, the cell of `x`."""
    if values.type.dims[k] == 0:
        return x
    at = a.emit(elementwise, [owner], lambda o: o.clamp(min=0), "clamp", "i64", min=0)
    put = a.emit(gather, [values, at], lambda t, i: t.index_select(k, i), axis=k)
    held = a.emit(elementwise, [owner], lambda o: o >= 0, "ge", "bool", other=0)
    wide = a.reshaped(held, (*held.type.dims, *([1] * (x.rank - k - 1))))
    return a.emit(elementwise, [wide, put, x], torch.where, "where", control=(0,))


def _masked_put(a: Aten, mask: Value, k: int) -> Value:
    """Where the mask is false, the cell of %x; else the value, one for all or the next in line."""
    x, values = a.x, a["values"]
    inner = x.type.dims[k + mask.rank :]
    wide = a.reshaped(mask, (*mask.type.dims, *([1] * len(inner))))
    line = len(inner) + 1  # counted from behind, the axis along which values lie in line
    if values.rank < line or values.type.dims[-line] == 1:
        dims = values.type.dims
        if values.rank >= line:
            values = a.reshaped(
                values, (*dims[: values.rank - line], *([1] * mask.rank), *dims[values.rank - line + 1 :])
            )
        return a.emit(elementwise, [wide, values, x], torch.where, "where", control=(0,))
    flat = a.reshaped(x, (*x.type.dims[:k], product(mask.type.dims), *inner))
    count = values.type.dims[-line]
    owner = _in_line(a, a.reshaped(mask, (product(mask.type.dims),)), count)
    values = a.spread(values, (*x.type.dims[:k], count, *inner))
    return a.reshaped(_chosen(a, flat, values, owner, k), x.type.dims)


def _in_line(a: Aten, mask: Value, count: Dim) -> Value:
    """For each position of a mask how many before it are chosen, or -1 where it isn't itself."""

    def native(m: Any) -> Any:
        if isinstance(count, int) and int(m.sum()) != count and a.name == "index_put":
            raise ValueError(f"{count} values are put at {int(m.sum())} chosen positions")
        return torch.where(m, m.cumsum(0) - 1, -1)

    rule = GivenMap((GivenRead(0, axes(1), Kind.CONTROL), GivenRead(0, (Full(),), Kind.ORDER)))
    return a.emit(opaque, [mask], native, "place_in_line", "i64", rule, shape=mask.type.dims)


def _masked_scatter(a: Aten) -> Value:
    x, mask, source = a.x, a["mask"], a["source"]
    if x.type.dims != a.type.dims:
        x = a.spread(x, a.type.dims)
    size = product(a.type.dims)
    count = product(source.type.dims)
    owner = _in_line(a, a.reshaped(a.spread(mask, a.type.dims), (size,)), count)
    flat = _chosen(a, a.reshaped(x, (size,)), a.reshaped(source, (count,)), owner, 0)
    return a.reshaped(flat, a.type.dims)


def _scatter(a: Aten) -> Any:
    """Along an axis: every cell of the index puts its value at a position of its own line."""
    x, index = a.x, a["index"]
    if a["reduce"] is not None or not x.rank or not index.rank:
        return _added(a)
    k = a.axis()
    others = [n for n in range(x.rank) if n != k]
    if any(index.type.dims[n] != x.type.dims[n] for n in others):
        return _added(a)
    if index.type.dims[k] == 0:
        return x

    def native(i: Any, sizes: Any) -> Any:
        shape = [1] * i.ndim
        shape[k] = -1
        places = torch.arange(i.shape[k]).reshape(shape).expand(i.shape)
        return torch.full(numbers(x.type.dims, sizes), -1).scatter(k, i, places)

    names = axes(x.rank)
    own = tuple(GivenLook(OWN_RESULT, names) if n == k else name for n, name in enumerate(names))
    line = tuple(Full() if n == k else name for n, name in enumerate(names))
    rule = GivenMap((GivenRead(0, own, Kind.CONTROL), GivenRead(0, line, Kind.ORDER)))
    owner = a.emit(opaque, [index], Sized(native, x.type.dims), "owner", "i64", rule, shape=x.type.dims)
    held = a.emit(elementwise, [owner], lambda o: o >= 0, "ge", "bool", other=0)
    source = a["src"]
    if not isinstance(source, Value):
        put = a.held(a["value"], a.type.dtype) if not isinstance(a["value"], Value) else a["value"]
    else:
        for n, (have, want) in enumerate(zip(source.type.dims, index.type.dims, strict=True)):
            if have != want:
                if isinstance(have, Expr) or isinstance(want, Expr):
                    raise NoRule
                source = a.narrowed(source, n, 0, want)
        at = a.emit(elementwise, [owner], lambda o: o.clamp(min=0), "clamp", "i64", min=0)
        put = a.taken(source, at, k, "gather")
    return a.emit(elementwise, [held, put, x], torch.where, "where", control=(0,))


def _added(a: Aten) -> Any:
    """(i, j) <- %x[i, j], %values[*, *], and all indices decided it: which, only the positions know. Not exact."""
    reads = [GivenRead(0, axes(a.x.rank))]
    for n, value in enumerate(a.tensors[1:], 1):
        whole = value.type.dtype in ("i64", "i32", "bool")  # type: ignore[union-attr]
        reads.append(GivenRead(n, (Full(),) * value.rank, Kind.CONTROL if whole else Kind.DATA))
    return a.mapped(*reads, exact=False)


HANDLERS: dict[str, Callable[[Aten], Any]] = {
    **dict.fromkeys(("index_put", "_unsafe_index_put"), _index_put),
    **dict.fromkeys("scatter_add scatter_reduce index_reduce index_add".split(), _added),
    "scatter": _scatter,
    "masked_scatter": _masked_scatter,
}
