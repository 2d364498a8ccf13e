"""The backward sweep of a reweighted program is its derivative in the weights: random programs against central differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import traceprop as tp
from tests.passes.optimize.test_reweight import _ROW_STEPS, build
from traceprop.explain.sweep import Sweep
from traceprop.tracing.reweighted import Reweighting

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

NO_RULE = {"highest", "product"}
"""Running maxima and products, which have no rule and are named."""
FIRST = {"count", "counted", "all", "any", "impute", "present", "running"}
"""Thresholds, and running sums, which end at 0 where a column was centred: behind other steps a cell may stand on an edge."""
STEPS = st.builds(
    lambda first, rest: [*first, *rest],
    st.lists(st.sampled_from(sorted(FIRST)), max_size=1),
    st.lists(st.sampled_from(sorted(_ROW_STEPS.keys() - NO_RULE - FIRST)), min_size=1, max_size=5),
)


def given_values(seed: int):
    rng = np.random.default_rng(seed)
    return rng, rng.normal(size=(9, 3)), rng.normal(size=(4, 3))


@settings(max_examples=30, suppress_health_check=list(HealthCheck), deadline=None)
@given(STEPS, st.booleans(), st.integers(0, 2**32 - 1))
def test_slopes_are_those_of_central_differences(steps, chosen, seed):
    rng, x, y = given_values(seed)
    value = tp.trace(build(steps, chosen))(tp.from_numpy(x, source_id="x"), tp.from_numpy(y, source_id="y"))
    pushes = rng.normal(size=(12, *value.shape))
    work = Reweighting({"x": np.ones(9)})
    again = work.value(value)
    sweep = Sweep(work)
    assert not sweep.stopped
    ours = sweep.pull([(again, pushes)]).get("x", np.zeros((12, 9)))

    def at(row: int, step: float) -> np.ndarray:
        weights = np.ones(9)
        weights[row] += step
        return np.asarray(Reweighting({"x": weights}).value(value).compute())

    for row in range(9):
        small, large = ((at(row, h) - at(row, -h)) / (2 * h) for h in (1e-5, 1e-4))
        unsure = 1e-6 + 1e-5 * np.abs(large).max() + 3 * np.abs(small - large).max()  # of one cell's difference
        want = (pushes * large).sum(axis=tuple(range(1, pushes.ndim)))
        np.testing.assert_allclose(ours[:, row], want, rtol=1e-4, atol=unsure * np.abs(pushes).sum(axis=(1, 2)).max())


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(STEPS, st.booleans(), st.integers(0, 2**32 - 1))
def test_functions_of_one_row_each_have_the_slopes_of_any(steps, chosen, seed):
    rng, x, y = given_values(seed)
    value = tp.trace(build(steps, chosen))(tp.from_numpy(x, source_id="x"), tp.from_numpy(y, source_id="y"))
    work = Reweighting({"x": np.ones(9)})
    again = work.value(value)
    rows = np.arange(len(value))[1:]
    cotangent = rng.normal(size=value.shape)
    apart = np.zeros((len(rows), *value.shape))
    apart[np.arange(len(rows)), rows] = cotangent[rows]
    sweep, none = Sweep(work), np.zeros((len(rows), 9))
    want = sweep.pull([(again, apart)]).get("x", none)
    ours = sweep.pull_rows(again, cotangent, rows).get("x", none)
    np.testing.assert_allclose(ours, want, rtol=1e-9, atol=1e-9 * max(np.abs(want).max(initial=0.0), 1.0))


@pytest.mark.parametrize("step", sorted(NO_RULE))
def test_what_passes_no_slope_on_is_named(step):
    _, x, y = given_values(0)
    value = tp.trace(build([step], False))(tp.from_numpy(x, source_id="x"), tp.from_numpy(y, source_id="y"))
    work = Reweighting({"x": np.ones(9)})
    work.value(value)
    assert "has no derivative here" in Sweep(work).stopped[0]
