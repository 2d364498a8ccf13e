"""Dead code elimination."""

from __future__ import annotations

from typing import ClassVar

from traceprop.ir.graph import Op, Program, Value
from traceprop.passes.rewrite import AbstractPass, in_bodies


class DCE(AbstractPass):
    """An op whose result nobody uses  =>  nothing

    Returned values and what `record` ops keep are used. Nothing that is left reads what is dropped, so values and
    index maps stay. In a body, what it gives is used.
    """

    name: ClassVar[str] = "dce"

    def __call__(self, program: Program) -> Program:
        program = in_bodies(program, self)
        wanted: set[Value] = set(program.returns)
        kept: list[Op] = []
        for op in reversed(program.ops):
            if op.definition.effect or op.result in wanted:
                wanted.update(op.operands)
                kept.append(op)
        return program if len(kept) == len(program.ops) else program.with_ops(reversed(kept))
