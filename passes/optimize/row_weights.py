"""The weight of each row of a value, from the weights of the source rows that it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from traceprop.ir.graph import Op, Value
from traceprop.ir.index_map import AxisRead, Look, Read, carries
from traceprop.ir.index_map import axis as to_axis
from traceprop.ir.location import Location
from traceprop.ir.ops import OpDef
from traceprop.ir.opset import broadcast, concat, constant, elementwise, gather, pad, reshape, slice
from traceprop.ir.types import ArrayType

Factors = frozenset[Value]
"""Weight vectors whose product is the weight of a row: it is there if every row that it came from is."""


class Lost(Exception):
    """Rows went where their weights cannot be said."""


class Builder:
    """Ops in the order in which they were asked for; the same op over the same operands is one op."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.location: Location | None = None
        self._known: dict[tuple[object, ...], Value] = {}

    def __call__(
        self,
        definition: OpDef,
        operands: Sequence[Value],
        payload: str | None = None,
        result: str | None = None,
        **attrs: object,
    ) -> Value:
        key = (definition.name, payload, result, *operands, repr(attrs))
        if key not in self._known:
            op = Op(definition, operands, attrs, payload, result, self.location)
            self.ops.append(op)
            self._known[key] = op.result
        return self._known[key]

    def cells(self, payload: str, *operands: Value, dtype: str | None = None) -> Value:
        """An element-wise op."""
        return self(elementwise, operands, payload, dtype)

    def product(self, factors: Iterable[Value]) -> Value:
        """Cell by cell, of at least one vector."""
        first, *rest = sorted(factors, key=self._place)
        for other in rest:
            first = self.cells("numpy.multiply", first, other)
        return first

    def _place(self, value: Value) -> int:
        """Parameters first, then in the order of the program: the product's text must not hang on hashes."""
        numbers = {op: k for k, op in enumerate(self.ops)}
        return numbers.get(value.op, -1) if value.op is not None else -1

    def along(self, vector: Value, axis: int, rank: int) -> Value:
        """A vector as an array of a rank that varies along one axis."""
        if rank == 1:
            return vector
        return self(slice, [vector], index=tuple((None, None, None) if k == axis else None for k in range(rank)))


class RowWeights:
    """Weight factors per value and axis, carried along the index maps."""

    def __init__(self, build: Builder) -> None:
        self._build = build
        self._of: dict[Value, dict[int, Factors | None]] = {}

    def __getitem__(self, value: Value) -> dict[int, Factors | None]:
        """For every axis that carries weighted rows, their factors; `None` where they were lost."""
        return self._of.get(value, {})

    def __setitem__(self, value: Value, axes: dict[int, Factors | None]) -> None:
        self._of[value] = {axis: factors for axis, factors in axes.items() if factors is None or factors}

    def carry(self, op: Op) -> dict[int, Factors | None]:
        """The factors of an op's result; `op` is the one of the program without weights, whose positions hold."""
        if op.definition is reshape and op.result.rank == 1 and op.operands[0].rank > 1:
            return self._flattened(op)
        found: dict[int, Factors | None] = {}
        if op.definition is concat and op.attrs["axis"] in self._rows_of_any(op):
            found[op.attrs["axis"]] = self._stacked(op)
        for read in op.reads:
            for axis, factors in self[read.operand].items():
                for target in range(op.result.rank):
                    if target in found and op.definition is concat and target == op.attrs["axis"]:
                        continue
                    if carries(read.axes[axis], target):
                        moved = self._moved(factors, read, axis, target, op)
                        before = found.get(target, frozenset())
                        found[target] = None if moved is None or before is None else before | moved
        return found

    def _rows_of_any(self, op: Op) -> set[int]:
        return {axis for operand in op.operands for axis in self[operand]}

    def _moved(self, factors: Factors | None, read: Read, axis: int, target: int, op: Op) -> Factors | None:
        if factors is None:
            return None
        try:
            return frozenset(self._moved_one(factor, read.axes[axis], axis, target, op, read) for factor in factors)
        except Lost:
            return None

    def _moved_one(self, factor: Value, place: AxisRead, axis: int, target: int, op: Op, read: Read) -> Value:
        build, definition = self._build, op.definition
        if definition is slice and "index" in op.attrs:
            item = _item_of_axis(op.attrs["index"], axis)
            return factor if item == (None, None, None) else build(slice, [factor], index=(item,))
        if definition is pad:
            ones = build(broadcast, [build(constant, [], value=1.0)], shape=(op.attrs["rows"],))
            return build(concat, [factor, ones], axis=0)
        if isinstance(place, Look):
            return build(gather, [factor, self._positions(place, target)], axis=0)
        same = op.result.type.dims[target] == read.operand.type.dims[axis]  # a diagonal may be shorter than its rows
        if same and place == to_axis(target) and not any(bound.axis == target for bound in read.where):
            return factor
        raise Lost

    def _positions(self, look: Look, target: int) -> Value:
        """The positions as a vector over the rows of the result: an index array, or one column of it."""
        index: list[object] = []
        rows = 0
        for at in look.at:
            if isinstance(at, int):
                index.append(at)
            elif at == to_axis(target):
                index.append((None, None, None))
                rows += 1
            else:
                raise Lost
        if rows != 1:
            raise Lost
        return look.index if len(index) == 1 else self._build(slice, [look.index], index=tuple(index))

    def _stacked(self, op: Op) -> Factors | None:
        """Of values under one another: one vector, of ones where a part has no weights."""
        along, parts = op.attrs["axis"], []
        for operand in op.operands:
            factors = self[operand].get(along, frozenset())
            if factors is None:
                return None
            if factors:
                parts.append(self._build.product(factors))
            else:
                one = self._build(constant, [], value=1.0)
                parts.append(self._build(broadcast, [one], shape=(operand.type.dims[along],)))
        return frozenset([parts[0] if len(parts) == 1 else self._build(concat, parts, axis=0)])

    def _flattened(self, op: Op) -> dict[int, Factors | None]:
        """Every cell of a flattened array has the weight of its row."""
        (operand,) = op.operands
        if not self[operand]:
            return {}
        if any(factors is None for factors in self[operand].values()) or not isinstance(operand.type, ArrayType):
            return {0: None}
        flat: set[Value] = set()
        for axis, factors in self[operand].items():
            for factor in factors or ():
                column = self._build.along(factor, axis, operand.rank)
                wide = self._build(broadcast, [column], shape=operand.type.dims)
                flat.add(self._build(reshape, [wide], shape=op.attrs["shape"]))
        return {0: frozenset(flat)}


def _item_of_axis(index: Sequence[object], axis: int) -> object:
    """What a slice takes along one axis of its operand."""
    items = [item for item in index if item is not None]
    return items[axis] if axis < len(items) else (None, None, None)
