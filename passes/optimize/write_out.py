"""Branches as a choice between what all their bodies give."""

from __future__ import annotations

from typing import Any, ClassVar

from traceprop.ir.graph import Op, Program, Value, payload_dtype
from traceprop.ir.opset import branch, constant, elementwise, loop
from traceprop.ir.types import ArrayType
from traceprop.passes.rewrite import AbstractPass, over


class WriteOut(AbstractPass):
    """branch(%p, %x) {f} {g}  =>  elementwise[numpy.where](%p, g(%x), f(%x)) {control=(0,)}

    Every body is computed and one result is chosen, so values are kept, and so is lineage: the choice reads a cell of
    each body's result, and what decides. It costs what the branch saves; it is for those who look at ops one by
    one, as `freeze` and `reweight` look for reductions over rows. A body with a loop that may not end stays a body.
    """

    name: ClassVar[str] = "write_out"

    def __call__(self, program: Program) -> Program:
        if not any(op.definition is branch for op in program.ops):
            return program
        kept: list[Op] = []
        replaced: dict[Value, Value] = {}
        _write(program, replaced, kept)
        return program.with_ops(kept, [replaced.get(value, value) for value in program.returns])


def _write(program: Program, replaced: dict[Value, Value], kept: list[Op], again: bool = False) -> None:
    """The program's ops over the values that took others' places; `again`: as ops of their own, once more."""
    known: dict[Any, list[list[Value]]] = {}
    for old in program.ops:
        op = old.with_operands([replaced.get(v, v) for v in old.operands]) if again else over(old, replaced)
        if op.definition is branch and all(_ends(region) for region in op.regions):
            key = (tuple(map(id, op.regions)), op.operands)
            if key not in known:  # the results of one branch share its bodies
                known[key] = [_inlined(region, op.operands[1:], kept) for region in op.regions]
            value = _chosen(op, [given[op.attrs.get("result", 0)] for given in known[key]], kept)
        else:
            kept.append(op)
            value = op.result
        if value is not old.result:
            replaced[old.result] = value


def _ends(region: Program) -> bool:
    return all(op.definition is not loop or op.attrs.get("length") is not None for op in region.walk())


def _inlined(region: Program, operands: tuple[Value, ...], kept: list[Op]) -> list[Value]:
    inside: dict[Value, Value] = dict(zip(region.params, operands, strict=True))
    _write(region, inside, kept, again=True)
    return [inside.get(value, value) for value in region.returns]


def _chosen(op: Op, options: list[Value], kept: list[Op]) -> Value:
    which, dtype = op.operands[0], payload_dtype(op.result.type)

    def add(*operands: Value, payload: str, dtype: str | None = dtype, native: Any = None, **attrs: Any) -> Value:
        kept.append(Op(elementwise, operands, attrs, payload, dtype, op.location, native=native))
        return kept[-1].result

    if op.native is not None:
        return add(which, *options, payload=op.payload or "", native=choose, control=(0,))
    if which.type == ArrayType("bool", ()):
        return add(which, options[1], options[0], payload="numpy.where", control=(0,))
    *others, value = options
    for k in reversed(range(len(others))):
        kept.append(Op(constant, (), {"value": k}, location=op.location))
        above = add(which, kept[-1].result, payload="numpy.greater", dtype="bool")
        value = add(above, value, others[k], payload="numpy.where", control=(0,))
    return value


def choose(which: Any, *options: Any) -> Any:
    """The option with the number `which`, cell by cell, in whatever library the arrays are of."""
    *others, chosen = options
    library = chosen.__array_namespace__()
    for k in reversed(range(len(others))):
        chosen = library.where(which > k, chosen, others[k])
    return chosen
