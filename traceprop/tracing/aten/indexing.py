"""Calls that take cells at positions: of an index, a mask, or a sort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from traceprop.ir import Dim, Expr, Kind, Value
from traceprop.ir.expr import product
from traceprop.ir.given_map import OWN_RESULT, GivenLook, GivenMap, GivenRead
from traceprop.ir.index_map import Full, axes
from traceprop.ir.opset import elementwise, filter, gather, opaque, sort
from traceprop.ir.opset.elementwise import broadcast_dims
from traceprop.tracing.aten.call import Aten
from traceprop.tracing.aten.graph import NoRule
from traceprop.tracing.aten.shape import joined


def _sort(a: Aten) -> tuple[Value, Value]:
    if not a.x.rank:
        raise NoRule
    k = a.axis()
    down: dict[str, Any] = {"descending": True} if a["descending"] else {}
    order = a.emit(sort, [a.x], lambda t: a.native(t)[1], axis=k, **down)
    return a.taken(a.x, order, k, "sort"), order


def _topk(a: Aten) -> tuple[Value, Value]:
    """Which of equal cells are taken is the call's own choice, so that it gives the positions itself."""
    if not a.x.rank:
        raise NoRule
    k, names = a.axis(), axes(a.x.rank)
    own = tuple(GivenLook(OWN_RESULT, names) if n == k else name for n, name in enumerate(names))
    column = tuple(Full() if n == k else name for n, name in enumerate(names))
    rule = GivenMap((GivenRead(0, own, Kind.CONTROL), GivenRead(0, column, Kind.ORDER)))
    if a.sizes:
        raise NoRule
    first = a.emit(
        opaque, [a.x], lambda t: a.native(t)[1], "topk", "i64", rule, shape=a.type.dims, **a.scalars()
    )  # fmt: skip
    return a.taken(a.x, first, k, "topk"), first


def _gather(a: Aten) -> Value:
    k, x, index = a.axis(), *a.tensors
    if not x.rank or not index.rank:
        raise NoRule
    for other, (have, want) in enumerate(zip(x.type.dims, index.type.dims, strict=True)):
        if other != k and have != want:
            if isinstance(have, Expr) or isinstance(want, Expr):
                raise NoRule
            x = a.narrowed(x, other, 0, want)
    return a.taken(x, index, k, "gather")


def _index_select(a: Aten) -> Value:
    if not a.x.rank or a.tensors[1].rank != 1:
        raise NoRule
    return a.emit(gather, axis=a.axis())


def _embedding(a: Aten) -> Value:
    return a.emit(gather, axis=0, native=lambda weight, index: torch.embedding(weight, index))


