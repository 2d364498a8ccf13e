"""The judge, for functions of JAX arrays, and which primitives a function is made of."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.extend import core

from tests.lineage.case import Case
from tests.lineage.jax_programs import QUICKLY
from tests.lineage.judge import Verdict, World, function_of, judge

DRAWS = 24
JAX = World(jax.numpy.asarray, np.asarray, 1e-5, functools.partial(jax.jit, compiler_options=QUICKLY))


def judge_arrays(case: Case, wide: bool = True) -> tuple[Verdict, dict[str, str]]:
    """The verdict on a case, and for each primitive in it why its map is not exact, or nothing where it is."""
    with jax.enable_x64(wide):
        return judge(case, JAX, DRAWS), primitives(case)


def primitives(case: Case) -> dict[str, str]:
    """By name: nothing for one whose ops have exact maps, else what falls short."""
    rng = np.random.default_rng(3)
    sources = [jax.numpy.asarray(draw(rng)) for draw in case.draws]
    found = dict.fromkeys(_names(jax.make_jaxpr(case.apply)(*sources).jaxpr), "")
    program = function_of(case).ir(*sources)
    for op in _ops(program):
        if op.exact:
            continue
        name = (op.payload or op.definition.name).removeprefix("jax.")
        name = name if name in found else name.replace("_", "-")
        if op.definition.name == "opaque" and op.rule is None:
            found[name] = "has no rule"
        else:
            found[name] = (
                "the data decides how often it turns" if op.regions else "its map names more cells than matter"
            )
    return found


def _ops(program: Any) -> Iterator[Any]:
    """All ops, those of bodies too."""
    for op in program.ops:
        yield op
        for region in op.regions:
            yield from _ops(region)


def _names(jaxpr: Any) -> Iterator[str]:
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else [value]:
                if isinstance(inner, core.ClosedJaxpr):
                    yield from _names(inner.jaxpr)
                elif isinstance(inner, core.Jaxpr):
                    yield from _names(inner)
