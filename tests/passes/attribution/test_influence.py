"""Influence against its definition: what a row's weight does to the minimum, found by minimising again."""

import numpy as np
import pytest

from traceprop.passes.attribution.curvature import Curvature, smallest_curvature
from traceprop.passes.attribution.dot import dot_scores
from traceprop.passes.attribution.effect import removal_effects
from traceprop.passes.attribution.fit import check_fit
from traceprop.passes.attribution.influence import influence_scores, parameter_gradients
from traceprop.passes.attribution.losses import LogisticLoss, SoftmaxLoss, SquaredLoss
from traceprop.passes.attribution.objective import LinearObjective, flat, unflat
from traceprop.passes.attribution.outcome import outcome_gradients, outcome_values
from traceprop.passes.unlearning.newton import minimise

N, D = 60, 4


def make(kind, convention="sum", strength=0.5):
    rng = np.random.default_rng(7)
    features = np.hstack([rng.normal(size=(N, D - 1)), np.ones((N, 1))])
    if kind == "squared":
        loss, k, y = SquaredLoss(), 1, features[:, 0] - features[:, 1] + rng.normal(size=N)
    elif kind == "logistic":
        loss, k, y = LogisticLoss(), 1, (features[:, 0] + rng.normal(size=N) > 0).astype(int)
    else:
        loss, k, y = SoftmaxLoss(), 3, rng.integers(0, 3, N)
    penalised = np.array([1.0] * (D - 1) + [0.0])
    return LinearObjective(features, y, loss, strength, penalised, convention, k)


def fitted(objective):
    run = minimise(objective, np.zeros((D, objective.classes)))
    assert run.converged
    return run.theta


def scores_of(objective, theta, outcome="margin"):
    test = objective.features[:9]
    y = objective.y[:9]
    slopes = outcome_gradients(outcome, objective.loss, test @ theta, y)
    fit = check_fit(objective, theta)
    return influence_scores(objective, theta, fit.curvature, parameter_gradients(test, slopes)), test, y


class Reweighted:
    """A loss that counts one row `weight` times."""

    def __init__(self, loss, row, weight):
        self.loss, self.row, self.weight = loss, row, weight
        self.cross_entropy, self.self_concordance = loss.cross_entropy, loss.self_concordance

    def terms(self, logits, y):
        terms = self.loss.terms(logits, y)
        weight = np.ones(len(logits))
        weight[self.row] = self.weight
        return type(terms)(terms.loss * weight, terms.gradient * weight[:, None], terms.hessian * weight[:, None, None])


