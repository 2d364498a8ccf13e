"""The one walk over a program that passes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from traceprop.ir.graph import Op, Program, Value


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
        return program.with_ops(kept, [replaced.get(value, value) for value in program.returns])


def over(op: Op, replaced: Mapping[Value, Value]) -> Op:
    """The op over the values that took its operands' places; the op itself where none did."""
    if not any(value in replaced for value in op.operands):
        return op
    return op.with_operands([replaced.get(value, value) for value in op.operands])
