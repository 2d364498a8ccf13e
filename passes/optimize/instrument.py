"""Which values a run must keep so that lineage questions have answers."""

from __future__ import annotations

from typing import ClassVar

from traceprop.ir.graph import Op, Program, Value
from traceprop.ir.index_map import Look, Members
from traceprop.ir.opset import (
    broadcast,
    concat,
    constant,
    contract,
    elementwise,
    iota,
    record,
    reduce,
    reshape,
    scan,
    slice,
    transpose,
)
from traceprop.passes.rewrite import AbstractPass

# Ops whose map is known before the run: there is nothing to look for in it, and no need to make it while tracing.
FIXED = frozenset(
    {broadcast, concat, constant, contract, elementwise, iota, record, reduce, reshape, scan, slice, transpose}
)


class Instrument(AbstractPass):
    """Adds `record(%index) {slot=n}` for every value that an index map looks positions up in.

    Those values are all that the data decides about lineage; each is kept once, however many ops look it up. A `record`
    computes nothing, so values and index maps stay.
    """

    name: ClassVar[str] = "instrument"

    def __call__(self, program: Program) -> Program:
        slots = {value: slot for slot, value in enumerate(captured_values(program))}
        if not slots:
            return program
        ops: list[Op] = []
        for param in program.params:
            if param in slots:
                ops.append(Op(record, [param], {"slot": slots[param]}))
        for op in program.ops:
            ops.append(op)
            if op.result in slots:
                ops.append(Op(record, [op.result], {"slot": slots[op.result]}, location=op.location))
        return program.with_ops(ops)


def captured_values(program: Program) -> list[Value]:
    """The values that index maps of the program look positions up in, in order of first use: slot n is the nth."""
    found: dict[Value, None] = {}
    for op in program.ops:
        if op.definition in FIXED or op.rule is None:
            continue
        for read in op.reads:
            for place in read.axes:
                if isinstance(place, (Look, Members)):
                    found.setdefault(place.index)
    return list(found)
