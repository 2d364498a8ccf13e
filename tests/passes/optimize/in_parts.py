"""A call run in parts, beside the same call run whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from tests.passes.behind import cells
from traceprop.ir.executor import Outcome
from traceprop.lineage.view import View
from traceprop.passes.optimize.partition import Plan, partition
from traceprop.runtime.parts import in_memory, slices
from traceprop.sources import Source
from traceprop.tracing.call import Call
from traceprop.tracing.lazy import Lazy


def plan_of(call: Call) -> Plan:
    """The plan for a call of which all sources with rows come in parts."""
    given = zip(call.program.params, call.inputs, strict=True)
    in_parts = [param.name for param, value in given if param.rank and isinstance(value, Source)]
    return partition(call.program, in_parts, call.options["granularity"])


def check(call: Call, plan: Plan, cuts: Sequence[Sequence[int]], ask: bool = True) -> None:
    """Values to rounding, whole numbers and texts exactly, and the same recorded positions and sizes."""
    whole = call.outcome()
    values = dict(zip(call.program.params, call.concrete_inputs(), strict=True))
    rest = {param: value for param, value in values.items() if param not in plan.partitioned}
    found = in_memory(plan, rest, slices(plan, [values[param] for param in plan.partitioned], cuts))
    for got, want in zip(found.results, whole.results, strict=True):
        alike(got, want)
    assert found.captures.keys() <= whole.captures.keys()
    for value, positions in found.captures.items():
        np.testing.assert_array_equal(np.asarray(positions), np.asarray(whole.captures[value]))
    for name in found.sizes.keys() & whole.sizes.keys():
        assert found.sizes[name] == whole.sizes[name], name

    if ask:
        answered_alike(call, plan, found)


def answered_alike(call: Call, plan: Plan, found: Outcome, cells_at_most: int = 2) -> None:
    """Every kind of question about some cells has the answer that it has of the whole run."""
    parted = Call(plan.program, call.inputs, call.executor, call.options)
    parted._outcome = found
    for value, result in zip(plan.program.returns, found.results, strict=True):
        ours, theirs = (View([Lazy.of(value, call=each)]) for each in (parted, call))
        for cell in list(np.ndindex(np.shape(result)))[-cells_at_most:]:
            assert cells(ours, cell) == cells(theirs, cell)


def alike(got: Any, want: Any) -> None:
    if isinstance(want, pl.DataFrame):
        assert got.schema == want.schema
        for name in want.columns:
            alike(got[name], want[name])
        return
    if isinstance(want, pl.Series) and not want.dtype.is_float():
        assert got.equals(want, null_equal=True)
        return
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if want.dtype.kind in "fc":
        eps = np.finfo(want.dtype).eps
        scale = np.nanmax(np.abs(np.where(np.isfinite(want), want, 0)), initial=0)
        np.testing.assert_allclose(got, want, rtol=200 * eps, atol=200 * eps * max(float(scale), 1.0))
    else:
        np.testing.assert_array_equal(got, want)
