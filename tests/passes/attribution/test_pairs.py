"""Products of all pairs, in float32: against gradients written out in float64."""

from __future__ import annotations

import numpy as np
import pytest

from traceprop.passes.attribution import pairs
from traceprop.passes.attribution.fit import check_fit
from traceprop.passes.attribution.influence import influence_scores, parameter_gradients
from traceprop.passes.attribution.losses import LogisticLoss
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.passes.attribution.pairs import pair_products
from traceprop.passes.attribution.separable import errors
from traceprop.passes.unlearning.newton import minimise


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("tests", [1, 40])
@pytest.mark.parametrize("small", [0, 1 << 18])
@pytest.mark.parametrize("turned", [False, True])
def test_they_are_those_of_gradients_written_out(monkeypatch, classes, tests, small, turned):
    rng = np.random.default_rng(0)
    features, gradients = rng.normal(size=(57, 4)), rng.normal(size=(57, classes))
    vectors = rng.normal(size=(tests, classes * 4))
    root = rng.normal(size=(classes * 4 - 1, classes * 4)) if turned else None
    whole = parameter_gradients(features, gradients)
    expected = vectors @ whole.T if root is None else (vectors @ root.T) @ (whole @ root.T).T
    size = np.linalg.norm(vectors, axis=1)[:, None] * np.linalg.norm(whole, axis=1)
    for cells in (1 << 23, 40):  # in one part, and in many
        monkeypatch.setattr(pairs, "SMALL", small)
        monkeypatch.setattr(pairs, "CELLS", cells)
        monkeypatch.setattr(pairs, "NEAR", max(cells // 4, 1))
        found = pair_products(vectors, features, gradients, root)
        assert found.dtype == np.float32
        assert (np.abs(found - expected) <= 1e-6 * size * (1 if root is None else np.linalg.norm(root, 2) ** 2)).all()


def test_columns_far_from_zero_cost_no_digits(monkeypatch):
    """Years and their like: nearly the intercept. What is large and cancels must go before numbers are rounded."""
    rng = np.random.default_rng(1)
    X = np.column_stack([rng.normal(size=(300, 2)), 2e4 + rng.normal(size=300), np.ones(300)])
    y = (X[:, 0] + X[:, 2] - 2e4 + 2 * rng.normal(size=300) > 0).astype(np.int64)
    objective = LinearObjective(X, y, LogisticLoss(), 0.1, np.array([1.0, 1.0, 1.0, 0.0]), "sum")
    theta = minimise(objective, np.zeros((4, 1))).theta
    assert errors(objective, theta)
    curvature = check_fit(objective, theta).curvature
    assert curvature.condition > 1e6
    monkeypatch.setattr(pairs, "SMALL", 0)
    tests = X[:20]
    many = influence_scores(objective, theta, curvature, tests)
    exact = -curvature.solve(tests.T).T @ (objective.row_terms(theta).gradient * X).T
    np.testing.assert_allclose(many, exact, rtol=0, atol=3e-6 * np.abs(exact).max())
