"""Moves of moves are one move."""

from __future__ import annotations

from typing import ClassVar

from traceprop.ir.graph import Op, Program, Value, payload_dtype
from traceprop.ir.opset import broadcast, gather, reshape, transpose
from traceprop.ir.types import ArrayType
from traceprop.passes.optimize.uses import use_counts
from traceprop.passes.rewrite import AbstractPass, over


class ComposeMaps(AbstractPass):
    """gather(gather(%x, %i), %j)  =>  gather(%x, gather(%i, %j)), and so reshapes, transposes and broadcasts of their like

    The index map of two moves, one behind the other, is the composition of their maps, and where an op has that map it
    does both: a filter and then a sort move positions, and the rows once. The composed map reads the cells that the two read:
    %x at %i[%j[k]], by way of %i[%j[k]] and %j[k], which decided.
    """

    name: ClassVar[str] = "compose_maps"

    def __call__(self, program: Program) -> Program:
        if not any(_moves(op) and _behind_its_like(op) for op in program.ops):
            return program
        uses = use_counts(program)
        replaced: dict[Value, Value] = {}
        kept: list[Op] = []
        for old in program.ops:
            op = over(old, replaced)
            inner = op.operands[0].op if op.operands else None
            before = old.operands[0] if old.operands else None
            composed = None
            if inner is not None and before is not None and inner.definition is op.definition and uses[before] == 1:
                composed = _composed(op, inner)
            for new in composed or [op]:
                kept.append(new)
            result = kept[-1].result
            if result is not old.result:
                replaced[old.result] = result
        if not replaced:
            return program
        used = {value for op in kept for value in op.operands} | {replaced.get(v, v) for v in program.returns}
        kept = [op for op in kept if op.definition.effect or op.result in used or not _moves(op)]
        return program.with_ops(kept, [replaced.get(value, value) for value in program.returns])


def _moves(op: Op) -> bool:
    return op.definition in (gather, reshape, transpose, broadcast)


def _behind_its_like(op: Op) -> bool:
    inner = op.operands[0].op
    return inner is not None and inner.definition is op.definition and op.native is None


def _composed(op: Op, inner: Op) -> list[Op] | None:
    """The ops that do what `inner` and then `op` do; `None` where no op has the composed map."""
    (source, *_), dtype = inner.operands, payload_dtype(op.result.type)
    if op.native is not None or inner.native is not None or not isinstance(source.type, ArrayType):
        return None
    if op.definition in (reshape, broadcast) and set(op.attrs) == set(inner.attrs) == {"shape"}:
        return [Op(op.definition, [source], op.attrs, op.payload, dtype, op.location)]
    if op.definition is transpose:
        axes = tuple(inner.attrs["axes"][axis] for axis in op.attrs["axes"])
        return [Op(transpose, [source], {"axes": axes}, None, dtype, op.location)]
    if op.definition is gather and _rows(op) and _rows(inner):
        index = Op(gather, [inner.operands[1], op.operands[1]], {"axis": 0}, None, None, op.location)
        return [index, Op(gather, [source, index.result], op.attrs, op.payload, dtype, op.location)]
    return None


def _rows(op: Op) -> bool:
    """Whether a gather takes rows by a list of positions."""
    return op.attrs.get("axis", 0) == 0 and not op.attrs.get("along") and op.operands[1].rank == 1
