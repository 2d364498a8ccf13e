"""The one walk over a program that passes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from traceprop.ir.graph import Op, Program, Value
from traceprop.ir.opset import call


class AbstractPass(ABC):
    """A program to a program that computes the same values with the same lineage. Options are fields of the subclass."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, program: Program) -> Program:
        """The rewritten program; the given one is left as it is."""


class AbstractRewrite(AbstractPass):
    """A pass that looks at one op at a time: `rewrite` gives the value to use instead, or `None` for "not mine"."""

    @abstractmethod
    def rewrite(self, op: Op) -> Value | None:
        """What takes the place of `op.result`: an earlier value, or the result of a new op over `op`'s operands."""

    def __call__(self, program: Program) -> Program:
        replaced: dict[Value, Value] = {}
        kept: list[Op] = []
        present: set[Op] = set()
        program = in_bodies(program, self)
        for old in program.ops:
            op = over(old, replaced)
            value = self.rewrite(op)
            if value is None:
                value = op.result
            if value.op is not None and value.op not in present:
                present.add(value.op)
                kept.append(value.op)
            if value is not old.result:
                replaced[old.result] = value
        if not replaced:
            return program
        return program.with_ops(kept, [replaced.get(value, value) for value in program.returns])


def in_bodies(program: Program, step: Callable[[Program], Program]) -> Program:
    """The program with a pass run over every body, whose values and map it keeps; the program itself where that changes none.

    The body of a `call` is left as the pass that made it has made it.
    """
    if not any(op.regions for op in program.ops):
        return program
    replaced: dict[Value, Value] = {}
    kept: list[Op] = []
    for old in program.ops:
        op = over(old, replaced)
        if op.regions and op.definition is not call:
            regions = [_same_or(region, step(region)) for region in op.regions]
            if any(new is not region for new, region in zip(regions, op.regions, strict=True)):
                op = op.with_regions(regions)
        if op is not old:
            replaced[old.result] = op.result
        kept.append(op)
    return program.with_ops(kept, [replaced.get(value, value) for value in program.returns]) if replaced else program


def _same_or(region: Program, new: Program) -> Program:
    return region if new.ops == region.ops and new.returns == region.returns else new


def over(op: Op, replaced: Mapping[Value, Value]) -> Op:
    """The op over the values that took its operands' places; the op itself where none did."""
    if not replaced or not any(value in replaced for value in op.operands):
        return op
    return op.with_operands([replaced.get(value, value) for value in op.operands])
