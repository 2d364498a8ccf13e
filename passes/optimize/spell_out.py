"""Deviations from the mean as what NumPy computes for them."""

from __future__ import annotations

from typing import ClassVar

from traceprop.ir.graph import Op, Program, Value
from traceprop.ir.opset import elementwise, reduce
from traceprop.ir.types import ArrayType
from traceprop.passes.rewrite import AbstractPass, in_bodies, over

_SPREADS = ("numpy.std", "numpy.var")
FLOATS = ("f32", "f64")


class SpellOut(AbstractPass):
    """reduce[numpy.std](%x)  =>  sqrt(mean(square(%x - mean(%x))))

    NumPy's own steps in NumPy's own order, so every bit is kept; a cell of the result reads the same cells, by way of the mean
    too, which read them all. It pays because a program that standardises has the mean and the deviations already, and then
    computes them once. Of 32 and 64 bits, and divided by all rows (`ddof=0`).
    """

    name: ClassVar[str] = "spell_out"

    def __call__(self, program: Program) -> Program:
        program = in_bodies(program, self)
        if not any(_is_spread(op) for op in program.ops):
            return program
        replaced: dict[Value, Value] = {}
        kept: list[Op] = []
        for old in program.ops:
            op = over(old, replaced)
            steps = _spelled(op) if _is_spread(op) else [op]
            kept += steps
            if steps[-1] is not old:
                replaced[old.result] = steps[-1].result
        return program.with_ops(kept, [replaced.get(value, value) for value in program.returns])


def _is_spread(op: Op) -> bool:
    if op.definition is not reduce or op.payload not in _SPREADS or not set(op.attrs) <= {"axes", "keepdims"}:
        return False
    operand = op.operands[0].type
    return isinstance(operand, ArrayType) and operand.dtype in FLOATS and bool(op.attrs["axes"])


def _spelled(op: Op) -> list[Op]:
    (x,), axes = op.operands, op.attrs["axes"]
    dtype = x.type.dtype if isinstance(x.type, ArrayType) else None
    aligned = axes == tuple(range(len(axes)))  # what is left then meets the last axes by itself
    beside = {"axes": axes} if aligned else {"axes": axes, "keepdims": True}
    mean = Op(reduce, [x], beside, "numpy.mean", dtype, op.location)
    deviation = Op(elementwise, [x, mean.result], {}, "numpy.subtract", dtype, op.location)
    square = Op(elementwise, [deviation.result], {}, "numpy.square", dtype, op.location)
    variance = Op(reduce, [square.result], op.attrs, "numpy.mean", dtype, op.location)
    steps = [mean, deviation, square, variance]
    if op.payload == "numpy.std":
        steps.append(Op(elementwise, [variance.result], {}, "numpy.sqrt", dtype, op.location))
    return steps
