"""Segments: ops over the same rows that a back end runs as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from traceprop.ir.expr import Dim, product
from traceprop.ir.graph import Op, Program, Value, payload_dtype
from traceprop.ir.opset import call, constant, elementwise, reduce
from traceprop.ir.outline import outlined
from traceprop.ir.types import ArrayType
from traceprop.passes.optimize.spell_out import SPREADS
from traceprop.passes.optimize.uses import use_counts
from traceprop.passes.rewrite import AbstractPass, in_bodies

FOLDS = {
    "numpy.sum": "add",
    "numpy.add.reduce": "add",
    "numpy.mean": "add",
    "numpy.max": "maximum",
    "numpy.maximum.reduce": "maximum",
    "numpy.min": "minimum",
    "numpy.minimum.reduce": "minimum",
}
"""Reductions that go over rows one after another, and the NumPy function that they fold with; deviations are two of them."""


class Fuse(AbstractPass):
    """%m = mean(%x, 0); %c = %x - %m; %y = tanh(%c)  =>  %y = call(%x) {%m = …; %c = …; return tanh(%c)}

    Functions of cells over the same rows, what folds these rows (sums, means, extremes) and what follows of that, as the
    body of one `call`. The ops are the same, so values and lineage are; that nobody else sees what is between them lets a back
    end compute it block by block in the cache, or by XLA. No data decides positions inside: filters, sorts, gathers and joins
    stay outside. It runs in the bodies of loops and branches too.
    """

    name: ClassVar[str] = "fuse"

    def __call__(self, program: Program) -> Program:
        program = in_bodies(program, self)
        for rows in dict.fromkeys(rows_of(op) for op in program.ops if _is_step(op)):
            if rows is not None:
                program = _fused(program, rows)
        return program


def rows_of(op: Op) -> Dim | None:
    """The rows that an op goes over: the first axis of its result, or of what it folds."""
    value = op.operands[0] if op.definition is reduce else op.result
    rows = value.type.dims[0] if value.rank else None
    return None if rows in (0, 1) else rows


def is_rowed(value: Value, rows: Dim) -> bool:
    """Whether a value has a cell, or several, for each of the rows."""
    return value.rank > 0 and value.type.dims[0] == rows


def folds_rows(op: Op, rows: Dim) -> bool:
    """Whether an op folds the rows themselves, of what has an axis besides."""
    return op.definition is reduce and op.attrs["axes"] == (0,) and is_rowed(op.operands[0], rows)


def _is_step(op: Op) -> bool:
    """Whether an op may be in a segment: of NumPy, a function of cells or a fold, and of numbers."""
    if op.native is not None or not op.operands or not all(map(_is_number, (*op.operands, op.result))):
        return False
    if op.definition is elementwise:
        return _is_function_of_cells(op)
    if op.definition is not reduce or not set(op.attrs) <= {"axes", "keepdims", "ddof"}:
        return False
    operand, axes = op.operands[0], op.attrs["axes"]
    if op.payload not in FOLDS and op.payload not in SPREADS or op.attrs.get("ddof") and axes != (0,):
        return False
    if payload_dtype(operand.type) != payload_dtype(op.result.type) or operand.rank < 2:
        return False
    # One column alone NumPy adds in pairs, which blocks of it would not.
    columns = operand.type.dims[1:]
    several = all(isinstance(dim, int) for dim in columns) and product(columns) != 1
    return axes == (operand.rank - 1,) or axes == (0,) and several


def _is_function_of_cells(op: Op) -> bool:
    if op.payload == "numpy.where":
        return op.attrs == {"control": (0,)}
    function = getattr(np, (op.payload or "").removeprefix("numpy."), None)
    if not isinstance(function, np.ufunc) or function.nout != 1 or function.signature is not None:
        return False
    return not op.attrs and len(op.operands) == function.nin


def _is_number(value: Value) -> bool:
    return isinstance(value.type, ArrayType) and value.type.dtype[0] in "biuf" and value.type.dtype != "f16"


def _fused(program: Program, rows: Dim) -> Program:
    """The program with its segments over one row axis as calls."""
    while (segment := next(_segments(program, rows), None)) is not None:
        program = _called(program, segment)
    return program


def _segments(program: Program, rows: Dim) -> Iterator[list[Op]]:
    """Sets of ops that can run as one: nothing in them waits for something outside that waits for them."""
    inside: list[Op] = []
    made: set[Value] = set()
    behind: set[Value] = set()
    """Made outside of what the segment gives: it can be no operand of the segment."""
    for op in program.ops:
        own = _is_step(op) and _lines_up(op, rows) and (_goes_over(op, rows) or not made.isdisjoint(op.operands))
        if own and not behind.isdisjoint(op.operands):
            if _pays(inside, rows):
                yield inside
            inside, made, behind = [], set(), set()
            own = _goes_over(op, rows)
        if own:
            inside.append(op)
            made.add(op.result)
        elif not made.isdisjoint(op.operands) or not behind.isdisjoint(op.operands):
            behind.add(op.result)
    if _pays(inside, rows):
        yield inside


def _goes_over(op: Op, rows: Dim) -> bool:
    """Whether an op computes a cell of every row, or folds the rows."""
    return is_rowed(op.result, rows) or folds_rows(op, rows)


def _lines_up(op: Op, rows: Dim) -> bool:
    """Whether the rows are the first axis of whatever has them, and broadcasting leaves them in their place."""
    rank = op.operands[0].rank if op.definition is reduce else op.result.rank
    return all(
        rows not in value.type.dims[1:] and (not is_rowed(value, rows) or value.rank == rank) for value in op.operands
    )


def _pays(ops: Sequence[Op], rows: Dim) -> bool:
    """Whether something goes from op to op that need not be whole: what is computed by rows, and is not what is asked for."""
    rowed = {op.result for op in ops if is_rowed(op.result, rows)}
    return (
        any(not rowed.isdisjoint(op.operands) for op in ops)
        or len(rowed) > 0
        and any(folds_rows(op, rows) for op in ops)
    )


def _called(program: Program, segment: Sequence[Op]) -> Program:
    """The program with one segment as a call: what it needs before it, what needs it behind it."""
    inside = set(segment)
    uses = use_counts(program)
    within = use_counts(program.with_ops(segment, ()))
    given = [op.result for op in segment if uses[op.result] > within[op.result]]
    literals = [op for op in program.ops if _is_literal(op)]
    (body,), operands = outlined([*literals, *segment], {"segment": given})
    location = segment[-1].location
    results = [
        Op(call, operands, {"result": k} if len(given) > 1 else {}, location=location, regions=(body,))
        for k in range(len(given))
    ]
    replaced = {old: op.result for old, op in zip(given, results, strict=True)}
    before, behind = [], []
    late: set[Value] = set(given)
    for op in program.ops:
        if op in inside:
            continue
        if late.isdisjoint(op.operands):
            before.append(op)
        else:
            late.add(op.result)
            again = op.with_operands([replaced.get(value, value) for value in op.operands])
            replaced[op.result] = again.result
            behind.append(again)
    return program.with_ops([*before, *results, *behind], [replaced.get(value, value) for value in program.returns])


def _is_literal(op: Op) -> bool:
    """Whether an op is a number that the program holds, which a body has as its own."""
    return op.definition is constant and not isinstance(op.attrs["value"], np.ndarray)
