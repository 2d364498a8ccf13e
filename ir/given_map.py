"""An index map that one op carries because its structural op has no rule: registered by a user, or read from text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from traceprop.ir.expr import Dim, Expr
from traceprop.ir.index_map import AxisRead, Bound, Full, Kind, Look, Members, Read, Span

if TYPE_CHECKING:
    from traceprop.ir.graph import Op, Value

OWN_RESULT = -1


@dataclass(frozen=True, slots=True)
class GivenLook:
    """The position that the op's operand number `index` (`OWN_RESULT`: its result) holds at `at`."""

    index: int
    at: tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class GivenMembers:
    """The positions at which the op's operand number `index` (`OWN_RESULT`: its result) holds the number `at`."""

    index: int
    at: Dim


GivenAxis = int | Expr | Full | Span | GivenLook | GivenMembers


@dataclass(frozen=True, slots=True)
class GivenRead:
    """A `Read` whose values are numbers of operands, so that the map outlives a change of operands."""

    operand: int
    axes: tuple[GivenAxis, ...]
    kind: Kind = Kind.DATA
    where: tuple[Bound, ...] = ()


@dataclass(frozen=True, slots=True)
class GivenMap:
    """A lineage rule for one op: `Op(opaque, …, rule=GivenMap((GivenRead(0, axes(1)),)))`.

    Not `exact`: the reads hold every true dependence, and maybe others.
    """

    reads: tuple[GivenRead, ...]
    exact: bool = True

    def __call__(self, op: Op) -> tuple[Read, ...]:
        def place(axis: GivenAxis) -> AxisRead:
            if not isinstance(axis, (GivenLook, GivenMembers)):
                return axis
            index = op.result if axis.index == OWN_RESULT else op.operands[axis.index]
            return Look(index, axis.at) if isinstance(axis, GivenLook) else Members(index, axis.at)

        return tuple(
            Read(op.operands[read.operand], tuple(map(place, read.axes)), read.kind, read.where) for read in self.reads
        )


def every_cell(operands: Sequence[Value]) -> tuple[GivenRead, ...]:
    """Reads of every cell of every operand."""
    return tuple(GivenRead(k, (Full(),) * value.rank) for k, value in enumerate(operands))
