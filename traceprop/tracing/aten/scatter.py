"""Calls that put cells at positions: the result asks for each of its cells which put one it holds, if any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from traceprop.ir import Dim, Expr, Kind, Value
from traceprop.ir.expr import floordiv, mod, product
from traceprop.ir.given_map import OWN_RESULT, GivenLook, GivenMap, GivenMembers, GivenRead
from traceprop.ir.index_map import Full, Span, axes, axis
from traceprop.ir.opset import constant, elementwise, gather, opaque
from traceprop.tracing.aten.call import Aten
from traceprop.tracing.aten.graph import NoRule, Sized, numbers
from traceprop.tracing.aten.indexing import one_index
from traceprop.tracing.aten.shape import joined as concatenated


def _index_put(a: Aten) -> Any:
    given, x = a["indices"], a.x
    places = [k for k, index in enumerate(given) if index is not None]
    if a["accumulate"]:
        return _put_and_added(a)
    k, index = places[0], given[places[0]]
    if len(places) == 1 and index.type.dtype == "bool":
        return _masked_put(a, index, k)
    joined, at = one_index(a, given)
    width = at.rank
    inner = x.type.dims[k + len(places) :]
    values = a.spread(a["values"], (*x.type.dims[:k], *at.type.dims, *inner))
    values = a.reshaped(values, (*x.type.dims[:k], product(at.type.dims), *inner))
    if at.op is not None and at.op.definition is constant and isinstance(joined.type.dims[k], int):
        index = np.asarray(at.op.attrs["value"]).ravel()
        order = np.arange(joined.type.dims[k])
        order[index] = joined.type.dims[k] + np.arange(len(index))
        both = concatenated(a, [joined, values], k)
        found = a.emit(gather, [both, a.held(order, "i64")], lambda t, i: t.index_select(k, i), axis=k)
        return a.reshaped(found, x.type.dims)
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
        return _anywhere(a)
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


def _by_members(
    a: Aten,
    operands: list[Value],
    k: int,
    native: Callable[..., Any],
    line: Full | Span = Full(),  # noqa: B008
    exact: bool = True,
    **attrs: Any,
) -> Value:
    """Of %x, %values and %at, where %at gives each value its position along axis k:
    (i, j) <- %x[i, j], %values[%at==i, j], control %at[%at==i], order %at[*]

    `line`: the part of %at that could name the position.
    """
    x, _, _ = operands
    names = axes(x.rank)
    members = GivenMembers(2, names[k])
    rule = GivenMap((
        GivenRead(0, names), GivenRead(1, (*names[:k], members, *names[k + 1 :])), GivenRead(2, (members,), Kind.CONTROL),
        GivenRead(2, (line,), Kind.ORDER),
    ), exact)  # fmt: skip
    return a.emit(opaque, operands, native, dtype=a.type.dtype, rule=rule, shape=x.type.dims, **attrs)


def _from_the_front(a: Aten, at: Value, size: Dim) -> Value:
    """Positions counted from the front, as a vector."""

    def native(t: Any, sizes: Any) -> Any:
        (count,) = numbers([size], sizes)
        return torch.where(t < 0, t + count, t).long()

    found = a.emit(elementwise, [at], Sized(native, [size]), "from_the_front", "i64")
    return a.reshaped(found, (product(at.type.dims),))


def _put_and_added(a: Aten) -> Any:
    """`index_put` that adds up: along one axis, or several joined to one."""
    given, x = a["indices"], a.x
    places = [k for k, index in enumerate(given) if index is not None]
    k = places[0]
    if given[k].type.dtype == "bool":
        return _anywhere(a)
    whole, at = one_index(a, given)
    inner = x.type.dims[k + len(places) :]
    values = a.spread(a["values"], (*x.type.dims[:k], *at.type.dims, *inner))
    values = a.reshaped(values, (*x.type.dims[:k], product(at.type.dims), *inner))
    index = _from_the_front(a, at, whole.type.dims[k])
    found = _by_members(a, [whole, values, index], k, lambda t, v, i: t.index_add(k, i, v.to(t.dtype)))
    return a.reshaped(found, x.type.dims)


def _index_added(a: Aten) -> Any:
    """`index_add`, `index_reduce`: along one axis."""
    x, index = a.x, a["index"]
    if not x.rank or not index.rank or a.sizes:
        return _anywhere(a)
    k = a.axis()
    return _by_members(a, [x, a["source"], index], k, lambda t, v, i: a.native(t, i, v), **a.scalars("dim"))


def _added(a: Aten) -> Any:
    """`scatter_add` and its like: all axes as one, along which every cell of the index has one position."""
    x, index, source = a.x, a["index"], a["src"]
    if not x.rank or not index.rank or not isinstance(source, Value):
        return _anywhere(a)
    k, dims = a.axis(), x.type.dims
    for n, (have, want) in enumerate(zip(source.type.dims, index.type.dims, strict=True)):
        if have != want:
            if isinstance(have, Expr) or isinstance(want, Expr):
                raise NoRule
            source = a.narrowed(source, n, 0, want)

    def place(i: Any, sizes: Any) -> Any:
        wide, total = numbers(dims, sizes), torch.zeros((), dtype=torch.int64)
        for n, size in enumerate(wide):
            line = torch.arange(i.shape[n]).reshape([-1 if m == n else 1 for m in range(i.ndim)])
            total = total * size + (i if n == k else line)
        return total.expand(i.shape) if i.numel() else i

    size, count = product(dims), product(index.type.dims)
    at = a.reshaped(a.emit(elementwise, [index], Sized(place, dims), "ravel_index", "i64", along=k), (count,))
    options = {"reduce": a["reduce"], "include_self": a["include_self"]} if a.name == "scatter_reduce" else {}
    reduce = {"add": "sum", "multiply": "prod"}.get(a["reduce"] or "add", a["reduce"])
    kept = {} if a["include_self"] is None else {"include_self": a["include_self"]}
    native = lambda t, v, i: t.scatter_reduce(0, i, v.to(t.dtype), reduce, **kept)  # noqa: E731
    flat = [a.reshaped(x, (size,)), a.reshaped(source, (count,)), at]
    line = _line(dims, index.type.dims, k)
    shown = {f"{key}_": value for key, value in options.items()}
    found = _by_members(a, flat, 0, native, Full() if line is None else line, line is not None, **shown)
    return a.reshaped(found, dims)


def _line(dims: tuple[Dim, ...], index: tuple[Dim, ...], k: int) -> Full | Span | None:
    """Of all places of an index along axis k, one after another, those in the line of cell number i. None where no span says."""
    others = [n for n in range(len(dims)) if n != k]
    if not others:
        return Full()
    if any(dims[n] != index[n] for n in others) or k not in (0, len(dims) - 1):
        return None
    if k == 0:
        width = product(dims[1:])
        return Span(mod(axis(0), width), product(index), width) if isinstance(width, int) and width else None
    size, many = dims[k], index[k]
    if not isinstance(size, int) or not isinstance(many, int) or not size:
        return None
    first = floordiv(axis(0), size) * many
    return Span(first, first + many)


def _anywhere(a: Aten) -> Any:
    """(i, j) <- %x[i, j], %values[*, *], and all indices decided it: which, only the positions know. Not exact."""
    reads = [GivenRead(0, axes(a.x.rank))]
    for n, value in enumerate(a.tensors[1:], 1):
        whole = value.type.dtype in ("i64", "i32", "bool")  # type: ignore[union-attr]
        reads.append(GivenRead(n, (Full(),) * value.rank, Kind.CONTROL if whole else Kind.DATA))
    return a.mapped(*reads, exact=False)


HANDLERS: dict[str, Callable[[Aten], Any]] = {
    **dict.fromkeys(("index_put", "_unsafe_index_put"), _index_put),
    **dict.fromkeys("scatter_add scatter_reduce".split(), _added),
    **dict.fromkeys("index_reduce index_add".split(), _index_added),
    "scatter": _scatter,
    "masked_scatter": _masked_scatter,
}
