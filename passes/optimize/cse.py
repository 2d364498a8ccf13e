"""Common subexpression elimination."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import numpy as np

from traceprop.ir.dump import constant_digest
from traceprop.ir.graph import Op, Program, Value
from traceprop.ir.ops import LineageRule
from traceprop.ir.types import Type
from traceprop.passes.optimize.same_call import same_call
from traceprop.passes.rewrite import AbstractPass, in_bodies, over

_Key = tuple[str, str | None, tuple[Value, ...], Hashable, Type, LineageRule | None, tuple[Program, ...]]


class CSE(AbstractPass):
    """%a = op(x); %b = op(x)  =>  %a, and %b's users read %a

    Same op, payload, operands and attributes compute the same cells from the same cells; so do the native calls behind them,
    which are alike (same_call.py) if they are one function over equal static arguments. What has an effect, and a function of
    which nobody knows that it gives the same for the same, is left alone. The first user line stays.
    (Two filters of equal masks have one size symbol from the trace on, so they are the same op too.) So do they in bodies.
    """

    name: ClassVar[str] = "cse"

    def __call__(self, program: Program) -> Program:
        first: dict[_Key, list[Value]] = {}
        replaced: dict[Value, Value] = {}
        kept: list[Op] = []
        program = in_bodies(program, self)
        for old in program.ops:
            op = over(old, replaced)
            if not op.definition.effect:
                value = _like(op, first.setdefault(_key(op, op.operands), []))
                if value is not old.result:
                    replaced[old.result] = value
                if value is not op.result:
                    continue
            kept.append(op)
        return program.with_ops(kept, [replaced.get(value, value) for value in program.returns])


def _like(op: Op, others: list[Value]) -> Value:
    """The first of the results that a like native gives, or the op's own, which joins them."""
    for value in others:
        if value.op is not None and same_call(value.op.native, op.native):
            return value
    others.append(op.result)
    return op.result


def identity(op: Op, operands: tuple[Value, ...]) -> Hashable:
    """A key that two ops share if, over these operands, they compute the same cells from the same cells."""
    return (*_key(op, operands), op.native)


def _key(op: Op, operands: tuple[Value, ...]) -> _Key:
    attrs = tuple((name, _hashable(value)) for name, value in sorted(op.attrs.items())) if op.attrs else ()
    return (op.definition.name, op.payload, operands, attrs, op.result.type, op.rule, op.regions)


def _hashable(value: Any) -> Hashable:
    """Numbers by type and text, since 1 == 1.0 == True and 0.0 == -0.0; arrays by content."""
    if isinstance(value, np.ndarray):
        return constant_digest(value)
    if isinstance(value, (tuple, list)):
        return tuple(map(_hashable, value))
    return (type(value).__name__, repr(value)) if isinstance(value, (bool, int, float, complex)) else value
