"""Programs traced for one number of rows, made programs for any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from traceprop.errors import TraceError, TypeRuleError
from traceprop.ir.expr import Expr, symbol, symbols_of
from traceprop.ir.graph import Op, Param, Program, Value
from traceprop.ir.opset import slice
from traceprop.ir.types import ArrayType, TableType, Type
from traceprop.passes.rewrite import AbstractPass, over


@dataclass(frozen=True)
class FreeRows(AbstractPass):
    """%x: f64[6,4]  =>  %x: f64[N,4]

    A number of rows of the named parameters becomes a symbol, and the types behind it follow from the ops' own
    rules. Payloads and attributes stay, so values do; an op that has the number written in (a reshape to six rows) fits
    no other count: `TraceError` names it. So may a slice of rows that ends at a number (`x[:-1]` of six rows is `x[:5]`
    to JAX), and a result that has as many rows without reading how many there are.
    """

    params: tuple[str, ...]
    name: ClassVar[str] = "free_rows"

    def __call__(self, program: Program) -> Program:
        taken = {name for value in program.values for dim in value.type.dims for name in symbols_of(dim)}
        replaced: dict[Value, Value] = {}
        params: list[Param] = []
        for param in program.params:
            held = param.name in self.params and param.rank and isinstance(param.type.dims[0], int)
            if held:
                name = next(name for n in range(len(taken) + 1) if (name := f"N{n or ''}") not in taken)
                taken.add(name)
                params.append(Param(param.name, _with_rows(param.type, symbol(name)), param.source))
                replaced[param] = params[-1]
            else:
                params.append(param)
        if not replaced:
            return program
        kept: list[Op] = []
        for old in program.ops:
            _check_slice(old, replaced)
            try:
                op = over(old, replaced)
            except TypeRuleError as error:
                raise TraceError(f"the program holds for one number of rows only: {error}") from None
            if op is not old:
                replaced[old.result] = op.result
            kept.append(op)
        returns = tuple(replaced.get(value, value) for value in program.returns)
        counts = {param.type.dims[0] for param in program.params if param in replaced} - {1}
        for value in returns:
            if value.op is not None and value.rank and value.type.dims[0] in counts:
                raise TraceError(
                    f"the program holds for one number of rows only: it returns {value.type}, whose rows are a number that "
                    f"{value.op.label} has written in"
                )
        return Program(program.name, tuple(params), tuple(kept), returns)


def _with_rows(type: Type, rows: Expr) -> Type:
    return (
        TableType(type.fields, rows) if isinstance(type, TableType) else ArrayType(type.dtype, (rows, *type.dims[1:]))
    )


def _check_slice(op: Op, replaced: Mapping[Value, Value]) -> None:
    operand = replaced.get(op.operands[0]) if op.definition is slice and "index" in op.attrs else None
    if operand is None:
        return
    items = [item for item in op.attrs["index"] if item is not None]
    for item, old, new in zip(items, op.operands[0].type.dims, operand.type.dims, strict=False):
        if old != new and (not isinstance(item, tuple) or any(bound is not None for bound in item[:2])):
            raise TraceError(
                f"the program holds for one number of rows only: {op.label}({operand.type}) at "
                f"{op.location or 'an unknown line'} takes rows by numbers, which may have been counted from the end"
            )
