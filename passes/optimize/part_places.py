"""Where the rows of each value are when they come in parts: each part holds its own, or the value is known in full."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from traceprop.errors import TraceError, TypeRuleError
from traceprop.ir.expr import Dim, Expr, symbol, symbols_of
from traceprop.ir.graph import Op, Param, Program, Value
from traceprop.ir.index_map import AXIS_NAMES, Look, Read, axes_in
from traceprop.ir.index_map import axis as to_axis
from traceprop.ir.opset import broadcast, concat, filter, gather, group, iota, join, opaque
from traceprop.ir.types import ArrayType, TableType, Type
from traceprop.passes.optimize.compress import column_of
from traceprop.passes.optimize.part_forms import form_of, sums_rows
from traceprop.passes.optimize.part_plan import Part, Space, Statistic
from traceprop.passes.rewrite import over


class NeedsAll(Exception):
    """An op that was to be done part by part must see all rows after all."""

    def __init__(self, op: Op) -> None:
        super().__init__(op.label)
        self.op = op


@dataclass(frozen=True)
class Full:
    held: Value
    level: int


@dataclass
class SortOnDisk:
    """A sort whose rows go to disk: those of `space`, which come back as those of `rows`; what was `taken`, by value."""

    op: Op
    space: Space
    rows: Space
    level: int
    found: Param
    taken: dict[Value, Part] = field(default_factory=dict)


class Places:
    """Finds for every value whether parts hold their own rows of it, or it is known in full, and from which pass on."""

    def __init__(self, program: Program, params: Collection[str], whole: Collection[Op], on_disk: bool = False) -> None:
        self.program = program
        self.whole = whole
        self.on_disk = on_disk
        self.sorts: dict[Value, SortOnDisk] = {}
        self.parts: dict[Value, Part] = {}
        self.full: dict[Value, Full] = {}
        self.statistics: dict[Param, tuple[Statistic, int]] = {}
        self.spaces: dict[str, Space | None] = {}
        self.domains: list[Dim] = []
        self.domain_of: dict[Param, int] = {}
        self.partitioned: list[Param] = []
        for param in program.params:
            if param.name in params:
                dim = param.type.dims[0]
                if dim not in self.domains:
                    self.domains.append(dim)
                space = Space(("rows", str(dim)), dim, (self.domains.index(dim),))
                self.spaces[str(dim)] = space
                self.parts[param] = Part(param, 0, space, 0)
                self.partitioned.append(param)
                self.domain_of[param] = self.domains.index(dim)
            else:
                self.full[param] = Full(param, 0)

    def place_all(self) -> None:
        for op in self.program.ops:
            if not op.definition.effect:
                self._place(op)
        for value in self.program.returns:
            part = self.parts.get(value)
            if part is not None and any(part.points) and value not in self.full:
                raise NeedsAll(_maker(value))

    # -- one op -------------------------------------------------------------------------------------------------------

    def _place(self, op: Op) -> None:
        if not any(operand in self.parts for operand in op.operands):
            if not self._spread_over_rows(op):
                self._in_full(op)
            return
        if op in self.whole:
            self._of_all_rows(op)
            return
        special = _SPECIAL.get(op.definition.name)
        if special is not None and special(self, op):
            return
        self._check_positions(op)
        if not self._by_rows(op) and not self._folded(op):
            self._of_all_rows(op)

    def _in_full(self, op: Op) -> None:
        given = {operand: self.full[operand].held for operand in op.operands}
        level = max((self.full[operand].level for operand in op.operands), default=0)
        self.full[op.result] = Full(over(op, given).result, level)

    def _of_all_rows(self, op: Op) -> None:
        for operand in op.operands:
            self._gathered(operand, op)
        self._in_full(op)

    def _gathered(self, value: Value, by: Op) -> None:
        """Puts the rows of a value under one another, so that it is known in full behind the pass that has it."""
        if value in self.full:
            return
        part = self.parts[value]
        if any(part.points):
            raise NeedsAll(_maker(value))
        statistic = self._statistic("rows", value.type, (part.held,), part.level, by, part.axis)
        self.full[value] = Full(statistic.found, part.level + 1)

    def _statistic(
        self, form: str, type: Type, operands: Sequence[Value], level: int, op: Op | None = None, axis: int = 0
    ) -> Statistic:
        found = Param(f"found_{len(self.statistics)}", type, fitted=True)
        statistic = Statistic(form, found, tuple(operands), op, axis)
        self.statistics[found] = (statistic, level)
        return statistic

    def _spread_over_rows(self, op: Op) -> bool:
        """A value that is not of the rows, repeated for each of them; a counter of rows has no parts."""
        known = {name for operand in op.operands for dim in operand.type.dims for name in symbols_of(dim)}
        mine = [k for k, dim in enumerate(op.result.type.dims) if (symbols_of(dim) - known) & self.spaces.keys()]
        if not mine:
            return False
        space = self.spaces.get(str(op.result.type.dims[mine[0]]))
        for sort in self.sorts.values():
            raise NeedsAll(
                sort.op
            )  # as many rows in two orders: which of them are meant, only all rows at once can tell
        if op.definition is not broadcast or len(mine) > 1 or space is None or space.key[0] != "rows":
            what = "counts rows" if op.definition is iota else "makes rows by their number"
            raise TraceError(
                f"{op.label} at {op.location or 'an unknown line'} {what} ({op.result.type}), which rows that come in parts do "
                "not know; pass the numbers in as a column, or run the function without batch_size= and executor="
            )
        again = over(op, {operand: self.full[operand].held for operand in op.operands})
        self.parts[op.result] = Part(again.result, mine[0], space, self.full[op.operands[0]].level)
        return True

    def _over(self, op: Op, in_full: Collection[Value] = ()) -> tuple[Op, int]:
        """The op over what a part has of its operands, and the pass from which on it is known."""
        given: dict[Value, Value] = {}
        level = 0
        for operand in op.operands:
            held = self.full[operand] if operand in in_full or operand not in self.parts else self.parts[operand]
            given[operand] = held.held
            level = max(level, held.level)
        try:
            return over(op, given), level
        except TypeRuleError:  # rows of a sort have a number of their own, and this op has the other written in
            for sort in self.sorts.values():
                raise NeedsAll(sort.op) from None
            raise

    def _check_positions(self, op: Op) -> None:
        """Positions of this part's rows are numbers of no meaning elsewhere: nothing may compute with them."""
        for operand in op.operands:
            part = self.parts.get(operand)
            if part is not None and any(part.points) and operand not in self.full:
                raise NeedsAll(_maker(operand))

    def _by_rows(self, op: Op) -> bool:
        """Row i of the result of row i of the operands: read off the index map."""
        found = row_of_rows(op, self.parts)
        if found is None:
            return False
        axis, space = found
        again, level = self._over(op)
        self.parts[op.result] = Part(again.result, axis, space, level)
        return True

    def _folded(self, op: Op) -> bool:
        """A fold over rows that parts can be folded into one by one."""
        form = form_of(op)
        parts = [self.parts[operand] for operand in op.operands if operand in self.parts]
        if form is None or len({part.space for part in parts}) > 1:
            return False
        rows = {operand: part.axis for operand, part in self.parts.items() if operand in op.operands}
        if not sums_rows(op, rows):
            return False
        again, level = self._over(op)
        operands = (again.result,) if form == "total" else tuple(again.operands)
        statistic = self._statistic(form, op.result.type, operands, level, again, parts[0].axis)
        self.full[op.result] = Full(statistic.found, level + 1)
        return True

    # -- ops that say of themselves where rows go -----------------------------------------------------------------------

    def _filter(self, op: Op) -> bool:
        part = self.parts[op.operands[0]]
        self._check_positions(op)
        again, level = self._over(op)
        space = self._derived(op, op.attrs["size"], part.space)
        self.parts[op.result] = Part(again.result, 0, space, level, (part.space,))
        return True

    def _derived(self, op: Op, size: Dim, space: Space) -> Space:
        name = str(size)
        if name in self.spaces or not isinstance(size, Expr):  # one number for two: in a part they may differ
            raise NeedsAll(op)
        self.spaces[name] = made = Space((op.definition.name, op.result), size, space.domains)
        return made

    def _sort(self, op: Op) -> bool:
        """Rows in the order of their keys are put there on disk, and come in parts again."""
        keys = [self.parts[operand] for operand in op.operands if operand in self.parts]
        table = op.payload == "table.argsort"
        alike = len(keys) == len(op.operands) and len({part.space for part in keys}) == 1
        if not self.on_disk or not table or not alike or op.result.rank != 1 or any(part.axis for part in keys):
            return False
        self._check_positions(op)
        level, space = max(part.level for part in keys), keys[0].space
        again, _ = self._over(op)
        splitters = self._statistic("splitters", ArrayType("i64"), (keys[0].held,), level, again)
        rows = symbol(
            f"sorted_{len(self.sorts)}_{op.result.type.dims[0]}".replace("+", "_").replace("*", "_").capitalize()
        )
        self.domains.append(rows)
        made = Space(("sorted", op.result), rows, (len(self.domains) - 1,))
        found = Param(f"found_{len(self.statistics)}", ArrayType("i64"), fitted=True)  # no number: rows, on disk
        self.sorts[op.result] = sort = SortOnDisk(op, space, made, level + 1, found)
        statistic = Statistic("sorted", found, tuple(part.held for part in keys), again, 0, (), splitters.found)
        self.statistics[found] = (statistic, level + 1)
        self.parts[op.result] = replace(self._taken(sort, op.result), points=(None,))
        return True

    def _taken(self, sort: SortOnDisk, value: Value) -> Part:
        """A value's rows in the order of a sort, behind it; of the sort itself, the positions."""
        if value not in sort.taken:
            kind = value.type
            rows = sort.rows.dim
            kind = replace(kind, rows=rows) if isinstance(kind, TableType) else _sized(kind, rows)
            param = Param(f"{sort.found.name}_{len(sort.taken)}", kind, fitted=True)
            statistic, level = self.statistics[sort.found]
            held = () if value is sort.op.result else (self.parts[value].held,)
            statistic = replace(statistic, operands=(*statistic.operands, *held), spilled=(*statistic.spilled, param))
            self.statistics[sort.found] = (statistic, level)
            self.domain_of[param] = sort.rows.domains[0]
            sort.taken[value] = Part(param, 0, sort.rows, level + 1)
        return sort.taken[value]

    def _gather(self, op: Op) -> bool:
        operand, index = op.operands
        rows, places = self.parts.get(operand), self.parts.get(index)
        sort = self.sorts.get(index)
        if sort is not None and rows is not None and rows.space == sort.space and not any(rows.points):
            held = isinstance(operand.type, TableType) or operand.type.dtype not in ("f16", "c64", "c128", "object")
            if rows.level > sort.level or rows.axis or not held or not self._takes_rows(op, 0):
                raise NeedsAll(sort.op)
            self.parts[op.result] = self._taken(sort, operand)
            return True
        if rows is not None and rows.points:
            return self._composed(op, rows, places)
        if places is None or places.points == (None,) or not places.points:
            if places is not None and rows is not None and self._takes_rows(op, rows.axis):
                self._gathered(operand, op)  # looked up anywhere: a table of words, or the other side of a join
                again, level = self._over(op, in_full=[operand])
                self.parts[op.result] = Part(again.result, rows.axis + places.axis, places.space, level)
                return True
            return False
        if rows is None or places.points != (rows.space,) or not self._takes_rows(op, rows.axis) or index.rank != 1:
            return False
        again, level = self._over(op)
        self.parts[op.result] = Part(again.result, rows.axis, places.space, level)
        return True

    def _composed(self, op: Op, rows: Part, places: Part | None) -> bool:
        """Positions among positions: they point to where those point that they pick."""
        if places is None or places.points != (rows.space,) or not self._takes_rows(op, rows.axis) or rows.axis:
            return False
        again, level = self._over(op)
        self.parts[op.result] = Part(again.result, 0, places.space, level, rows.points)
        return True

    @staticmethod
    def _takes_rows(op: Op, axis: int) -> bool:
        return bool(op.attrs.get("axis", 0) == axis and not op.attrs.get("along"))

    def _slice(self, op: Op) -> bool:
        """A column of pairs is positions as they are."""
        part = self.parts[op.operands[0]]
        column = column_of(op.result)
        if not part.points or column is None:
            return False
        again, level = self._over(op)
        self.parts[op.result] = Part(again.result, 0, part.space, level, (part.points[column[1]],))
        return True

    def _concat(self, op: Op) -> bool:
        along = op.attrs["axis"]
        parts = [self.parts.get(operand) for operand in op.operands]
        if any(part is not None and part.axis == along for part in parts):
            self._check_positions(op)
            stacked = [part for part in parts if part is not None and part.axis == along]
            domains = tuple(domain for part in stacked for domain in part.space.domains)
            if len(stacked) < len(parts) or any(a >= b for a, b in itertools.pairwise(domains)):
                return False
            again, level = self._over(op)
            dim = op.result.type.dims[along]
            space = Space(("under", *(part.space for part in stacked)), dim, domains)
            self.spaces.setdefault(str(dim), space)
            self.parts[op.result] = Part(again.result, along, space, level)
            return True
        return False

    def _join(self, op: Op) -> bool:
        """Left rows come in parts, the right ones are all at hand: pairs stand in left order."""
        left, right = op.operands
        part = self.parts.get(left)
        if part is None:
            return False
        self._check_positions(op)
        self._gathered(right, op)
        again, level = self._over(op, in_full=[right])
        space = self._derived(op, op.attrs["size"], part.space)
        points = (part.space, None) if op.result.rank == 2 else (part.space,)
        self.parts[op.result] = Part(again.result, 0, space, level, points)
        return True

    def _group(self, op: Op) -> bool:
        """The distinct keys are a statistic; a row's group is where its key stands among them."""
        (keys,) = op.operands
        part = self.parts[keys]
        self._check_positions(op)
        groups = op.attrs["groups"]
        words = replace(keys.type, rows=groups) if isinstance(keys.type, TableType) else _sized(keys.type, groups)
        statistic = self._statistic("keys", words, (part.held,), part.level)
        codes = Op(
            opaque,
            [part.held, statistic.found],
            {"shape": (part.held.type.dims[0],)},
            "partial.group_codes",
            "i64",
            op.location,
        )
        self.parts[op.result] = Part(codes.result, 0, part.space, part.level + 1)
        return True


