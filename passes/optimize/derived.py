"""Positions that are other recorded positions, moved."""

from __future__ import annotations

from traceprop.ir.graph import Op, Param, Program, Value
from traceprop.ir.opset import concat, constant, gather, iota, reshape, slice, transpose
from traceprop.ir.types import ArrayType

_MOVES = (concat, gather, reshape, slice, transpose)


def derives(value: Value, recorded: set[Value]) -> bool:
    """Whether a value is made of other recorded ones, of parameters and of constants by moves alone."""
    if isinstance(value, Param):
        return True
    op = value.op
    return op is not None and not _decides(op) and all(_known(operand, recorded) for operand in op.operands)


def _known(value: Value, recorded: set[Value]) -> bool:
    op = value.op
    if isinstance(value, Param) or value in recorded:
        return isinstance(value.type, ArrayType)
    return op is not None and not _decides(op) and all(_known(operand, recorded) for operand in op.operands)


def _decides(op: Op) -> bool:
    """Whether an op does more than to move integers, or is not ours to run again."""
    if op.native is not None or op.definition is iota or op.definition is constant:
        return op.native is not None
    return (
        op.definition not in _MOVES or not isinstance(op.result.type, ArrayType) or op.result.type.dtype[0] not in "iu"
    )


def derivation(value: Value, recorded: set[Value]) -> tuple[list[Value], Program]:
    """The recorded values that one is made of, and the program that makes it of them; parameters stand for both."""
    leaves: dict[Value, Param] = {}
    made: dict[Value, Value] = {}
    kept: list[Op] = []
    stop = recorded - {value}
    for op in _behind(value, stop):
        for operand in op.operands:
            if operand.op is None or operand in stop:
                leaves.setdefault(operand, Param(f"kept_{len(leaves)}", operand.type))
        operands = [leaves.get(operand) or made.get(operand, operand) for operand in op.operands]
        again = op.with_operands(operands) if operands else op
        made[op.result] = again.result
        kept.append(again)
    return list(leaves), Program("kept", tuple(leaves.values()), tuple(kept), (made[value],))


def _behind(value: Value, stop: set[Value]) -> list[Op]:
    """The ops between recorded values and one that is not, operands first."""
    order: list[Op] = []
    seen: set[Value] = set()

    def visit(value: Value) -> None:
        if value in seen or value in stop or value.op is None:
            return
        seen.add(value)
        for operand in value.op.operands:
            visit(operand)
        order.append(value.op)

    visit(value)
    return order
