"""Chains of element-wise functions as one op, computed block by block."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from traceprop.ir.graph import Op, Program, Value, payload_dtype
from traceprop.ir.opset import elementwise
from traceprop.ir.types import ArrayType
from traceprop.passes.optimize.uses import use_counts
from traceprop.passes.rewrite import AbstractPass, in_bodies, over

FUSED = "fused"
"""The payload of a chain; `steps=(("numpy.subtract", 0, 1), ("numpy.divide", 2, 3))` counts operands and then steps."""


class Fuse(AbstractPass):
    """%a = elementwise[f](%x, %y); %b = elementwise[g](%a, %z)  =>  elementwise[fused](%x, %y, %z) {steps=((f, 0, 1), (g, 3, 2))}

    NumPy's functions of cells, each of which computes a cell of its operands' cells at the same place: so does the chain, from
    the same cells, in the same steps. What is between them is not kept as a whole: blocks of it stay in the cache. A step
    is taken into the chain where nothing else needs its result, and where it decides nothing (a `where` stays an op,
    for its condition is of another kind). What follows a reduction is fused likewise.
    """

    name: ClassVar[str] = "fuse"

    def __call__(self, program: Program) -> Program:
        program = in_bodies(program, self)
        uses = use_counts(program)
        replaced: dict[Value, Value] = {}
        kept: list[Op] = []
        inlined: set[Op] = set()
        for old in program.ops:
            op = over(old, replaced)
            if _is_step(op):
                parts = [
                    v.op for k, v in enumerate(op.operands) if uses[old.operands[k]] == 1 and v.op and _is_step(v.op)
                ]
                if parts:
                    op = _joined(op, parts)
                    inlined.update(parts)
            if op.result is not old.result:
                replaced[old.result] = op.result
            kept.append(op)
        returns = [replaced.get(value, value) for value in program.returns]
        return program.with_ops([op for op in kept if op not in inlined], returns) if inlined else program


def _is_step(op: Op) -> bool:
    """Whether an op is a NumPy function of cells and nothing more."""
    if op.definition is not elementwise or not isinstance(op.result.type, ArrayType) or op.native is not None:
        return False
    if op.payload == FUSED:
        return True
    function = getattr(np, (op.payload or "").removeprefix("numpy."), None)
    if not isinstance(function, np.ufunc) or function.nout != 1 or function.signature is not None:
        return False
    numbers = all(isinstance(v.type, ArrayType) and v.type.dtype[0] in "biuf" for v in op.operands)
    return numbers and not op.attrs and len(op.operands) == function.nin


def _steps(op: Op) -> tuple[tuple[Any, ...], ...]:
    """The steps of an op that is one, or is a chain."""
    return op.attrs["steps"] if op.payload == FUSED else ((op.payload, *range(len(op.operands))),)


def _joined(op: Op, parts: list[Op]) -> Op:
    """An op and the steps behind some of its operands as one chain."""
    operands: list[Value] = []
    for value in op.operands:
        operands += value.op.operands if value.op in parts and value.op is not None else [value]
    operands = list(dict.fromkeys(operands))
    steps: list[tuple[Any, ...]] = []
    where: dict[Value, int] = {value: k for k, value in enumerate(operands)}

    def add(step_op: Op) -> int:
        first = len(operands) + len(steps)
        places = [where[value] for value in step_op.operands]
        own = len(step_op.operands)
        for name, *arguments in _steps(step_op):
            steps.append((name, *(places[k] if k < own else first + k - own for k in arguments)))
        return len(operands) + len(steps) - 1

    for part in parts:
        if part.result not in where:
            where[part.result] = add(part)
    add(op)
    attrs = {"steps": tuple(steps)}
    return Op(elementwise, operands, attrs, FUSED, payload_dtype(op.result.type), op.location)
