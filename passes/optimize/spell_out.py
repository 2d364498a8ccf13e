"""Deviations from the mean as what NumPy computes for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from traceprop.ir.graph import Op, Param, Program, Value
from traceprop.ir.opset import elementwise, reduce
from traceprop.ir.types import ArrayType
from traceprop.passes.rewrite import AbstractPass, in_bodies, over

SPREADS = ("numpy.std", "numpy.var")
FLOATS = ("f32", "f64")


@dataclass(frozen=True)
class SpellOut(AbstractPass):
    """reduce[numpy.std](%x)  =>  sqrt(mean(square(%x - mean(%x))))

    NumPy's own steps in NumPy's own order, so every bit is kept; a cell of the result reads the same cells, by way of the mean
    too, which read them all. It pays where these are computed in one go with what is around them, and where a program that
    standardises has the mean and the deviations already. Of 32 and 64 bits, and divided by all rows (`ddof=0`).
    """

    name: ClassVar[str] = "spell_out"
    of_parameters: bool = True
    """Whether also down the columns of a parameter, of which there is nothing that would be computed on the way."""

    def __call__(self, program: Program) -> Program:
        program = in_bodies(program, self)
        if not any(map(self._is_spread, program.ops)):
            return program
        replaced: dict[Value, Value] = {}
        kept: list[Op] = []
        for old in program.ops:
            op = over(old, replaced)
            steps = _spelled(op) if self._is_spread(op) else [op]
            kept += steps
            if steps[-1] is not old:
                replaced[old.result] = steps[-1].result
        return program.with_ops(kept, [replaced.get(value, value) for value in program.returns])

    def _is_spread(self, op: Op) -> bool:
        if (
            op.definition is not reduce
            or op.payload not in SPREADS
            or not set(op.attrs) <= {"axes", "keepdims", "ddof"}
        ):
            return False
        operand, axes = op.operands[0], op.attrs["axes"]
        if isinstance(operand, Param) and axes == (0,) and not self.of_parameters:
            return False
        floats = isinstance(operand.type, ArrayType) and operand.type.dtype in FLOATS
        return floats and bool(axes) and not op.attrs.get("ddof")


def _spelled(op: Op) -> list[Op]:
    (x,), axes = op.operands, op.attrs["axes"]
    dtype = x.type.dtype if isinstance(x.type, ArrayType) else None
    aligned = axes == tuple(range(len(axes)))  # what is left then meets the last axes by itself
    beside = {"axes": axes} if aligned else {"axes": axes, "keepdims": True}
    mean = Op(reduce, [x], beside, "numpy.mean", dtype, op.location)
    deviation = Op(elementwise, [x, mean.result], {}, "numpy.subtract", dtype, op.location)
    square = Op(elementwise, [deviation.result], {}, "numpy.square", dtype, op.location)
    kept = {name: value for name, value in op.attrs.items() if name != "ddof"}
    variance = Op(reduce, [square.result], kept, "numpy.mean", dtype, op.location)
    steps = [mean, deviation, square, variance]
    if op.payload == "numpy.std":
        steps.append(Op(elementwise, [variance.result], {}, "numpy.sqrt", dtype, op.location))
    return steps