@pytest.mark.parametrize("kind", ["logistic", "softmax", "squared"])
def test_a_score_is_the_derivative_by_the_rows_weight(kind):
    from dataclasses import replace

    objective = make(kind)
    theta = fitted(objective)
    outcome = "loss" if kind == "squared" else "margin"
    scores, test, y = scores_of(objective, theta, outcome)
    step = 1e-4
    for row in (0, 13, 59):
        moved = [
            outcome_values(outcome, objective.loss, test @ fitted(replace(objective, loss=loss)), y)
            for loss in (Reweighted(objective.loss, row, 1 + sign * step) for sign in (1, -1))
        ]
        np.testing.assert_allclose(scores[:, row], (moved[0] - moved[1]) / (2 * step), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_scores_agree_with_retraining_without_each_row(kind):
    objective = make(kind)
    theta = fitted(objective)
    scores, test, y = scores_of(objective, theta)
    before = outcome_values("margin", objective.loss, test @ theta, y)
    removed = np.stack(
        [
            before - outcome_values("margin", objective.loss, test @ fitted(objective.without(np.array([row]))), y)
            for row in range(N)
        ],
        axis=1,
    )
    assert np.corrcoef(scores.ravel(), removed.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_conventions_of_one_function_give_one_set_of_scores(kind):
    by_sum, by_mean = make(kind, "sum", 0.6), make(kind, "mean", 0.6 / N)
    theta = fitted(by_sum)
    np.testing.assert_allclose(theta, fitted(by_mean), atol=1e-9)
    np.testing.assert_allclose(scores_of(by_sum, theta)[0], scores_of(by_mean, theta)[0], rtol=1e-6)


@pytest.mark.parametrize("convention", ["sum", "mean"])
@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_effects_predict_retraining(kind, convention):
    objective = make(kind, convention, 0.6 if convention == "sum" else 0.01)
    theta = fitted(objective)
    rng = np.random.default_rng(0)
    sets = [np.sort(rng.choice(N, size, replace=False)) for size in (1, 5, 20, 30)]
    test, y = objective.features[:9], objective.y[:9]
    hessian = check_fit(objective, theta).hessian
    before = outcome_values("margin", objective.loss, test @ theta, y)
    truth = np.stack(
        [outcome_values("margin", objective.loss, test @ fitted(objective.without(rows)), y) - before for rows in sets]
    )
    newton = removal_effects(objective, theta, hessian, sets, test, y, "margin", "newton")
    first = removal_effects(objective, theta, hessian, sets, test, y, "margin", "first")
    scale = np.abs(truth).max(axis=1)
    assert (np.abs(newton - truth).max(axis=1) < [0.05, 0.1, 0.4, 0.3] * scale).all()
    assert np.corrcoef(newton.ravel(), truth.ravel())[0, 1] > 0.98
    assert np.abs(newton - truth).sum() < np.abs(first - truth).sum()
    if convention == "sum":
        total = -scores_of(objective, theta)[0][:, sets[1]].sum(axis=1)
        np.testing.assert_allclose(first[1], total, rtol=1e-4, atol=1e-6)


def test_dot_is_a_loop_over_single_gradients():
    objective = make("softmax")
    theta = fitted(objective)
    test, y = objective.features[:3], objective.y[:3]
    slopes = outcome_gradients("margin", objective.loss, test @ theta, y)
    gradient = objective.row_terms(theta).gradient
    expected = [
        [-np.vdot(np.outer(test[t], slopes[t]), np.outer(objective.features[row], gradient[row])) for row in range(N)]
        for t in range(3)
    ]
    np.testing.assert_allclose(dot_scores(objective, theta, test, slopes), expected, rtol=1e-5, atol=1e-6)


def test_derivatives_of_the_objective():
    for kind in ("logistic", "softmax", "squared"):
        for objective in (make(kind), make(kind, "mean").without(np.array([3, 4]))):
            theta = np.random.default_rng(0).normal(size=(D, objective.classes))
            value, gradient, hessian = objective.derivatives(theta)
            assert value == pytest.approx(objective.value(theta))
            p, step = objective.size, 1e-5
            for at in range(p):
                shift = unflat(np.eye(p)[at] * step, objective.classes)
                up, down = objective.derivatives(theta + shift), objective.derivatives(theta - shift)
                assert gradient[at] == pytest.approx((up[0] - down[0]) / (2 * step), rel=1e-6, abs=1e-6)
                np.testing.assert_allclose(hessian[at], (up[1] - down[1]) / (2 * step), rtol=1e-5, atol=1e-6)


def test_flat_and_unflat_are_inverse():
    theta = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(unflat(flat(theta), 3), theta)


class TestCurvature:
    def test_solves_like_an_inverse_whatever_the_units(self):
        rng = np.random.default_rng(0)
        factor = rng.normal(size=(30, 6)) * 10.0 ** np.arange(-6, 6, 2)
        hessian, right = factor.T @ factor, rng.normal(size=(6, 2))
        curvature = Curvature.of(hessian)
        assert not curvature.null.shape[1]
        np.testing.assert_allclose(hessian @ curvature.solve(right), right, rtol=1e-4, atol=1e-6)

    def test_leaves_flat_directions_out(self):
        rng = np.random.default_rng(0)
        factor = rng.normal(size=(30, 4))
        factor = np.hstack([factor, factor[:, :1] + factor[:, 1:2], np.zeros((30, 1))])
        hessian = factor.T @ factor
        curvature = Curvature.of(hessian)
        assert curvature.null.shape[1] == 2
        assert not curvature.negative
        right = factor.T @ rng.normal(size=30)
        np.testing.assert_allclose(hessian @ curvature.solve(right), right, rtol=1e-8)
        flatness = curvature.flatness(np.stack([right, np.eye(6)[5]]))
        np.testing.assert_allclose(flatness, [0, 1], atol=1e-6)

    def test_says_when_it_is_no_minimum(self):
        assert Curvature.of(np.diag([1.0, -1.0])).negative
        assert Curvature.of(np.array([[1.0, 2.0], [2.0, 1.0]])).negative

    def test_smallest_curvature_skips_what_is_flat(self):
        least, flat = smallest_curvature(np.diag([3.0, 2.0, 0.0]))
        assert least == 2.0
        np.testing.assert_array_equal(np.abs(flat), [[0, 0, 1]])
        assert smallest_curvature(np.zeros((2, 2)))[0] == 0.0


class TestFit:
    def test_a_minimum_is_exact(self):
        objective = make("softmax")
        check = check_fit(objective, fitted(objective))
        assert check.verdict == "exact"
        assert check.gradient_norm < 1e-10

    def test_anything_else_is_estimated_and_gives_the_gradient_norm(self):
        objective = make("logistic")
        check = check_fit(objective, fitted(objective) + 0.1)
        assert check.verdict == "estimated"
        assert f"{check.gradient_norm:.1e}" in check.why

    def test_separable_rows_without_a_penalty_are_refused(self):
        features = np.array([[-2.0, 1], [-1, 1], [1, 1], [2, 1]])
        objective = LinearObjective(features, np.array([0, 0, 1, 1]), LogisticLoss(), 0.0, np.zeros(2), "sum")
        check = check_fit(objective, np.array([[9.0], [0.0]]))
        assert check.verdict == "refused"
        assert "separable" in check.why

    def test_so_are_rows_of_which_only_some_are(self):
        rng = np.random.default_rng(0)
        only_ones = np.zeros(80)
        only_ones[:10] = 1
        y = (rng.random(80) < 0.5).astype(int)
        y[:10] = 1
        features = np.column_stack([rng.normal(size=80), only_ones, np.ones(80)])
        objective = LinearObjective(features, y, LogisticLoss(), 0.0, np.zeros(3), "sum")
        run = minimise(objective, np.zeros((3, 1)), max_steps=18)
        check = check_fit(objective, run.theta)
        assert check.verdict == "refused"
        assert "separable" in check.why

    def test_a_nonconvex_point_is_refused(self):
        class Saddle(SquaredLoss):
            def terms(self, logits, y):
                terms = super().terms(logits, y)
                return type(terms)(-terms.loss, -terms.gradient, -terms.hessian)

        features = np.random.default_rng(0).normal(size=(20, 2))
        objective = LinearObjective(features, np.zeros(20), Saddle(), 0.0, np.zeros(2), "sum")
        assert check_fit(objective, np.zeros((2, 1))).verdict == "refused"
