"""Rows are chosen before they are computed."""

from __future__ import annotations

from typing import ClassVar

from traceprop.ir.graph import Op, Program, Value, payload_dtype
from traceprop.ir.opset import distinct, elementwise, filter, gather, sort
from traceprop.ir.types import ArrayType
from traceprop.passes.optimize.uses import use_counts
from traceprop.passes.rewrite import AbstractPass


class PushFilters(AbstractPass):
    """gather(elementwise[f](%x, %row), %index)  =>  elementwise[f](gather(%x, %index), %row)

    An element-wise function makes a row of its operand's row alone, so it may as well be applied to the rows that are
    left: a gather by the positions of a filter computes fewer of them, and by those of a sort as many (others, of a join,
    may be more, and stay where they are). Cell (i, j) reads %x[%index[i], j] and
    the index either way, by the same kinds. It is done where one operand has rows (two would be gathered for one) and
    nothing else needs the element-wise result. A warning that NumPy gives for a row that is not chosen goes with it.
    """

    name: ClassVar[str] = "push_filters"

    def __call__(self, program: Program) -> Program:
        if not any(op.definition is gather for op in program.ops):
            return program
        while True:
            pushed = _once(program)
            if pushed is program:
                return program
            program = pushed


def _once(program: Program) -> Program:
    uses = use_counts(program)
    replaced: dict[Value, Value] = {}
    dropped: set[Op] = set()
    kept: list[Op] = []
    for op in program.ops:
        step = op.operands[0].op if op.definition is gather else None
        position = None if step is None or step in dropped or uses[step.result] > 1 else _row_operand(op, step)
        if (
            position is not None
            and step is not None
            and not any(value in replaced for value in (*op.operands, *step.operands))
        ):
            taken = Op(gather, [step.operands[position], op.operands[1]], op.attrs, op.payload, None, op.location)
            operands = [taken.result if k == position else value for k, value in enumerate(step.operands)]
            dtype = payload_dtype(step.result.type)
            after = Op(elementwise, operands, step.attrs, step.payload, dtype, step.location, native=step.native)
            kept += [taken, after]
            replaced[op.result] = after.result
            dropped.add(step)
            continue
        if any(value in replaced for value in op.operands):
            again = op.with_operands([replaced.get(value, value) for value in op.operands])
            replaced[op.result] = again.result
            op = again
        kept.append(op)
    if not dropped:
        return program
    returns = [replaced.get(value, value) for value in program.returns]
    return program.with_ops([op for op in kept if op not in dropped], returns)


def _row_operand(op: Op, step: Op) -> int | None:
    """The position of the one operand that brings the rows, if the element-wise step can be done behind the gather."""
    rank, index = step.result.rank, op.operands[1]
    arrays = all(isinstance(value.type, ArrayType) for value in (*step.operands, step.result))
    if step.definition is not elementwise or not arrays or not rank or not {"control", "dtype"} >= set(step.attrs):
        return None
    if op.operands[1] is step.result or op.attrs.get("axis", 0) != 0 or op.attrs.get("along") or index.rank != 1:
        return None
    if index.op is None or index.op.definition not in (filter, sort, distinct):
        return None
    rows = [k for k, value in enumerate(step.operands) if value.rank == rank and value.type.dims[0] != 1]
    return rows[0] if len(rows) == 1 else None
