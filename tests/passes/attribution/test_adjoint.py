"""Every rule of the backward sweep against central differences."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ExecutionError
from traceprop.passes.attribution.adjoint import Adjoint
from traceprop.passes.attribution.partials import FLAT, PARTIALS
from traceprop.runtime.executable import Executable
from traceprop.runtime.payloads import resolve

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3))
INDEX = np.array([3, 0, 0, 4])

PROGRAMS = {
    "arithmetic": lambda x: (x * x - 2.0 / (3 + x)) + x[:, :1] * x.mean(axis=1)[:, None],
    "broadcasting": lambda x: x[0] + x[:, :1] - x.sum(),
    "slices": lambda x: x[1::2, None, ::-1] * x[0, 1],
    "gathered": lambda x: x[INDEX] * x[:, [2, 0]][INDEX, :1],
    "gathered vector": lambda x: x[:, 0][INDEX],
    "along": lambda x: np.take_along_axis(x, np.argsort(x, axis=1), axis=1),
    "shapes": lambda x: x.T.reshape(5, 3) @ x.T,
    "repeated": lambda x: np.broadcast_to(x[:, 0], (2, 5)) * x[:, 1],
    "stacked": lambda x: np.concatenate([x[:, :1], x * x, x[:, 1:]], axis=1),
    "extremes": lambda x: x.max(axis=0) * x.min(axis=1)[:3] + x.max(),
    "running": lambda x: np.cumsum(x, axis=0) * x,
    "einsum": lambda x: np.einsum("ij,kj,k->i", x, x, x[:, 0]),
    "summed alone": lambda x: np.einsum("ij,k->k", x, x[0]),
    "where": lambda x: np.where(x > 0, x * x, np.exp(x)),
    "steps": lambda x: np.floor(x * 3) * x,
}


def slopes(function, x, push, step=1e-6):
    out = np.empty_like(x)
    for cell in np.ndindex(x.shape):
        high, low = x.copy(), x.copy()
        high[cell] += step
        low[cell] -= step
        out[cell] = ((function(high) - function(low)) * push).sum() / (2 * step)
    return out


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    function = PROGRAMS[name]
    program = tp.trace(function).ir(X)
    sweep = Adjoint(program, program.params)
    assert not sweep.stopped
    outputs = [value for value in sweep.needed if value not in program.params]
    executable = Executable(program.with_ops(program.ops, [*outputs, *program.returns]), False, None, "numpy")
    outcome = executable.run([X])
    values = {program.params[0]: X} | dict(zip(outputs, outcome.results, strict=False))
    push = RNG.normal(size=np.shape(outcome.results[-1]))
    (pulled,) = sweep.pull(values, outcome.sizes, {program.returns[0]: push}).values()
    np.testing.assert_allclose(pulled, slopes(function, X, push), rtol=1e-6, atol=1e-7)
    # Many functions at once, wider than most values are: as one after the other.
    many = RNG.normal(size=(40, *np.shape(push)))
    (together,) = sweep.pull_many(values, outcome.sizes, {program.returns[0]: many}).values()
    alone = [next(iter(sweep.pull(values, outcome.sizes, {program.returns[0]: one}).values())) for one in many]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("payload", [*PARTIALS, *sorted(FLAT)])
def test_partials(payload):
    """One function per operand, at points where the function has a slope."""
    partials = PARTIALS.get(payload, (lambda *_: 0.0,))
    try:
        function = resolve(payload)
    except ExecutionError:
        function = getattr(np, payload.removeprefix("numpy."))  # given as a native call
    x = RNG.uniform(0.2, 0.9, size=6)
    weights = RNG.uniform(0.5, 0.9, size=6)
    given = [x, weights] if len(partials) > 1 or "scaled" in payload or ".or_" in payload else [x]
    if payload == "numpy.where":
        given = [x > 0.5, x, weights]
    if payload == "numpy.astype":
        return
    result = function(*given)
    for position, partial in enumerate(partials):
        if partial is None:
            continue
        moved = [list(given), list(given)]
        moved[0][position], moved[1][position] = given[position] + 1e-6, given[position] - 1e-6
        want = (function(*moved[0]) - function(*moved[1])) / 2e-6
        np.testing.assert_allclose(np.broadcast_to(partial(*given, result), 6), want, rtol=1e-6, atol=1e-6)


def test_what_has_no_rule_is_named():
    program = tp.trace(lambda x: np.median(x, axis=0) + x.sum(axis=0)).ir(X)
    (text,) = Adjoint(program, program.params).stopped
    assert text.startswith("reduce[numpy.median] at test_adjoint.py:")
