"""Lineage of random JAX programs against perturbation: what a changed source cell changes must have been reported."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import traceprop as tp

jax = pytest.importorskip("jax")

from tests.lineage.jax_programs import QUICKLY, programs  # noqa: E402
from tests.lineage.test_oracle import check_sound  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*while_loop")


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """XLA without its optimisations, which take most of the time of small programs."""
    monkeypatch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options=QUICKLY))


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False)
@given(programs(max_steps=20))
def test_traced_is_sound(program):
    function = tp.trace(lambda *given: program(*given))
    with jax.enable_x64(True):
        sources = [jax.numpy.asarray(source) for source in program.sources]
        results = function(*sources)
        text = function.ir(*sources)
    for got, want in zip(results, program.plain(), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(np.asarray(got), want, rtol=2e-5, atol=1e-6, equal_nan=True)
    assert tp.ir.parse(str(text), tp.ir.constants_of(text)) == text
    check_sound(program, results, [f"given_{k}" for k in range(len(program.sources))])
