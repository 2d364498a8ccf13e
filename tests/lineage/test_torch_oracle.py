"""Lineage of random PyTorch programs against perturbation: what a changed source cell changes must have been reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings

import traceprop as tp
from traceprop.errors import TracepropError

torch = pytest.importorskip("torch")

from tests.lineage.exactness import told_and_seen  # noqa: E402
from tests.lineage.test_oracle import check_sound  # noqa: E402
from tests.lineage.torch_programs import SMOOTH, TorchProgram, programs  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", "ignore:.*has no lineage rule", "ignore:.*degrees of freedom"
)
TOLERANCE = {"float16": 4e-3, "float32": 2e-5, "float64": 1e-9, "complex128": 1e-9, "complex64": 2e-5}
drawn = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False
)


def traced(program: TorchProgram) -> tuple[Any, ...]:
    """The program's lazy results; drops examples whose sizes, decided by the data, cannot be shown to fit."""
    function = tp.trace(lambda *given: program(*given))
    try:
        results = function(*(torch.tensor(source) for source in program.sources))
        for lazy in results:
            np.asarray(lazy)
        return results
    except (TracepropError, RuntimeError):
        if program.data_decides_sizes:
            reject()
        raise


def ids_of(program: TorchProgram) -> list[str]:
    return [f"given_{k}" for k in range(len(program.sources))]


@drawn
@given(programs())
def test_traced_is_sound(program):
    results = traced(program)
    for got, want in zip(results, program.plain(), strict=True):
        got = np.asarray(got)
        assert got.dtype == want.dtype
        tolerance = TOLERANCE.get(str(want.dtype), 0)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, equal_nan=True)
    check_sound(program, results, ids_of(program), vanished=not program.writes_constants)


@settings(drawn, max_examples=40)
@given(programs(SMOOTH, ("float64",), max_steps=10, max_cells=24))
def test_exact_where_draws_see_everything(program):
    """No cell is reported that never matters, in programs of ops that hide nothing from random draws."""
    shapes = [source.shape for source in program.sources]
    told, seen = told_and_seen(traced(program), ids_of(program), shapes, lambda sources: program.plain(*sources))
    assert told == seen
