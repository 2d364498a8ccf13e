"""Which columns of its tables a program looks at."""

from __future__ import annotations

from traceprop.ir.graph import Op, Param, Program, Value
from traceprop.ir.opset import concat, gather, pad, slice
from traceprop.ir.types import TableType


def columns_read(program: Program) -> dict[Param, frozenset[str] | None]:
    """For every parameter that is a table the names of the columns that something is made of; `None`: of all of them.

    A file that is read again and again need not be read whole: what nobody looks at may hold anything.
    """
    wanted: dict[Value, set[str] | None] = {}
    for value in program.returns:
        wanted[value] = None
    for op in reversed(program.ops):
        for operand, names in _wanted_of(op, wanted.get(op.result, None if op.definition.effect else set())):
            if names is None or wanted.get(operand, names) is None:
                wanted[operand] = None
            else:
                wanted[operand] = (wanted.get(operand) or set()) | names
    tables = [param for param in program.params if isinstance(param.type, TableType)]
    found = {param: wanted.get(param, set()) for param in tables}
    return {param: None if names is None else frozenset(names) for param, names in found.items()}


def _wanted_of(op: Op, names: set[str] | None) -> list[tuple[Value, set[str] | None]]:
    """What an op wants of its tables, for the columns that are wanted of its result."""
    tables = [operand for operand in op.operands if isinstance(operand.type, TableType)]
    if op.definition is slice:
        return [(table, {op.attrs["column"]} if "column" in op.attrs else _columns(op, names)) for table in tables]
    moves = op.definition in (gather, pad) or op.definition is concat
    if not moves or not isinstance(op.result.type, TableType) or op.native is not None:
        return [(table, None) for table in tables]
    if names is None:
        return [(table, {field.name for field in table.type.fields}) for table in tables]  # type: ignore[union-attr]
    return [(table, names & {field.name for field in table.type.fields}) for table in tables]  # type: ignore[union-attr]


def _columns(op: Op, names: set[str] | None) -> set[str]:
    chosen = set(op.attrs["columns"])
    return chosen if names is None else chosen & names
