"""The program that lineage questions go through where a run keeps composed maps.

    %1 = gather(%x, %i); %2 = elementwise[f](%1); %3 = gather(%2, %j)
    =>  %3 (i, j) <- f's reads of %x[%c[i], j], control …        with %c = gather(%i, %j)

Row i of %3 is row %c[i] of %x, so that one array of positions does for two. What decided the positions is read at them too:
the mask cell of the row that is left after both, the key cell of the row that was sorted to place i. Only where *all* rows
of %1 are asked about (the `order` of the sort: any of its rows could have landed there) is %i needed by itself, and that a
run that kept %c alone cannot say.

This program is never run: its ops are maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from traceprop.ir.graph import Op, Program, Value
from traceprop.ir.index_map import AxisRead, Kind, Look, Members, Read, axes, axes_in, axis
from traceprop.ir.ops import OpDef, Signature
from traceprop.ir.opset import constant, distinct, filter, gather, join, record, sort
from traceprop.ir.types import ArrayType, TableType, Type
from traceprop.passes.optimize.compress import column_of
from traceprop.passes.optimize.derived import derives
from traceprop.passes.optimize.instrument import captured_values

Chain = tuple[Value, ...]
_ROW = axis(0)


@dataclass(frozen=True, eq=False)
class Asked:
    """What questions about a program go through at some granularity, and what a run keeps for them.

    `program`: its maps; `recorded`: the values to keep, of the traced program or made of its values by `composed` ops, each of
    a chain of traced values (`chains`);
    `now`: where each value of the traced program stands in `program`; `origin`: the traced value whose positions a value of
    `program` holds, if it is another.
    """

    program: Program
    recorded: tuple[Value, ...]
    composed: tuple[Op, ...] = ()
    chains: dict[Value, Chain] = field(default_factory=dict)
    now: dict[Value, Value] = field(default_factory=dict)
    origin: dict[Value, Value] = field(default_factory=dict)


def asked(program: Program, level: str | None) -> Asked:
    """The program that questions go through at granularity `"op"`, `"batch"` or `"epoch"` (`None`: nothing is kept)."""
    if level not in (None, "op", "batch", "epoch"):
        raise ValueError(f"granularity is 'op', 'batch', 'epoch' or None, not {level!r}")
    known: dict[str | None, Asked] = program.memo.setdefault("asked", {})
    if level not in known:
        known[level] = _made(program, level)
    return known[level]


def _made(program: Program, level: str | None) -> Asked:
    if level is None:
        return Asked(program, ())
    single = tuple(captured_values(program))
    if level == "op":
        return Asked(program, single)
    fewer = tuple(value for value in single if not derives(value, set(single)))
    whole: set[Op] = set()
    while True:
        composer = _Composer(program, level, whole)
        found = composer.asked()
        late = composer.asked_whole() - whole
        if not late:
            break
        whole |= late
    return found if len(found.recorded) < len(fewer) else Asked(program, fewer)


def boundaries(program: Program) -> set[Value]:
    """The values at batch boundaries: what is returned, and what is taken by an op that needs the rows of all batches at once."""
    found = set(program.returns)
    for op in program.ops:
        if not op.definition.effect and op.definition is not filter and not (takes_rows(op) and _within_batch(op)):
            found.update(read.operand for read in op.reads if not _carries_rows(read) or read.where)
    return {value for value in found if value.rank and (value.op is None or value.op.definition is not constant)}


def takes_rows(op: Op) -> bool:
    """Whether an op is a gather of rows by a list of positions."""
    return (
        op.definition is gather
        and op.attrs.get("axis", 0) == 0
        and not op.attrs.get("along")
        and op.operands[1].rank == 1
    )


def _within_batch(op: Op) -> bool:
    """Whether a gather of rows can be done batch by batch: each row's own cells decide whether it stays."""
    return _filters(op.operands[1])


def _filters(index: Value) -> bool:
    return index.op is not None and index.op.definition is filter


# -- maps that are all there is of an op ----------------------------------------------------------------------------------

_map = OpDef("map", "Cells that are read, and nothing that computes them.")


@_map.types
def _map_type(sig: Signature) -> Type:
    return sig.attrs["type"]  # type: ignore[no-any-return]


def _op(type: Type, reads: Sequence[Read], like: Op | None) -> Op:
    operands = dict.fromkeys(read.operand for read in reads)
    return Op(
        _map, list(operands), {"type": type}, location=None if like is None else like.location, rule=lambda _: reads
    )


def _with_rows(type: Type, rows: Any) -> Type:
    return replace(type, rows=rows) if isinstance(type, TableType) else ArrayType(type.dtype, (rows, *type.dims[1:]))


