"""Which axis of each value carries rows."""

from __future__ import annotations

from traceprop.ir.expr import Expr
from traceprop.ir.graph import Op, Program, Value
from traceprop.ir.index_map import AxisRead, Full, Kind, Look, Members, Read, Span, axes_in, carries


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


def _row_places(op: Op, rows: dict[Value, int]) -> list[AxisRead]:
    """What the op reads of each operand's rows."""
    return [read.axes[rows[read.operand]] for read in op.reads if read.kind is Kind.DATA and read.operand in rows]


def folds_rows(op: Op, rows: dict[Value, int]) -> bool:
    """Whether the rows of an operand end here: in a reduction over them, a running one, or one row picked by its number."""
    return any(isinstance(place, (Full, Span, Members)) or not axes_in(place) for place in _row_places(op, rows))


def runs_over_rows(op: Op, rows: dict[Value, int]) -> bool:
    """Whether the result has a cell for every row of an operand that it folds, as a running sum has."""
    return any(isinstance(place, Span) and axes_in(place) for place in _row_places(op, rows))


def takes_numbered_rows(op: Op, rows: dict[Value, int]) -> bool:
    """Whether rows are taken at positions that belong to other rows: x[[2, 0]], or x[mask] with a mask from outside.

    Positions found among the same rows (a sort, a filter) are found anew for other rows; so are those that count rows only.
    """
    return any(
        isinstance(place, Look) and axes_in(place) and place.index not in rows and _rests_on_data(place.index)
        for place in _row_places(op, rows)
    )


def _rests_on_data(value: Value) -> bool:
    """Whether arrays stand behind a value, and not only sizes and numbers."""
    seen: set[Value] = set()
    open_values = [value]
    while open_values:
        value = open_values.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.op is None or (not value.op.operands and value.rank and not _counts_rows(value)):
            return True
        open_values.extend(value.op.operands)
    return False


def _counts_rows(value: Value) -> bool:
    """Whether a value's size follows the number of rows."""
    return any(isinstance(dim, Expr) for dim in value.type.dims)
