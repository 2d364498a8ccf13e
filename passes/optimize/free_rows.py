"""Programs traced for one number of rows, made programs for any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from traceprop.errors import TraceError, TypeRuleError
from traceprop.ir.expr import symbol, symbols_of
from traceprop.ir.graph import Op, Param, Program, Value
from traceprop.ir.types import ArrayType
from traceprop.passes.rewrite import AbstractPass, over


@dataclass(frozen=True)
class FreeRows(AbstractPass):
    """%x: f64[6,4]  =>  %x: f64[N,4]

    A number of rows of the named parameters becomes a symbol, and the types behind it follow from the ops' own
    rules. Payloads and attributes stay, so values do; an op that has the number written in (a reshape to six rows) fits
    no other count: `TraceError` names it.
    """

    params: tuple[str, ...]
    name: ClassVar[str] = "free_rows"

    def __call__(self, program: Program) -> Program:
        taken = {name for value in program.values for dim in value.type.dims for name in symbols_of(dim)}
        replaced: dict[Value, Value] = {}
        params: list[Param] = []
        for param in program.params:
            held = param.name in self.params and param.rank and isinstance(param.type.dims[0], int)
            if held and isinstance(param.type, ArrayType):
                name = next(name for n in range(len(taken) + 1) if (name := f"N{n or ''}") not in taken)
                taken.add(name)
                freed = ArrayType(param.type.dtype, (symbol(name), *param.type.dims[1:]))
                params.append(Param(param.name, freed, param.source))
                replaced[param] = params[-1]
            else:
                params.append(param)
        if not replaced:
            return program
        kept: list[Op] = []
        for old in program.ops:
            try:
                op = over(old, replaced)
            except TypeRuleError as error:
                raise TraceError(f"the program holds for one number of rows only: {error}") from None
            if op is not old:
                replaced[old.result] = op.result
            kept.append(op)
        returns = tuple(replaced.get(value, value) for value in program.returns)
        return Program(program.name, tuple(params), tuple(kept), returns)
