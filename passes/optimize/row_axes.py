"""Which axis of each value carries rows."""

from __future__ import annotations

from traceprop.ir.graph import Op, Program, Value
from traceprop.ir.index_map import Full, Kind, Read, Span, axes_in, carries


def row_axes(program: Program) -> dict[Value, int]:
    """For every value with rows, the axis that carries them.

    A source's rows are its axis 0. A result has rows on an axis if each of its positions there stands for exactly one
    row of an operand; where operands disagree, the first one's axis counts.
    """
    rows: dict[Value, int] = {param: 0 for param in program.params if param.rank and not param.fitted}
    for op in program.ops:
        if op.definition.effect:
            continue
        for read in op.reads:
            axis = _carried(read, rows, op.result.rank)
            if axis is not None:
                rows.setdefault(op.result, axis)
    return rows


def _carried(read: Read, rows: dict[Value, int], rank: int) -> int | None:
    if read.operand not in rows:
        return None
    place = read.axes[rows[read.operand]]
    return next((axis for axis in range(rank) if carries(place, axis)), None)


def pairs_rows(op: Op, rows: dict[Value, int]) -> bool:
    """Whether the result has rows on two axes, as x @ x.T has: a cell for every pair of rows."""
    carried = {_carried(read, rows, op.result.rank) for read in op.reads if read.kind is Kind.DATA}
    return len(carried - {None}) > 1


def folds_rows(op: Op, rows: dict[Value, int]) -> bool:
    """Whether some result cell depends on many rows of an operand: a reduction over rows, or a running one."""
    return any(
        read.kind is Kind.DATA and read.operand in rows and isinstance(read.axes[rows[read.operand]], (Full, Span))
        for read in op.reads
    )


def runs_over_rows(op: Op, rows: dict[Value, int]) -> bool:
    """Whether the result has a cell for every row of an operand that it folds, as a running sum has."""
    places = [read.axes[rows[read.operand]] for read in op.reads if read.kind is Kind.DATA and read.operand in rows]
    return any(isinstance(place, Span) and axes_in(place) for place in places)
