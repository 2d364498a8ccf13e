"""A call on the cluster beside the same call on this machine: values to rounding, lineage to the cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import traceprop as tp
from tests.passes.optimize.in_parts import alike
from traceprop.errors import LineageError
from traceprop.runtime.dask.executor import DaskExecutor
from traceprop.sources import Source
from traceprop.tracing.call import Call
from traceprop.tracing.lazy import Lazy

KINDS = ("direct", "aggregate", "control", "order", "any")


def on_cluster(call: Call, client: Any, rows: int | None = None) -> Call:
    """The same call with another executor; `rows` per partition."""
    return Call(call.program, call.inputs, DaskExecutor(client, rows), call.options)


def check_call(call: Call, client: Any, rows: int | None = None) -> Call:
    """Values, sizes and every recorded position."""
    there = on_cluster(call, client, rows)
    here, found = call.outcome(), there.outcome()
    for got, want in zip(found.results, here.results, strict=True):
        alike(got, want)
    for value, positions in here.captures.items():
        if value not in found.captures:  # a constant, or of something that nobody asked for
            continue
        np.testing.assert_array_equal(np.asarray(found.captures[value]), np.asarray(positions))
    returned = {str(dim) for value in call.program.returns for dim in value.type.dims if str(dim) in here.sizes}
    assert returned <= found.sizes.keys()
    assert all(found.sizes[name] == here.sizes[name] for name in found.sizes.keys() & here.sizes.keys())
    return there


def check_lineage(call: Call, there: Call, some: int = 3) -> None:
    """Answers of every kind about some rows of every result, backwards and forwards."""
    for value, same_value in zip(call.program.returns, there.program.returns, strict=True):
        if not value.rank:
            continue
        here = Lazy.of(value, call=call)
        one, other = tp.provenance(here), tp.provenance(Lazy.of(same_value, call=there))
        rows = here.concrete_shape()[0]
        assert one.exact == other.exact
        for row in np.unique(np.linspace(0, rows - 1, some).astype(int)) if rows else []:
            for kind in KINDS:
                same(*(answer(view.rows, int(row), kind=kind) for view in (one, other)))
            same(*(answer(view.cells, int(row)) for view in (one, other)))
        filled = {source.id for given in call.inputs for source in _sources(given) if source.n_rows}
        for source in filled & set(one.sources()):
            same(*({source: answer(view.affected_rows, source, [0])} for view in (one, other)))


def _sources(given: Any) -> list[Source]:
    return [given] if isinstance(given, Source) else given.sources()


def answer(ask: Callable[..., Any], *asked: Any, **how: Any) -> Any:
    """What is answered, or the refusal."""
    try:
        return ask(*asked, **how)
    except LineageError as error:
        return {"refused": np.array(str(error))}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for source, cells in one.items():
        np.testing.assert_array_equal(cells, other[source])
