"""The program as it would be if some rows counted less, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir.graph import Op, Param, Program, Value, payload_dtype
from traceprop.ir.index_map import Full, Kind, Members, Span
from traceprop.ir.opset import (
    concat,
    constant,
    contract,
    distinct,
    elementwise,
    filter,
    gather,
    group,
    join,
    match,
    pad,
    random,
    reduce,
    scan,
    segment,
    slice,
    sort,
)
from traceprop.ir.types import ArrayType, TableType, Type, dtype_name, numpy_dtype
from traceprop.passes.optimize.dce import DCE
from traceprop.passes.optimize.row_weights import Builder, RowWeights
from traceprop.passes.optimize.weighted_forms import SAME, SCANS, Fold, GroupFold, group_form, reduction
from traceprop.passes.optimize.write_out import WriteOut
from traceprop.passes.rewrite import AbstractPass

_POSITIONS = (filter, sort, distinct, join, random, group, match)
PREFIX, AGAIN = "weights_", "again_"
"""How the parameters that the pass adds begin."""


@dataclass(frozen=True)
class Reweighted:
    """A program with weights, and what became of the one without.

    Attributes
    ----------
    values
        For every value that the program returned, what takes its place.
    rows
        For every such value with weighted rows, the weight of each: what `program` returns behind the values.
    held
        The steps that stay as they are with all rows, and why; one sentence each.
    forms
        How many reductions follow the weights.
    followed
        Which: each once, with the line.
    """

    program: Program
    values: dict[Value, Value]
    rows: dict[Value, Value]
    held: tuple[str, ...]
    forms: int
    followed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reweight(AbstractPass):
    """%m = reduce[numpy.mean](%x) {axes=(0,)}  =>  sum(%x * %weights_x) / sum(%weights_x)

    Every source named in `sources` (all, if None) has one more parameter, a number per row, and every reduction over rows is
    its weighted form. With weights 1 it is the program. With weights of 0 and 1 it is, on the rows that stay, the
    program run again without the others: a weighted form counts nothing that has no weight, and everything else maps
    rows to rows, so that no row of weight 0 reaches one that stays. Positions (sorts, filters, joins, groups,
    samples), words and groups are those of the run with all rows. What has no weighted form stays as it was there; `of` names it.
    """

    sources: tuple[str, ...] | None = None
    name: ClassVar[str] = "reweight"

    def __call__(self, program: Program) -> Program:
        return self.of(program).program

    def of(self, program: Program) -> Reweighted:
        """The program with weights, and the steps that stay as they were. Raises `TraceError` for a source that it has not."""
        known = {param.source: param for param in program.params if param.source is not None and param.rank}
        for name in self.sources or ():
            if name not in known:
                listed = ", ".join(map(repr, known))
                raise TraceError(f"{program.name} has no source {name!r} with rows; its sources are {listed}")
        wanted = known if self.sources is None else self.sources
        chosen = [param for param in program.params if param.source in wanted and param.rank and not param.fitted]
        return reweighted(program, chosen)


def reweighted(
    program: Program, weighted: Sequence[Param], changed: Mapping[Param, Type] | None = None, rows: bool = False
) -> Reweighted:
    """The program with a weight for each row of some parameters, the new parameters behind the old ones, in order.

    `changed`: parameters that the weights change, as results of an earlier program, with the types that they have then;
    each has another parameter, behind those of the weights, for what it is with weights. With `rows`, the weights of
    the returned values' rows are returned too.
    """
    written = WriteOut()(program)
    found = _Walk(written, weighted, changed or {}).result(rows)
    if written is program:
        return found
    before = dict(zip(program.returns, written.returns, strict=True))
    values = {value: found.values[new] for value, new in before.items()}
    row_weights = {value: found.rows[new] for value, new in before.items() if new in found.rows}
    return replace(found, values=values, rows=row_weights)


class _Walk:
    """Two programs side by side: `self.plain` without weights, and `self.new` with them, one value where they agree."""

    def __init__(self, program: Program, weighted: Sequence[Param], changed: Mapping[Param, Type]) -> None:
        self.program = program
        self.build = Builder()
        self.weights = RowWeights(self.build)
        self.new: dict[Value, Value] = {}
        self.held: dict[str, None] = {}
        self.forms = 0
        self.followed: dict[str, None] = {}
        self.params: list[Param] = []
        for param in weighted:
            source = None if param.source is None else weights_id(param.source)
            weight = Param(f"{PREFIX}{param.name}", ArrayType("f64", (param.type.dims[0],)), source)
            self.params.append(weight)
            self.weights[param] = {0: frozenset([weight])}
        for param, type in changed.items():
            again = Param(f"{AGAIN}{param.name}", type, param.source, param.fitted)
            self.new[param] = again
            self.params.append(again)

    def result(self, keep_rows: bool) -> Reweighted:
        for op in self.program.ops:
            self.build.location = op.location
            self.build.ops.append(op)
            if op.definition.effect:
                continue
            self.new[op.result] = self._weighted(op)
            self.weights[op.result] = self.weights.carry(op)
            self._special_rows(op)
        values = {value: self._of(value) for value in self.program.returns}
        rows = {value: row for value in values if (row := self._rows_of(value)) is not None} if keep_rows else {}
        if self.forms:
            self._note_counted_rows()
        returns = tuple(dict.fromkeys([*values.values(), *rows.values()])) if keep_rows else tuple(values.values())
        params = (*self.program.params, *self.params)
        program = DCE()(Program(self.program.name, params, tuple(self.build.ops), returns))
        return Reweighted(program, values, rows, tuple(self.held), self.forms, tuple(self.followed))

    def _rows_of(self, value: Value) -> Value | None:
        if 0 not in self.weights[value]:
            return None
        factors = self.weights[value][0]
        if factors is None:
            self.held["the rows of a result went through a step that tells them apart no more; they keep weight 1"] = (
                None
            )
            return None
        return self.build.product(factors)

    def _note_counted_rows(self) -> None:
        """A number of rows that was counted (`len(x)`) is a constant, and cannot follow weights.

        A function that was traced for one number of rows may have counted them. Expressions outside of functions always hold for
        one number; there a constant gives it away that is about as large.
        """
        numbers = [op.attrs["value"] for op in self.program.ops if op.definition is constant and op.result.rank == 0]
        for value, rows in [(v, v.type.dims[k]) for v in self.program.values for k in self.weights[v]]:
            if not isinstance(rows, int) or rows == 1:
                continue
            counted = any(isinstance(n, (int, float)) and abs(n - rows) <= 1 for n in numbers)
            if counted or (self.program.name != "expression" and value.op is None):
                name = f"%{value.name}" if isinstance(value, Param) else "a value"
                note = f"{name} has {rows} rows written in; a number of rows that was counted, as len(x) is, stays"
                self.held[note] = None
                return

    # -- one op ---------------------------------------------------------------------------------------------------------

    def _weighted(self, op: Op) -> Value:
        """The op's result with weights."""
        changed = any(self._of(value) is not value for value in op.operands)
        if changed and op.definition is slice and isinstance(op.operands[0].type, TableType):
            names = [op.attrs["column"]] if "column" in op.attrs else op.attrs["columns"]
            changed = any(self._changes_column(op.operands[0], name) for name in names)
        if op.definition in _POSITIONS:
            if changed:
                self._hold(op, "finds positions among values that the weights change; they stay those of all rows")
            return op.result
        folded = self._folded(op)
        if folded and op.payload not in SAME:
            return self._fold(op, folded)
        if op.payload in SAME or not changed:
            return op.result
        if op.regions and any(self._of(value).type != value.type for value in op.operands):
            return self._hold(op, "has a body for values of another type than those with weights")
        elsewhere = op.definition is gather and self._of(op.operands[1]) is not op.operands[1]
        if elsewhere and op.attrs.get("axis", 0) in self.weights[op.operands[0]]:
            self._hold(op, "takes rows at positions that the weights change; they stay those of all rows")
            return self._over(op, fixed=(1,))
        return self._over(op)

    def _folded(self, op: Op) -> set[int]:
        """The positions of operands whose weighted rows end in this op."""
        found: set[int] = set()
        for read in op.reads:
            if read.kind is Kind.ORDER:
                continue
            for axis in self.weights[read.operand]:
                if isinstance(read.axes[axis], (Full, Span, Members)):
                    found.update(k for k, value in enumerate(op.operands) if value is read.operand)
        return found

    def _fold(self, op: Op, folded: set[int]) -> Value:
        """The weighted form of a reduction over rows, or the reduction as it was."""
        axes = [self.weights[op.operands[k]] for k in folded]
        if any(factors is None for found in axes for factors in found.values()):
            return self._hold(op, "folds rows that went through a step that tells them apart no more")
        value = None
        if op.definition is reduce:
            value = self._reduce(op)
        elif op.definition is scan:
            value = self._scan(op)
        elif op.definition is contract and op.native is None:
            value = self._contract(op)
        elif op.definition is segment:
            value = self._segment(op)
        if value is None:
            return self._hold(op, "has no form with weights")
        self.forms += 1
        self.followed[f"{op.label} at {op.location or 'an unknown line'}"] = None
        return value

    def _reduce(self, op: Op) -> Value | None:
        form = reduction(op)
        if form is None:
            return None
        (operand,) = op.operands
        product = self.build.product
        weights = {axis: product(f) for axis, f in self.weights[operand].items() if f and axis in op.attrs["axes"]}
        return form(Fold(op, self._of(operand), weights, self.build))

    def _scan(self, op: Op) -> Value | None:
        payload, (operand,) = SCANS.get(op.payload or ""), op.operands
        if payload is None or op.native is not None:
            return None
        axis = op.attrs["axis"]
        x, factors = self._of(operand), self.weights[operand][axis]
        weight = self.build.along(self.build.product(factors or ()), axis, operand.rank)
        held = payload_dtype(x.type) or "f64"
        wide = held if payload.startswith("or_") or held[0] in "fc" else "f64"
        cells = self.build.cells(f"weighted.{payload}", x, weight, dtype=wide)
        return self.build(
            scan, [cells], op.payload, None if wide != held else payload_dtype(op.result.type), **op.attrs
        )

    def _contract(self, op: Op) -> Value:
        """One operand is scaled by the weights of a shared row, the others lose the cells that no longer count."""
        terms, _, result = op.attrs["spec"].partition("->")
        letters = terms.split(",")
        operands = [self._of(value) for value in op.operands]
        shared: dict[str, set[Value]] = {}
        for value, term in zip(op.operands, letters, strict=True):
            for axis, factors in self.weights[value].items():
                if term[axis] not in result:
                    shared.setdefault(term[axis], set()).update(factors or ())
        for letter, row_factors in shared.items():
            weight, scaled = self.build.product(row_factors), False
            for k, term in enumerate(letters):
                if letter in term:
                    own = self.build.along(weight, term.index(letter), operands[k].rank)
                    held = payload_dtype(operands[k].type) or "f64"
                    payload = "weighted.or_zero" if scaled else "weighted.scaled"
                    dtype = held if scaled or held[0] in "fc" else "f64"
                    operands[k] = self.build.cells(payload, operands[k], own, dtype=dtype)
                    scaled = True
        dtype = np.result_type(*(_numpy(value) for value in operands)).name
        return self.build(contract, operands, op.payload, _ir_dtype(dtype), **op.attrs)

    def _segment(self, op: Op) -> Value | None:
        form = group_form(op)
        if form is None:
            return None
        operand, codes = op.operands
        factors = (self.weights[operand].get(0) or frozenset()) | (self.weights[codes].get(0) or frozenset())
        return form(GroupFold(op, self._of(operand), codes, self.build.product(factors), self.build))

    def _over(self, op: Op, fixed: tuple[int, ...] = ()) -> Value:
        """The same op over operands that the weights changed."""
        operands = [value if k in fixed else self._of(value) for k, value in enumerate(op.operands)]
        dtype = _cells_dtype(op, operands)
        again = Op(op.definition, operands, op.attrs, op.payload, dtype, op.location, op.rule, op.native, op.regions)
        self.build.ops.append(again)
        return again.result

    def _changes_column(self, table: Value, name: str) -> bool:
        """Whether the weights change this column of a table, and not only others."""
        op = table.op
        if self._of(table) is table:
            return False
        if op is None or op.definition not in (slice, gather, concat):
            return True
        if op.definition is not concat or op.attrs["axis"] == 0:
            return any(self._changes_column(part, name) for part in op.operands if isinstance(part.type, TableType))
        named = iter(op.attrs.get("names", ()))
        for part in op.operands:
            if isinstance(part.type, TableType):
                if any(field.name == name for field in part.type.fields):
                    return self._changes_column(part, name)
            elif next(named) == name:
                return self._of(part) is not part
        return True

    def _special_rows(self, op: Op) -> None:
        """Rows that ops make of rows in ways that their maps do not tell."""
        if op.definition is scan:
            self.weights[op.result] = self.weights[op.operands[0]]
        elif op.definition is segment:
            self._groups(op)
        elif op.definition is pad and self.weights[op.operands[0]]:
            self._hold(
                op, "pads rows for a left join; a row of the right side that is left out still fills in its cells"
            )
            self.weights[op.result] = {}
        elif op.definition is distinct and self.weights[op.operands[0]]:
            self._hold(op, "keeps the first row of each key, which stays the one it was")
        elif op.definition is join and op.attrs["how"] in ("semi", "anti") and self.weights[op.operands[1]]:
            self._hold(op, "asks whether a row has a partner; one that is left out still counts as one")
        elif op.definition is join and op.attrs["how"] == "left":
            self.weights[op.result] = {}

    def _groups(self, op: Op) -> None:
        """A group is there while one of its rows is. The words of an encoding are no rows, and keep their places."""
        operand, codes = op.operands
        axes = dict(self.weights[operand])
        if codes.op is None or codes.op.definition is not group:
            axes.pop(0, None)
            self.weights[op.result] = axes
            return
        rows = [self.weights[value].get(0, frozenset()) for value in (operand, codes)]
        axes.pop(0, None)
        if any(factors is None for factors in rows):
            axes[0] = None
        else:
            factors = rows[0] | rows[1]  # type: ignore[operator]
            if factors:
                gone = self.build.cells("weighted.log_absent", self.build.product(factors), dtype="f64")
                sums = self.build(segment, [gone, codes], "table.group_sum", "f64", groups=op.attrs["groups"])
                axes[0] = frozenset([self.build.cells("weighted.from_log_absent", sums, dtype="f64")])
        self.weights[op.result] = axes

    def _hold(self, op: Op, reason: str) -> Value:
        self.held[f"{op.label} at {op.location or 'an unknown line'} {reason}"] = None
        return op.result

    def _of(self, value: Value) -> Value:
        return self.new.get(value, value)