_SPECIAL: dict[str, Any] = {
    filter.name: Places._filter,
    gather.name: Places._gather,
    "slice": Places._slice,
    concat.name: Places._concat,
    join.name: Places._join,
    "sort": Places._sort,
    group.name: Places._group,
}


def _sized(type: Type, rows: Dim) -> Type:
    assert isinstance(type, ArrayType)
    return ArrayType(type.dtype, (rows, *type.dims[1:]))


def _maker(value: Value) -> Op:
    """The op that made positions, also of a column of pairs."""
    column = column_of(value)
    made = column[0].op if column is not None else value.op
    assert made is not None
    return made


def row_of_rows(op: Op, parts: Mapping[Value, Part]) -> tuple[int, Space] | None:
    """The axis that carries rows and their space, where row i of the result reads row i of every operand in parts.

    Other operands are read alike by all rows, or looked up at a place that the row itself holds.
    """
    mine = {operand: parts[operand] for operand in op.operands if operand in parts}
    spaces = {part.space for part in mine.values()}
    seen = {read.operand for read in op.reads}
    if len(spaces) != 1 or not mine.keys() <= seen:
        return None
    axes = {_place(read.axes[mine[read.operand].axis]) for read in op.reads if read.operand in mine}
    if len(axes) != 1:
        return None
    (axis,) = axes
    if axis is None or not all(_other_places(read, axis, mine) for read in op.reads):
        return None
    sizes = {operand.type.dims[part.axis] for operand, part in mine.items()}
    return (axis, spaces.pop()) if sizes == {op.result.type.dims[axis]} else None


def _place(place: Any) -> int | None:
    """The result axis that a place is, plainly."""
    if not isinstance(place, Expr):
        return None
    return next((axis for axis in axes_in(place) if place == to_axis(axis)), None)


def _other_places(read: Read, axis: int, mine: Mapping[Value, Part]) -> bool:
    rows = mine[read.operand].axis if read.operand in mine else None
    if any(bound.axis == axis for bound in read.where):
        return False
    for k, place in enumerate(read.axes):
        if k == rows or axis not in axes_in(place):
            continue
        if not isinstance(place, Look) or place.index not in mine:
            return False
        own = mine[place.index].axis
        if place.at[own] != to_axis(axis) or any(
            AXIS_NAMES[axis] in symbols_of(at) for n, at in enumerate(place.at) if n != own
        ):
            return False
    return True
