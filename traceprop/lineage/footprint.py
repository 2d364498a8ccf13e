"""What lineage costs in bytes, op by op, beside what it could cost at best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from traceprop.ir import Op, Value
from traceprop.ir.dump import map_text, value_names
from traceprop.ir.opset import constant, distinct, filter, group, join, match, random, record, sort
from traceprop.lineage.reads import Scope
from traceprop.lineage.walk import asked_of, needed, scope_of
from traceprop.passes.encodings import AbstractPositions, Columns, bounds
from traceprop.passes.optimize.compress import column_of
from traceprop.passes.optimize.instrument import captured_values
from traceprop.tracing.call import Call


class Kept(NamedTuple):
    """What is kept of one op. `bytes`: its index map as text, and the positions that its run decided, if it did; `encoding` of
    these, or `"symbolic"`; `bound`: the fewest bytes that could tell these positions from others (0 where there are none),
    `None` where that is not known. An argument that positions are looked up in counts as an op of its name.
    """

    name: str
    location: str
    bytes: int
    encoding: str
    bound: float | None


def footprint(calls: Iterable[tuple[Call, Sequence[Value]]]) -> list[Kept]:
    """What is kept for some values of each call, in program order. Positions that are not encoded yet are encoded now."""
    found = []
    for call, values in calls:
        ops = needed(call, values)
        names = dict(value_names(call.program))
        maps, of_these = asked_of(call), set(ops)
        composed = {chain[-1]: value for value, chain in maps.chains.items() if value in maps.recorded}
        single = set(captured_values(call.program)) - {part for chain in maps.chains.values() for part in chain}
        kept = {value for value in single | set(maps.recorded) if value.op is None or value.op in of_these}
        looked = {place for op in ops for place in captured_values(call.program.with_ops([op]))}
        for param in call.program.params:
            if param in kept & looked:
                positions = scope_of(call).lookup(param)
                found.append(Kept(param.name, "", positions.nbytes, named(positions), None))
        for op in ops:
            text = len(map_text(op, names).encode())
            place = str(op.location or "")
            if op.result in kept and op.definition is not record and op.operands:
                found.append(_captured(op, place, text, kept, scope_of(call)))
            elif op.definition is not constant:
                found.append(Kept(op.label, place, text, "symbolic", 0.0))
            if op.result in composed:
                positions = scope_of(call).lookup(composed[op.result])
                found.append(Kept(f"{op.label} and those before", place, positions.nbytes, named(positions), None))
    return found


def _captured(op: Op, place: str, text: int, kept: set[Value], scope: Scope) -> Kept:
    column = column_of(op.result)
    if column is not None and column[0] in kept:
        return Kept(op.label, place, text, "column", 0.0)  # held with its pairs
    positions = scope.lookup(op.result)
    return Kept(op.label, place, text + positions.nbytes, named(positions), _bound(op, positions, scope))


def named(positions: AbstractPositions) -> str:
    """An encoding and, of columns, those inside."""
    if isinstance(positions, Columns):
        return " + ".join(column.encoding for column in positions.columns)
    return positions.encoding


def _bound(op: Op, positions: AbstractPositions, scope: Scope) -> float | None:
    sizes = [scope.shape(operand) for operand in op.operands]
    rows, k = (sizes[0] or (1,))[0], positions.length
    if op.definition in (filter, distinct):
        return bounds.subset(rows, k)
    if op.definition is sort:
        along = sizes[0][op.attrs.get("axis", 0)]
        return bounds.permutation(along) * (math.prod(sizes[0]) // along) if along else 0.0
    if op.definition is random:
        return bounds.sample(rows, k)
    if op.definition is join:
        return bounds.join(rows, sizes[1][0], positions) if positions.ndim == 2 else bounds.subset(rows, k)
    if op.definition is group:
        return bounds.assignment(k, scope.number(op.attrs["groups"]))
    if op.definition is match:
        return bounds.assignment(k, sizes[1][0] + 1)
    return None