class _Composer:
    """Takes gathers down to where rows come from, op by op; `whole`: gathers of which all rows are asked about."""

    def __init__(self, program: Program, level: str, whole: set[Op]) -> None:
        self.program = program
        self.level = level
        self.whole = whole
        self.now: dict[Value, Value] = {param: param for param in program.params}
        self.origin: dict[Value, Value] = {}
        self.ops: list[Op] = []
        self.composed: dict[Chain, Op] = {}
        self.columns = {column_of(op.result): op.result for op in program.ops if column_of(op.result) is not None}
        self._taken: dict[tuple[Value, Chain], Value] = {}
        self._gathers: dict[Value, Op] = {}
        self._beneath: dict[tuple[Value, bool], bool] = {}
        for op in program.ops:
            if op.definition is not record:
                self.now[op.result] = self._again(op)

    def asked(self) -> Asked:
        targets = boundaries(self.program) if self.level == "batch" else set(self.program.returns)
        needed = _looked_up(self.ops, {self.now[value] for value in targets})
        named = dict.fromkeys(self.origin.get(value, value) for value in needed)
        recorded = tuple(value for value in named if not derives(value, set(named)))
        chains = {op.result: chain for chain, op in self.composed.items()}
        composed = _with_parts([value for value in recorded if value in chains], list(self.composed.values()))
        program = self.program.with_ops(self.ops, [self.now[value] for value in self.program.returns])
        return Asked(program, recorded, composed, chains, self.now, self.origin)

    def asked_whole(self) -> set[Op]:
        """The gathers that something takes apart from those that take their rows: composing them would keep both."""
        targets = boundaries(self.program) if self.level == "batch" else set(self.program.returns)
        reached = _reached(self.ops, {self.now[value] for value in targets})
        through = {value.op for value, chain in self._taken if chain and value.op is not None and takes_rows(value.op)}
        return {op for op in through if self.now[op.result] in reached}

    # -- one op -------------------------------------------------------------------------------------------------------

    def _again(self, op: Op) -> Value:
        """The op over what its operands are now."""
        if takes_rows(op) and self._goes_beneath(op.operands[0], _within_batch(op)):
            return self._gathered(op, ())
        operands = [self.now[value] for value in op.operands]
        if all(new is old for new, old in zip(operands, op.operands, strict=True)):
            self.ops.append(op)
            return op.result
        moved = dict(zip(op.operands, operands, strict=True))
        again = Op(
            _map,
            operands,
            {"type": op.result.type},
            location=op.location,
            rule=lambda new: [_renamed(read, {**moved, op.result: new.result}) for read in op.reads],
        )
        self.ops.append(again)
        for old, new in (*zip(op.operands, operands, strict=True), (op.result, again.result)):
            self.origin[new] = self.origin.get(old, old)
        return again.result

    def _goes_beneath(self, value: Value, filters: bool) -> bool:
        """Whether there is a gather of rows that one of a value's rows can be composed with."""
        if (value, filters) not in self._beneath:
            self._beneath[value, filters] = False
            op = value.op
            if op is None or not value.rank or op.definition is record:
                return False
            if takes_rows(op):
                self._beneath[value, filters] = self._composes(op, filters)
            elif (carried := _row_operands(op)) is not None:
                self._beneath[value, filters] = any(self._goes_beneath(v, filters) for v in carried)
        return self._beneath[value, filters]

    def _composes(self, op: Op, filters: bool) -> bool:
        """Whether a gather may be composed with those behind it: at granularity "batch" where all of them are filters."""
        return op not in self.whole and (self.level == "epoch" or (filters and _within_batch(op)))

    def _gathered(self, op: Op, rest: Chain) -> Value:
        """The rows of a gather, at the positions of `rest`: those of its operand, and what decided which."""
        source, index = op.operands
        data = self._rows(source, (index, *rest))
        reads = [Read(data, axes(data.rank)), *self._decided(index, rest)]
        made = _op(_with_rows(op.result.type, (rest or (index,))[-1].type.dims[0]), reads, op)
        self.ops.append(made)
        return made.result

    def _rows(self, value: Value, chain: Chain) -> Value:
        """gather(%value, composed chain), what decided the positions left out."""
        if (value, chain) not in self._taken:
            self._taken[value, chain] = self._rows_of(value, chain)
        return self._taken[value, chain]

    def _rows_of(self, value: Value, chain: Chain) -> Value:
        op, rows = value.op, chain[-1].type.dims[0]
        filters = all(map(_filters, chain))
        if op is not None and takes_rows(op) and self._composes(op, filters):
            return self._gathered(op, chain)
        carried = None if op is None or op.definition is record else _row_operands(op)
        if op is not None and carried and any(self._goes_beneath(v, filters) for v in carried):
            reads = [
                replace(
                    read, operand=self._rows(read.operand, chain) if _carries_rows(read) else self.now[read.operand]
                )
                for read in op.reads
            ]
            made = _op(_with_rows(value.type, rows), reads, op)
        else:
            places: tuple[AxisRead, ...] = (Look(self._positions(chain), (_ROW,)), *axes(value.rank)[1:])
            made = _op(_with_rows(value.type, rows), [Read(self.now[value], places)], op)
        self.ops.append(made)
        return made.result

    def _positions(self, chain: Chain) -> Value:
        """The positions that the last of a chain of gathers takes of the first one's operand."""
        if len(chain) == 1:
            return chain[0]
        if chain not in self.composed:
            before = self._positions(chain[:-1])
            location = chain[-1].op.location if chain[-1].op is not None else None
            self.composed[chain] = Op(gather, [before, chain[-1]], {"axis": 0}, None, None, location)
        return self.composed[chain].result

    # -- what decided -------------------------------------------------------------------------------------------------

    def _decided(self, index: Value, rest: Chain) -> list[Read]:
        """What decided the position that `index` holds at a position of `rest`."""
        own = self._own_cells(index, rest)
        if own is not None:
            return own
        if not rest:
            return [Read(self.now[index], (_ROW,), Kind.CONTROL)]
        return [Read(self._rows(index, rest), (_ROW,), Kind.CONTROL)]

    def _own_cells(self, index: Value, rest: Chain) -> list[Read] | None:
        """For positions that stand for rows of what decided them, the cells of these rows; `None` for others."""
        column = column_of(index)
        value = index if column is None else column[0]
        op = value.op
        if op is None or op.definition not in (filter, sort, distinct, join):
            return None
        found: list[Read] = []
        for read in op.reads:
            kind = read.kind if read.kind is Kind.ORDER else Kind.CONTROL
            if not any(0 in axes_in(place) for place in read.axes):
                # All rows that were sorted are the rows behind the sort: no need to know how they stood before.
                sorted_rows = op.definition is sort and all(v.op and v.op.definition is sort for v in rest)
                rows = self._rows(read.operand, (index, *rest)) if sorted_rows else self.now[read.operand]
                found.append(replace(read, operand=rows, kind=kind))
                continue
            at = self._looked(read.axes[0], value)
            if at is None or read.where or any(0 in axes_in(place) for place in read.axes[1:]):
                return None
            rows = self._rows(read.operand, (at, *rest))
            found.append(Read(rows, (_ROW, *read.axes[1:]), kind))
        return found

    def _looked(self, place: AxisRead, value: Value) -> Value | None:
        """The one-dimensional positions that a place looks up in a value: itself, or a column of pairs."""
        if not isinstance(place, Look) or place.index is not value:
            return None
        if place.at == (_ROW,):
            return value
        if len(place.at) == 2 and place.at[0] == _ROW and isinstance(place.at[1], int):
            return self.columns.get((value, place.at[1]))
        return None


