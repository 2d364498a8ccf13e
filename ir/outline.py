"""Ops of a program as programs of their own, which take what they need from outside as parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from traceprop.ir.graph import Op, Param, Program, Value


def outlined(ops: Sequence[Op], bodies: Mapping[str, Sequence[Value]]) -> tuple[list[Program], list[Value]]:
    """For each name a body that computes some values by the ops behind them, and what all of the bodies are to be given.

    Bodies take the same parameters, in the order in which they first need them; a parameter of the whole program keeps its name.
    """
    made = {op.result: op for op in ops}
    needed = {name: _needed(made, values) for name, values in bodies.items()}
    taken: dict[Value, None] = {}
    for name, values in bodies.items():
        for value in (*(operand for op in needed[name] for operand in op.operands), *values):
            if value not in made:
                taken.setdefault(value)
    names = _names(list(taken))
    programs = []
    for name, values in bodies.items():
        params = [Param(each, value.type) for value, each in names.items()]
        inside: dict[Value, Value] = dict(zip(taken, params, strict=True))
        own = []
        for op in needed[name]:
            own.append(op.with_operands([inside[operand] for operand in op.operands]))
            inside[op.result] = own[-1].result
        programs.append(Program(name, tuple(params), tuple(own), tuple(inside[value] for value in values)))
    return programs, list(taken)


def _needed(made: Mapping[Value, Op], values: Sequence[Value]) -> list[Op]:
    wanted = set(values)
    found = []
    for result, op in reversed(list(made.items())):
        if result in wanted:
            wanted.update(op.operands)
            found.append(op)
    return found[::-1]


def _names(values: Sequence[Value]) -> dict[Value, str]:
    own = [value.name for value in values if isinstance(value, Param)]
    numbered = (name for k in range(2 * len(values) + 1) if (name := f"p{k}") not in own)
    return {value: value.name if isinstance(value, Param) else next(numbered) for value in values}
