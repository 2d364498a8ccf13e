"""What the bodies of a `loop`, a `branch` and a `call` take and give.

A loop's operands are constants, then what is carried from turn to turn (`carries` of them), then, with `length`, series:
a turn takes one position of each series' first axis. Its body gives what is carried on, and, with `length`, this turn's
position of each result that is a series. Without `length`, a condition stands before the body and takes the same.
A branch's first operand decides; its other operands go to every body. A call's operands all go to its one body.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traceprop.errors import TypeRuleError
from traceprop.ir.types import ArrayType, Type

if TYPE_CHECKING:
    from traceprop.ir.graph import Program


@dataclass(frozen=True, slots=True)
class Turns:
    """How a loop's operands and results are divided: constants, carries, series, in this order."""

    constants: int
    carries: int
    length: int | None
    reverse: bool

    @classmethod
    def of(cls, attrs: Mapping[str, Any]) -> Turns:
        """As the attributes say. Raises `TypeRuleError` where they don't."""
        constants, carries, length = attrs.get("constants", 0), attrs.get("carries", 0), attrs.get("length")
        for name, number in (("constants", constants), ("carries", carries), ("length", length or 0)):
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise TypeRuleError(f"{name} is a number of at least 0, not {number!r}")
        return cls(constants, carries, length, bool(attrs.get("reverse", False)))

    @property
    def series(self) -> int:
        """The number of the first operand that is a series."""
        return self.constants + self.carries


def number_of_bodies(name: str, attrs: Mapping[str, Any], regions: Sequence[Program]) -> Iterator[str]:
    """Problems with how many bodies there are."""
    if name == "branch":
        if len(regions) < 2:
            yield f"has {len(regions)} bodies; it chooses among two or more"
    elif name == "call":
        if len(regions) != 1:
            yield f"has {len(regions)} bodies; it calls one"
    elif attrs.get("length") is not None and len(regions) != 1:
        yield f"has {len(regions)} bodies; with a length it has one"
    elif attrs.get("length") is None and len(regions) != 2:
        yield f"has {len(regions)} bodies; without a length it has a condition and a body"


def what_bodies_take(
    name: str, attrs: Mapping[str, Any], operands: Sequence[Type], regions: Sequence[Program]
) -> Iterator[str]:
    """Problems with the parameters of bodies, against the operands."""
    if name == "branch":
        which = operands[0] if operands else None
        if not isinstance(which, ArrayType) or which.dims or which.dtype[0] not in "biu":
            yield f"chooses by a whole number or a boolean, not by {which or 'nothing'}"
        expected = list(operands[1:])
    elif name == "call":
        expected = list(operands)
    else:
        turns = Turns.of(attrs)
        if turns.length is None and turns.series < len(operands) or turns.series > len(operands):
            yield (
                f"has {len(operands)} operands, but {turns.constants} constants and {turns.carries} carries"
                f"{'' if turns.length is None else ' before its series'}"
            )
        expected = list(operands[: turns.series])
        for type in operands[turns.series :]:
            if not isinstance(type, ArrayType) or type.dims[:1] != (turns.length,):
                yield f"has {turns.length} turns, but the series {type}"
            else:
                expected.append(ArrayType(type.dtype, type.dims[1:]))
    for region in regions:
        given = [param.type for param in region.params]
        if len(given) != len(expected):
            yield f"gives @{region.name} {len(expected)} values, but it takes {len(given)}"
        for param, type in zip(region.params, expected, strict=False):
            if param.type != type:
                yield f"gives %{param.name} of @{region.name} {type}, but it takes {param.type}"


def what_bodies_give(
    name: str, attrs: Mapping[str, Any], operands: Sequence[Type], regions: Sequence[Program]
) -> Iterator[str]:
    """Problems with what bodies return."""
    *conditions, body = regions
    given = [value.type for value in body.returns]
    number = attrs.get("result", 0)
    if not isinstance(number, int) or not 0 <= number < len(given):
        yield f"is result {number!r}, but @{body.name} gives {len(given)} values"
    if name == "call":
        return
    if name == "branch":
        for other in conditions:
            types = [value.type for value in other.returns]
            if types != given:
                yield f"@{other.name} gives {_listed(types)}, but @{body.name} gives {_listed(given)}"
        return
    turns = Turns.of(attrs)
    carried = list(operands[turns.constants : turns.series])
    if given[: turns.carries] != carried or (turns.length is None and len(given) != turns.carries):
        going = given if turns.length is None else given[: turns.carries]
        yield f"carries {_listed(carried)}, but @{body.name} gives {_listed(going)}"
    for condition in conditions:
        types = [value.type for value in condition.returns]
        if types != [ArrayType("bool", ())]:
            yield f"@{condition.name} gives {_listed(types)}; a condition gives bool[]"


def _listed(types: Sequence[Type]) -> str:
    return ", ".join(map(str, types)) or "nothing"
