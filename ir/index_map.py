"""Which operand cells a result cell reads, as a function of the result's indices: an op's lineage.

A map holds, for every operand, pieces; a piece is a box of result cells and one read per operand axis:

- an expression over result axes (`i`, `i-N`, `i//28`): *mapped*;
- `Span(lo, hi, step)`: a range of positions;
- `Full`: all of the axis, as in a reduction;
- `Look(index, at)`: *looked up* in an array of positions that only the run knows;
- `Members(index, at)`: every position at which such an array holds the number `at`.

An axis read is relative to nothing but the result's indices, so maps cost the same for ten rows and for a billion.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from traceprop.ir.expr import Dim, Expr, symbol, symbols_of

if TYPE_CHECKING:
    from traceprop.ir.graph import Value


class Kind(Enum):
    """How a read counts. Along a path the weaker kind wins: direct > aggregate > control > order.

    `DATA` reads are `direct` while one axis carries the row one to one, and `aggregate` from where it no longer does;
    which of the two is a matter of the whole path, so a single op's map does not say it.
    """

    DATA = "data"
    CONTROL = "control"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Full:
    """Every position of the axis."""

    def __str__(self) -> str:
        return "*"


@dataclass(frozen=True, slots=True)
class Span:
    """The positions lo, lo+step, … below hi."""

    lo: Dim
    hi: Dim
    step: int = 1

    def __str__(self) -> str:
        return f"{self.lo}..{self.hi}" + (f":{self.step}" if self.step != 1 else "")


@dataclass(frozen=True, slots=True)
class Look:
    """The position that `index` holds at `at`, one expression per axis of `index`. A negative one counts from the end."""

    index: Value
    at: tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class Members:
    """The positions at which `index`, which has one axis, holds the number `at`: the rows of a group."""

    index: Value
    at: Dim


AxisRead = int | Expr | Full | Span | Look | Members


@dataclass(frozen=True, slots=True)
class Bound:
    """Result cells whose index on `axis` is at least `lo` and below `hi` (`None`: no bound)."""

    axis: int
    lo: Dim | None = None
    hi: Dim | None = None

    def __str__(self) -> str:
        name = AXIS_NAMES[self.axis]
        if self.lo is None:
            return f"{name}<{self.hi}"
        return f"{name}>={self.lo}" if self.hi is None else f"{self.lo}<={name}<{self.hi}"


@dataclass(frozen=True, slots=True)
class Read:
    """What the result cells inside `where` (all bounds hold) read of one operand, axis by axis."""

    operand: Value
    axes: tuple[AxisRead, ...]
    kind: Kind = Kind.DATA
    where: tuple[Bound, ...] = ()


# One name per result axis; more than 12 axes continue as i12, i13, …
AXIS_NAMES = [*"ijklmnopqrst", *(f"i{n}" for n in range(12, 64))]


@lru_cache(maxsize=64)
def axis(position: int) -> Expr:
    """The expression for the result's index on an axis."""
    return symbol(AXIS_NAMES[position])


def axes(rank: int) -> tuple[Expr, ...]:
    """The expressions for all of a result's indices: (i, j, …)."""
    return tuple(map(axis, range(rank)))


_AXIS_OF = {name: position for position, name in enumerate(AXIS_NAMES)}


def axes_in(read: AxisRead) -> frozenset[int]:
    """The result axes that a read is a function of."""
    match read:
        case Full():
            return frozenset()
        case Span(lo, hi):
            dims: tuple[Dim, ...] = (lo, hi)
        case Look(at=at):
            dims = at
        case Members(at=number):
            dims = (number,)
        case _:
            dims = (read,)
    names = frozenset().union(*map(symbols_of, dims))
    return frozenset(_AXIS_OF[name] for name in names if name in _AXIS_OF)


def carries(read: AxisRead, result_axis: int) -> bool:
    """Whether each position of `result_axis` stands for exactly one position of the operand's axis."""
    return not isinstance(read, (Full, Span, Members)) and axes_in(read) == {result_axis}