def weights_id(source: str) -> str:
    """The source id of a source's weights."""
    return f"weights of {source}"


def _cells_dtype(op: Op, operands: Sequence[Value]) -> str | None:
    """The dtype of the op over other operands: a ufunc's may follow a count that is a float now."""
    kept = payload_dtype(op.result.type)
    name = (op.payload or "").removeprefix("numpy.")
    before = [payload_dtype(value.type) for value in op.operands]
    if before == [payload_dtype(value.type) for value in operands]:
        return kept
    function = getattr(np, name, None)
    if op.definition is elementwise and name != op.payload and isinstance(function, np.ufunc):
        return _ir_dtype(np.dtype(function.resolve_dtypes((*map(_numpy, operands), *(None,) * function.nout))[-1]).name)
    if op.definition is elementwise and "dtype" not in op.attrs and op.payload == "numpy.where":
        return _ir_dtype(np.result_type(*(_numpy(value) for value in operands[1:])).name)
    moves = op.payload is None and isinstance(operands[0].type, ArrayType)
    return payload_dtype(operands[0].type) if moves else kept


def _numpy(value: Value) -> np.dtype:
    return np.dtype(numpy_dtype(payload_dtype(value.type) or "f64"))


def _ir_dtype(name: str) -> str:
    return dtype_name(np.dtype(name))
