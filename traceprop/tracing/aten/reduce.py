"""Calls that fold an axis: to one cell, to a running one, or to one beside each cell (softmax)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traceprop.ir.given_map import GivenMap, GivenRead
from traceprop.ir.index_map import Full, Kind, axes
from traceprop.ir.opset import elementwise, opaque, reduce, scan
from traceprop.tracing.aten.call import Aten
from traceprop.tracing.aten.graph import NoRule


def _reduction(a: Aten) -> Any:
    """(j) <- %x[*, j]; of two results, one fold each."""
    if len(a.tensors) != 1:
        raise NoRule
    rank = a.x.rank
    given = a["dim"]
    named = range(rank) if given is None or given == [] else (given if isinstance(given, list) else [given])
    places = tuple(sorted({int(k) % max(rank, 1) for k in named})) if rank else ()
    extra = {k: v for k, v in a.scalars().items() if k not in ("dim", "keepdim")}
    if a["keepdim"]:
        extra["keepdims"] = True
    definition = reduce if rank else elementwise
    if rank:
        extra["axes"] = places
    else:
        extra.pop("keepdims", None)
    return a.results(lambda out, n, native: a.emit(definition, None, native, dtype=out.dtype, **extra, **n))


def _scan(a: Aten) -> Any:
    if not a.x.rank:
        return a.results(lambda out, n, native: a.emit(elementwise, None, native, dtype=out.dtype, **n))
    return a.results(lambda out, n, native: a.emit(scan, None, native, dtype=out.dtype, axis=a.axis(), **n))


def _softmax(a: Aten) -> Any:
    """(i, j) <- %x[i, j], %x[i, *]: the row's own cell, and the sum over its axis."""
    if not a.x.rank:
        return a.emit(elementwise)
    k, own = a.axis(), axes(a.x.rank)
    return a.mapped(GivenRead(0, own), GivenRead(0, (*own[:k], Full(), *own[k + 1 :])))


def _distinct(a: Aten) -> Any:
    """The distinct values are a statistic of all cells, and how often each is there; which of them a cell is, its own."""
    if not a.x.rank or a.sizes:
        raise NoRule
    own, every = axes(a.x.rank), (Full(),) * a.x.rank
    kinds = {1: (GivenRead(0, own, Kind.CONTROL), GivenRead(0, every, Kind.ORDER))}

    def one(out: Any, number: dict[str, Any], native: Any) -> Any:
        rule = GivenMap(kinds.get(number.get("result", 0), (GivenRead(0, every),)))
        if number.get("result") == 1 and out.dims != a.x.type.dims:
            rule = GivenMap(())  # not asked for: empty
        return a.emit(opaque, None, native, dtype=out.dtype, rule=rule, shape=out.dims, **a.scalars(), **number)

    return a.results(one)


HANDLERS: dict[str, Callable[[Aten], Any]] = {
    **dict.fromkeys(
        "sum mean var std amax amin max min any all prod argmax argmin logsumexp var_mean std_mean median nanmedian mode nansum "
        "count_nonzero linalg_vector_norm norm aminmax kthvalue".split(),
        _reduction,
    ),
    **dict.fromkeys("cumsum cumprod cummax cummin logcumsumexp".split(), _scan),
    **dict.fromkeys("_unique2 unique_consecutive unique_dim bincount histc".split(), _distinct),
    **dict.fromkeys("_softmax _log_softmax _safe_softmax".split(), _softmax),
}
