"""What a coarser granularity keeps of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from traceprop.ir.graph import Op, Program, Value
from traceprop.ir.opset import record
from traceprop.passes.optimize.asked import asked
from traceprop.passes.rewrite import AbstractPass


@dataclass(frozen=True)
class Coarsen(AbstractPass):
    """%1 = gather(%x, %i); %2 = gather(%1, %j)  =>  %c = gather(%i, %j); record(%c) {slot=0}

    Takes the place of `instrument` at granularity "batch" and "epoch". A run keeps one array of positions for a chain of
    gathers, the composed one, where nothing but the rows at its end is asked about (`asked.py` says what questions go
    through then): at "epoch" along the whole way from sources to results, at "batch" as far as rows are chosen batch by
    batch, by filters. Positions that are other recorded positions, moved (a column of a join's pairs, an end of a
    permutation), are not kept, and nor are parameters and constants, which the caller and the program have. What is
    computed stays, and `record`s have no result: values and index maps stay.
    """

    level: str = "epoch"
    name: ClassVar[str] = "coarsen"

    def __call__(self, program: Program) -> Program:
        found = asked(program, self.level)
        slots = {value: slot for slot, value in enumerate(found.recorded)}
        if not slots:
            return program
        waiting = list(found.composed)
        defined: set[Value] = set()
        ops: list[Op] = []

        def define(value: Value, at: Op | None) -> None:
            defined.add(value)
            if value in slots:
                ops.append(Op(record, [value], {"slot": slots[value]}, location=None if at is None else at.location))
            for op in [op for op in waiting if defined.issuperset(op.operands)]:
                if op in waiting:
                    waiting.remove(op)
                    ops.append(op)
                    define(op.result, op)

        for param in program.params:
            define(param, None)
        for op in (op for op in program.ops if op.definition is not record):
            ops.append(op)
            define(op.result, op)
        return program.with_ops(ops)
