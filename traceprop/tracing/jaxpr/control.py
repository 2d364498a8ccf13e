"""Loops and branches: as such, around their bodies, or with all branches and turns written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from traceprop.ir import ArrayType, Param, Value
from traceprop.ir.opset import branch, elementwise, loop
from traceprop.ir.types import numpy_dtype
from traceprop.passes.optimize.write_out import choose
from traceprop.tracing.jaxpr.graph import Equation, Handler, Held, Known
from traceprop.tracing.jaxpr.shape import joined, sliced

_MANY_TURNS = 32
_MANY_OPS = 1000


# -- branches ---------------------------------------------------------------------------------------------------------


def _cond(e: Equation) -> Sequence[Held]:
    """A `branch`, if its map is as exact as a choice between what all bodies give, or a body holds a loop that may not end.

    Where the data decides positions in a body, all of them are computed, so that these can be recorded.
    """
    which, *given = e.inputs
    branches = e["branches"]
    last = len(branches) - 1
    if isinstance(which, Known):
        return e.bodies.inlined(branches[min(max(int(which.array), 0), last)], given)
    mark, found = len(e.graph.ops), _branch(e)
    if _exact(found) or any("while" in e.bodies.primitives(body) for body in branches):
        return found
    e.graph.forget(mark)
    cases = [e.bodies.inlined(body, given) for body in branches]

    return [
        options[0]
        if all(option is options[0] for option in options)
        else e.emit(elementwise, [which, *options], choose, "cond", type.dtype, control=(0,))
        for options, type in zip(zip(*cases, strict=True), e.types, strict=True)
    ]


def _exact(found: Sequence[Held]) -> bool:
    return all(held.op is not None and held.op.exact for held in found if isinstance(held, Value))


def _platform(e: Equation) -> Sequence[Held]:
    """Which of several implementations this machine takes is known."""
    here = jax.default_backend()
    fits = [k for k, names in enumerate(e["platforms"]) if names is None or here in names]
    return [Known(np.asarray(fits[0], np.int32))]


def _branch(e: Equation) -> Sequence[Held]:
    count = len(e["branches"])
    names = ["otherwise", "then"] if count == 2 else [f"case_{k}" for k in range(count)]
    params = _params(e, ["a"] * len(e.inputs))[1:]
    bodies = [e.bodies.apart(name, body, params, params) for name, body in zip(names, e["branches"], strict=True)]
    return e.around(branch, bodies)


# -- loops ------------------------------------------------------------------------------------------------------------


def _scan(e: Equation) -> Sequence[Held]:
    """A `loop`; few turns are written out if its map is less exact than theirs."""
    length, constants, carries = int(e["length"]), int(e["num_consts"]), int(e["num_carry"])
    if not carries and e.inputs[constants:]:
        return e.bodies.mapped(e["jaxpr"], e.inputs, constants)
    mark, found = len(e.graph.ops), _loop(e, length, constants, carries)
    many = length > _MANY_TURNS or length * len(e.bodies.primitives(e["jaxpr"])) > _MANY_OPS
    if many or (length and _exact(found)):
        return found
    e.graph.forget(mark)
    held, carry = e.inputs[:constants], list(e.inputs[constants : constants + carries])
    series = [e.graph.value(x) for x in e.inputs[constants + carries :]]
    turns: list[list[Held]] = []
    for t in reversed(range(length)) if e["reverse"] else range(length):
        rows: list[Held] = []
        for x in series:
            row = sliced(e, x, [(t or None, None if t == length - 1 else t + 1, None)], turn=t)
            rows.append(e.graph.reshape(row, x.type.dims[1:]))
        found = e.bodies.inlined(e["jaxpr"], [*held, *carry, *rows])
        carry = found[:carries]
        turns.append(found[carries:])
    if e["reverse"]:
        turns.reverse()
    stacked: list[Held] = []
    for k, type in enumerate(e.types[carries:]):
        if not turns:
            stacked.append(Known(np.zeros(type.dims, numpy_dtype(type.dtype))))
            continue
        wide: list[Held] = [e.graph.reshape(e.graph.value(turn[k]), (1, *type.dims[1:])) for turn in turns]
        stacked.append(joined(e, wide, 0))
    return [*carry, *stacked]


def _loop(e: Equation, length: int, constants: int, carries: int) -> Sequence[Held]:
    kinds = ["w"] * constants + ["c"] * carries + ["x"] * (len(e.inputs) - constants - carries)
    params = _params(e, kinds)
    body = e.bodies.apart("body", e["jaxpr"], params, params)
    return e.around(
        loop, [body], **_shown(constants=constants, carries=carries), length=length, **_shown(reverse=e["reverse"])
    )


def _while(e: Equation) -> Sequence[Held]:
    before, inside = int(e["cond_nconsts"]), int(e["body_nconsts"])
    constants = before + inside
    params = _params(e, ["w"] * constants + ["c"] * (len(e.inputs) - constants))
    carried = params[constants:]
    condition = e.bodies.apart("condition", e["cond_jaxpr"], params, [*params[:before], *carried])
    body = e.bodies.apart("body", e["body_jaxpr"], params, params[before:])
    found = e.around(loop, [condition, body], **_shown(constants=constants, carries=len(carried)))
    if not _exact(found):
        e.graph.warn(
            "jax.lax.while_loop",
            "runs as often as the data decides: its result is taken to depend on all that its turns can read, and view.exact is "
            "False",
        )
    return found


def _shown(**attrs: Any) -> dict[str, Any]:
    """Attributes without those that are 0 or False, as they are by default."""
    return {name: value for name, value in attrs.items() if value}


def _params(e: Equation, kinds: Sequence[str]) -> list[Param]:
    """A parameter of a body for every input: as it is, or (`x`) one position of a series."""
    params = []
    for k, (held, kind) in enumerate(zip(e.inputs, kinds, strict=True)):
        type = e.graph.value(held).type
        assert isinstance(type, ArrayType)
        params.append(Param(f"{kind}{k}", ArrayType(type.dtype, type.dims[1:]) if kind == "x" else type))
    return params


HANDLERS: dict[str, Handler] = {"platform_index": _platform, "cond": _cond, "scan": _scan, "while": _while}
