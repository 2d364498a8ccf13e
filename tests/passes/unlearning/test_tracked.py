"""A tracked Hessian is the Hessian, within the share that it tolerates, whatever the parameters did on the way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.passes.unlearning.test_newton import problem
from traceprop.passes.unlearning import tracked as module
from traceprop.passes.unlearning.newton import minimise
from traceprop.passes.unlearning.tracked import TOLERATED, TrackedHessian


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["logistic", "softmax", "squared"]),
    st.sampled_from(["sum", "mean"]),
    st.integers(0, 10_000),
    st.lists(st.floats(-3, 0.5), max_size=4),
)
def test_it_stays_within_its_share_of_the_hessian(kind, convention, seed, moves):
    objective = problem(kind, convention, n=80, seed=seed)
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(6, objective.classes))
    known = TrackedHessian.known(objective, theta, objective.derivatives(theta)[2])
    rest = objective.without(rng.choice(80, int(rng.integers(0, 60)), replace=False))
    for size in [None, *moves]:
        if size is not None:
            theta = theta + 10**size * rng.normal(size=theta.shape)
        terms = rest.row_terms(theta)
        known.follow(rest, terms)
        want = rest.derivatives(theta)[2]
        off = np.linalg.eigvalsh(want) @ np.ones(len(want)) * 1e-9
        for sign in (1, -1):  # (1 - d) H <= tracked <= (1 + d) H, on what the losses add
            spread = TOLERATED * want + sign * (want - known.matrix)
            assert np.linalg.eigvalsh(spread)[0] >= -off
        values = np.linalg.eigvalsh(known.matrix)
        assert known.least(float(values[0]), terms) <= np.linalg.eigvalsh(want)[0] + off


def test_rows_that_went_are_the_only_ones_summed(monkeypatch):
    objective = problem(n=200)
    theta = minimise(objective, np.zeros((6, 1))).theta
    known = TrackedHessian.known(objective, theta, objective.derivatives(theta)[2])
    monkeypatch.setattr(module, "loss_hessian", lambda *_: pytest.fail("all rows were summed"))
    rest = objective.without(np.arange(10))
    known.follow(rest, rest.row_terms(theta))
    np.testing.assert_allclose(known.matrix, rest.derivatives(theta)[2], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["logistic", "softmax", "squared"])
def test_removal_from_a_known_hessian_ends_at_the_same_place(kind):
    objective = problem(kind)
    full = minimise(objective, np.zeros((6, objective.classes)))
    rest = objective.without(np.arange(0, 60, 3))
    known = TrackedHessian.known(objective, full.theta, objective.derivatives(full.theta)[2])
    warm, cold = minimise(rest, full.theta, tracked=known), minimise(rest, full.theta)
    assert warm.converged
    np.testing.assert_allclose(warm.theta, cold.theta, atol=1e-8)
    assert np.linalg.norm(warm.theta - cold.theta) <= (warm.bound + cold.bound) * (1 + 1e-9) or kind == "softmax"