def _renamed(read: Read, moved: dict[Value, Value]) -> Read:
    def place(at: AxisRead) -> AxisRead:
        return replace(at, index=moved.get(at.index, at.index)) if isinstance(at, (Look, Members)) else at

    return replace(read, operand=moved.get(read.operand, read.operand), axes=tuple(map(place, read.axes)))


def _carries_rows(read: Read) -> bool:
    return bool(read.axes) and read.axes[0] == _ROW


def _row_operands(op: Op) -> list[Value] | None:
    """The operands that bring an op's rows, each row its own; `None` where a row is made of other rows, or at its place."""
    found = []
    for read in op.reads:
        if any(bound.axis == 0 for bound in read.where):
            return None
        own = _carries_rows(read)
        if any(0 in axes_in(place) for place in (read.axes[1:] if own else read.axes)):
            return None
        if any(isinstance(place, (Look, Members)) for place in read.axes):
            return None
        if own:
            found.append(read.operand)
    return found or None


# -- what is needed -------------------------------------------------------------------------------------------------------


def _reached(ops: Sequence[Op], targets: Iterable[Value]) -> set[Value]:
    """The values that some values are made of, `order` left out."""
    reached = set(targets)
    for op in reversed(ops):
        if op.result in reached:
            reached.update(read.operand for read in op.reads if read.kind is not Kind.ORDER)
    return reached


def _looked_up(ops: Sequence[Op], targets: Iterable[Value]) -> list[Value]:
    """The values in which positions are looked up on the way back from some values, `order` left out."""
    reached = _reached(ops, targets)
    found: dict[Value, None] = {}
    for op in ops:
        for read in op.reads if op.result in reached else ():
            if read.kind is not Kind.ORDER:
                found.update((place.index, None) for place in read.axes if isinstance(place, (Look, Members)))
    return list(found)


def _with_parts(wanted: Iterable[Value], known: Sequence[Op]) -> tuple[Op, ...]:
    """The ops that compose some positions, those behind them included, in an order that runs."""
    needed = set(wanted)
    for op in reversed(known):
        if op.result in needed:
            needed.update(op.operands)
    return tuple(op for op in known if op.result in needed)
