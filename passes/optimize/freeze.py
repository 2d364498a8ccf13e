"""The pipeline as it is applied to new raw rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from traceprop.errors import TraceError
from traceprop.ir.graph import Op, Param, Program, Value
from traceprop.ir.opset import loop
from traceprop.passes.optimize.dce import DCE
from traceprop.passes.optimize.row_axes import folds_rows, pairs_rows, row_axes, runs_over_rows, takes_numbered_rows
from traceprop.passes.rewrite import AbstractPass, over


@dataclass(frozen=True)
class Freeze(AbstractPass):
    """%m = reduce[numpy.mean](%x) {axes=(0,)}  =>  a parameter `%fitted_n: … fitted`

    Every reduction over rows (a mean, a vocabulary, a Gram matrix) becomes a parameter that is given its value of the
    fitting run, in the order of `fitted_values`. What is left maps rows to rows, so a new row's result has the index
    map that it has in the fitting program, and the fitted parameters carry the rows behind the statistics.
    Raises `TraceError` for an op that reduces over rows and keeps them (a running sum, x @ x.T): it has no fitted value.
    """

    name: ClassVar[str] = "freeze"

    def __call__(self, program: Program) -> Program:
        fitted = fitted_values(program)
        params = {value: Param(f"fitted_{n}", value.type, fitted=True) for n, value in enumerate(fitted)}
        replaced: dict[Value, Value] = dict(params)
        kept: list[Op] = []
        for old in program.ops:
            if old.result in params:
                continue
            op = over(old, replaced)
            if op is not old:
                replaced[old.result] = op.result
            kept.append(op)
        returns = tuple(replaced.get(value, value) for value in program.returns)
        frozen = Program(program.name, (*program.params, *params.values()), tuple(kept), returns)
        return _without_unused(DCE()(frozen))


def fitted_values(program: Program) -> list[Value]:
    """The reductions over rows that no other reduction over rows stands behind on every path, in program order.

    All of them, that is: a reduction of a reduction's result has no rows left to reduce.
    """
    rows = row_axes(program)
    found: list[Value] = []
    for op in program.ops:
        if pairs_rows(op, rows):
            raise TraceError(
                f"{op.label} at {op.location or 'an unknown line'} pairs rows with rows, so it has no value to fit once and "
                "apply to new rows"
            )
        if takes_numbered_rows(op, rows):
            raise TraceError(
                f"{op.label} at {op.location or 'an unknown line'} takes rows by positions that were not found among them, "
                "which mean nothing among new rows; choose rows by their values (x[x[:, 0] > 0]), or outside the pipeline"
            )
        if "turn" in op.attrs and rows.get(op.operands[0]) == 0:
            raise TraceError(
                f"{op.label} at {op.location or 'an unknown line'} is a turn of a loop over rows, which new rows would need "
                "more or fewer of; loop over another axis, or use jax.vmap"
            )
        if not folds_rows(op, rows):
            continue
        if not op.exact:
            raise TraceError(
                f"{op.label} at {op.location or 'an unknown line'} has no lineage rule, so nobody can tell whether it is a "
                "statistic of the fitting rows or a property of each row; fit it outside the pipeline"
            )
        if op.definition is loop and (op.result in rows or runs_over_rows(op, rows)):
            raise TraceError(
                f"{op.label} at {op.location or 'an unknown line'} has a turn for every row, which new rows would need more or "
                "fewer of; loop over another axis, or use jax.vmap"
            )
        if op.result in rows or runs_over_rows(op, rows):
            raise TraceError(
                f"{op.label} at {op.location or 'an unknown line'} reduces over rows and keeps them, so it has no value to "
                "fit once and apply to new rows (every argument has rows: an array of weights is closed over, not passed)"
            )
        found.append(op.result)
    return found


def _without_unused(program: Program) -> Program:
    """Fitted values that nothing needs any more (a mean inside a frozen standard deviation) are no parameters."""
    used = {value for op in program.ops for value in op.operands} | set(program.returns)
    params = tuple(param for param in program.params if not param.fitted or param in used)
    return Program(program.name, params, program.ops, program.returns)
