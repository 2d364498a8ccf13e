"""Removal by Newton steps: where it ends, how that is judged, and that the bound holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traceprop.passes.attribution.losses import LogisticLoss, SoftmaxLoss, SquaredLoss
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.passes.unlearning.gap import gap_closed, logit_distance, of_the_way
from traceprop.passes.unlearning.newton import distance_bound, minimise


def problem(kind="logistic", convention="sum", strength=0.1, n=200, seed=0):
    rng = np.random.default_rng(seed)
    features = np.hstack([rng.normal(size=(n, 5)), np.ones((n, 1))])
    loss, k = {"logistic": (LogisticLoss(), 1), "softmax": (SoftmaxLoss(), 3), "squared": (SquaredLoss(), 1)}[kind]
    y = rng.normal(size=n) if kind == "squared" else rng.integers(0, max(k, 2), n)
    if kind == "logistic":
        y = (features[:, 0] + 0.5 * rng.normal(size=n) > 0).astype(int)
    penalised = np.array([1.0] * 5 + [0.0])
    return LinearObjective(features, y, loss, strength, penalised, convention, k)


@pytest.mark.parametrize("convention", ["sum", "mean"])
@pytest.mark.parametrize("kind", ["logistic", "softmax", "squared"])
def test_removal_ends_where_a_fit_to_the_rest_does(kind, convention):
    objective = problem(kind, convention)
    zero = np.zeros((6, objective.classes))
    full = minimise(objective, zero)
    gone = np.arange(0, 200, 3)
    removed = minimise(objective.without(gone), full.theta)
    stay = np.setdiff1d(np.arange(200), gone)
    rest = LinearObjective(
        objective.features[stay],
        objective.y[stay],
        objective.loss,
        objective.strength,
        objective.penalised,
        convention,
        objective.classes,
    )
    again = minimise(rest, zero)
    assert full.converged
    assert removed.converged
    assert removed.bound < 1e-7
    np.testing.assert_allclose(removed.theta, again.theta, atol=1e-7)
    assert not np.allclose(removed.theta, full.theta, atol=1e-3)
    assert removed.steps <= again.steps


def test_gradient_norms_are_of_the_mean_loss_and_fall_fast():
    objective = problem()
    run = minimise(objective, np.zeros((6, 1)))
    first = np.linalg.norm(objective.derivatives(np.zeros((6, 1)))[1]) / 200
    assert run.gradient_norms[0] == pytest.approx(first)
    assert len(run.gradient_norms) == run.steps + 1
    assert run.gradient_norms[-1] <= run.tolerance


def test_far_starts_need_the_line_search():
    objective = problem()
    near = minimise(objective, np.zeros((6, 1)))
    far = minimise(objective, np.full((6, 1), 30.0))
    np.testing.assert_allclose(far.theta, near.theta, atol=1e-8)


def test_a_quadratic_takes_one_step():
    assert minimise(problem("squared"), np.zeros((6, 1))).steps == 1


def test_a_minimum_takes_none():
    objective = problem()
    theta = minimise(objective, np.zeros((6, 1))).theta
    run = minimise(objective, theta)
    assert run.steps == 0
    np.testing.assert_array_equal(run.theta, theta)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["logistic", "softmax", "squared"]), st.integers(0, 1000), st.floats(-7, 0))
def test_the_bound_holds(kind, seed, magnitude):
    objective = problem(kind, n=60, seed=seed)
    best = minimise(objective, np.zeros((6, objective.classes))).theta
    away = np.random.default_rng(seed).normal(size=best.shape) * 10**magnitude
    if kind == "softmax":
        away -= away.mean(axis=1, keepdims=True)  # along the flat direction every point is as good
    _, gradient, hessian = objective.derivatives(best + away)
    bound = distance_bound(objective, float(np.linalg.norm(gradient)), hessian)
    assert np.linalg.norm(away) <= bound * (1 + 1e-6) + 1e-9


def test_there_is_no_bound_for_an_unknown_loss():
    class Unknown(LogisticLoss):
        self_concordance = None

    objective = problem()
    _, _, hessian = objective.derivatives(np.zeros((6, 1)))
    assert np.isfinite(distance_bound(objective, 1e-6, hessian))
    object.__setattr__(objective, "loss", Unknown())
    assert distance_bound(objective, 1e-6, hessian) == np.inf


def test_there_is_no_bound_where_a_direction_is_flat_only_here():
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.normal(size=50), np.full(50, 1e-9)])
    objective = LinearObjective(features, np.arange(50) % 2, LogisticLoss(), 0.0, np.zeros(2), "sum")
    _, _, hessian = objective.derivatives(np.zeros((2, 1)))
    assert np.isfinite(distance_bound(objective, 1e-12, hessian))  # no logit moves by more than 1e-9 along it
    far = np.array([[0.0], [4e10]])
    _, _, hessian = objective.derivatives(far)
    assert distance_bound(objective, 1e-12, hessian) == np.inf  # saturated: flat, but not at the minimum


def test_gap_and_distances():
    original, retrained = np.array([1.0, 1.0]), np.array([2.0, 4.0])
    assert gap_closed(original, retrained, retrained) == 100
    assert gap_closed(original, original, retrained) == 0
    assert gap_closed(original, np.array([3.0, 6.0]), retrained) == pytest.approx(175)
    assert np.isnan(gap_closed(original, retrained, original))
    a, b = np.array([[0.0], [0.0]]), np.array([[3.0], [4.0]])
    assert logit_distance(a, b) == pytest.approx(np.sqrt(12.5))
    assert of_the_way(a, b, b) == 0
    assert of_the_way(a, a, b) == 1
    assert np.isnan(of_the_way(a, a, a))