def _reflected(mirror: bool) -> Callable[[Aten], Value]:
    def handler(a: Aten) -> Value:
        """Cells beyond the border are those before it: a gather by positions known before the run, axis by axis."""
        x, widths = a.x, a["padding"]
        for n in range(len(widths) // 2):
            k = x.rank - 1 - n
            low, high, size = widths[2 * n], widths[2 * n + 1], x.type.dims[k]
            if isinstance(low, Expr) or isinstance(high, Expr) or isinstance(size, Expr):
                raise NoRule
            at = np.arange(-low, size + high)
            inside = size - 1 - np.abs(size - 1 - np.abs(at)) if mirror else np.clip(at, 0, size - 1)
            index = a.held(inside, "i64")
            x = a.emit(gather, [x, index], lambda t, i, k=k: t.index_select(k, i), axis=k)
        return x

    return handler


def positions(a: Aten, mask: Value, size: Dim) -> Value:
    """Where a mask of any rank is true, as positions in row-major order; as many as `size` says."""

    def found(m: Any) -> Any:
        places = torch.nonzero(m).squeeze(1)
        if isinstance(size, int) and len(places) != size:
            raise ValueError(f"the mask chooses {len(places)} rows where the function, as traced, needs {size}")
        return places

    return a.emit(filter, [a.reshaped(mask, (product(mask.type.dims),))], found, size=size)


def _index(a: Aten) -> Value:
    """One index array, whole numbers or a mask, or neighbouring ones of whole numbers, as one into their joined axes."""
    given = a["indices"]
    places = [k for k, index in enumerate(given) if index is not None]
    k, index = places[0], given[places[0]]
    if len(places) == 1 and index.type.dtype in ("bool", "u8"):
        if index.type.dtype == "u8":
            raise NoRule
        flat = a.reshaped(a.x, (*a.x.type.dims[:k], product(index.type.dims), *a.x.type.dims[k + index.rank :]))
        at = positions(a, index, a.type.dims[k])
        return a.emit(gather, [flat, at], lambda t, i: t.index_select(k, i), axis=k)
    x, at = one_index(a, given)
    return a.emit(gather, [x, at], lambda t, i: t[(np.s_[:],) * k + (i,)], axis=k)


def _masked_select(a: Aten) -> Value:
    """Both repeated to one shape, and the cells in row-major order where the mask is true."""
    shape = broadcast_dims(a.x.type.dims, a["mask"].type.dims)
    cells = a.reshaped(a.spread(a.x, shape), (product(shape),))
    at = positions(a, a.spread(a["mask"], shape), a.type.dims[0])
    return a.emit(gather, [cells, at], lambda t, i: t[i], axis=0)


def one_index(a: Aten, given: Sequence[Value | None]) -> tuple[Value, Value]:
    """The first tensor and one index of whole numbers for its axes that are indexed, joined to one where there are several."""
    places = [k for k, index in enumerate(given) if index is not None]
    k, count = places[0], len(places)
    indices: list[Value] = [index for index in given if index is not None]
    if places != list(range(k, k + count)) or any(i.type.dtype in ("bool", "u8") for i in indices):  # type: ignore[union-attr]
        raise NoRule
    if count == 1:
        return a.x, indices[0]
    sizes = a.x.type.dims[k : k + count]
    if not all(isinstance(n, int) for n in sizes):
        raise NoRule

    def flat(*tensors: Any) -> Any:
        total: Any = 0
        for t, n in zip(tensors, sizes, strict=True):
            if t.numel() and bool(((t < -n) | (t >= n)).any()):
                raise IndexError(f"an index is out of bounds for an axis of size {n}")
            total = total * n + torch.where(t < 0, t + n, t)
        return total

    at = a.emit(elementwise, indices, flat, "ravel_index", "i64", sizes=tuple(sizes))
    return a.reshaped(a.x, (*a.x.type.dims[:k], product(sizes), *a.x.type.dims[k + count :])), at


def _nonzero(a: Aten) -> Value:
    """Positions in row-major order, taken apart into one column per axis."""
    mask, dims = a.x, a.x.type.dims
    if not mask.rank or any(isinstance(dim, Expr) for dim in dims[1:]):
        raise NoRule
    if mask.type.dtype != "bool":  # type: ignore[union-attr]
        mask = a.emit(elementwise, [mask], lambda t: t != 0, "ne", "bool")
    found = positions(a, mask, a.type.dims[0])
    columns = []
    for k, size in enumerate(dims):
        inner = int(product(dims[k + 1 :]))  # type: ignore[arg-type]
        column = found
        if mask.rank > 1:
            wrap = size if k else None

            def one(t: Any, inner: int = max(inner, 1), wrap: Any = wrap) -> Any:
                place = t // inner
                return place if wrap is None else place % max(wrap, 1)

            column = a.emit(elementwise, [found], one, "unravel_index", "i64", part=k)
        columns.append(a.reshaped(column, (*column.type.dims, 1)))
    return joined(a, columns, 1)


def _bucketize(a: Aten) -> Any:
    """(i) <- %x[i], %boundaries[*]"""
    if len(a.tensors) != 2 or a.sizes:
        raise NoRule
    x, edges = (a.tensors[0], a.tensors[1]) if a.name == "bucketize" else (a.tensors[1], a.tensors[0])
    lead = axes(x.rank)[:-1] if edges.rank > 1 else ()
    first = GivenRead(a.tensors.index(x), axes(x.rank))
    return a.mapped(first, GivenRead(1 - first.operand, (*lead, Full())))


def _repeats(a: Aten) -> Any:
    """Each position as often as its own cell says; the others decide where it lands."""
    (size,) = a.type.dims
    own = (GivenLook(OWN_RESULT, axes(1)),)
    rule = GivenMap((GivenRead(0, own, Kind.CONTROL), GivenRead(0, (Full(),), Kind.ORDER)))
    return a.emit(opaque, [a.x], lambda t: torch.repeat_interleave(t), "repeat_interleave", "i64", rule, shape=(size,))


HANDLERS: dict[str, Callable[[Aten], Any]] = {
    "sort": _sort,
    "topk": _topk,
    "gather": _gather,
    "index_select": _index_select,
    "embedding": _embedding,
    "nonzero": _nonzero,
    "masked_select": _masked_select,
    "repeat_interleave": _repeats,
    **dict.fromkeys(("index", "_unsafe_index"), _index),
    **dict.fromkeys(("bucketize", "searchsorted"), _bucketize),
    **{f"reflection_pad{n}d": _reflected(True) for n in (1, 2, 3)},
    **{f"replication_pad{n}d": _reflected(False) for n in (1, 2, 3)},
}
