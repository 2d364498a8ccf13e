"""The mathematics of unlearning in networks, against gradients written out."""

from __future__ import annotations

import numpy as np
import pytest

from traceprop.passes.unlearning.group_step import GroupStep
from traceprop.passes.unlearning.prediction import NEARER, Prediction, average
from traceprop.passes.unlearning.selective_damping import dampened


class TestGroupStep:
    @pytest.fixture
    def problem(self):
        rng = np.random.default_rng(0)
        gradients = rng.normal(size=(30, 7))
        return gradients, rng.uniform(0.3, 1.0, 30), rng.normal(size=30)

    def step(self, problem, staying, damping=0.2):
        J, roots, residuals = problem
        return GroupStep((J @ J.T).astype(np.float32), roots, residuals, 5, staying, damping)

    def by_hand(self, problem, staying, damping=0.2):
        """(J- ^T S^2 J- + l)^-1 of the sum of the gradients of the rows that go."""
        J, roots, residuals = problem
        counts = np.r_[np.ones(5), np.full(25, staying / 25)]
        scaled = J * (roots * np.sqrt(counts))[:, None]
        level = damping * np.square(scaled).sum(axis=1).mean()
        rest = scaled[5:].T @ scaled[5:] + level * np.eye(7)
        return np.linalg.solve(rest, J[:5].T @ (roots * residuals)[:5])

    @pytest.mark.parametrize("staying", [25, 400])
    def test_it_is_the_step_on_the_rows_that_stay(self, problem, staying):
        expected, J = self.by_hand(problem, staying), problem[0]
        step = self.step(problem, staying)
        np.testing.assert_allclose(J.T @ step.weights(), expected, rtol=2e-4, atol=2e-5)
        tests = np.random.default_rng(1).normal(size=(9, 7))
        np.testing.assert_allclose(
            step.effect((tests @ J.T).astype(np.float32)), tests @ expected, rtol=2e-4, atol=2e-4
        )


class TestDampened:
    def test_only_what_matters_more_to_the_forgotten_shrinks(self):
        theta = np.array([1.0, -2.0, 3.0, 4.0])
        forgotten, everything = np.array([1.0, 100.0, 0.0, 40.0]), np.array([1.0, 2.0, 0.0, 1.0])
        np.testing.assert_allclose(dampened(theta, forgotten, everything), [1.0, -0.04, 3.0, 0.1])


class TestPrediction:
    def test_a_model_is_nearer_or_it_is_said_why_not(self):
        prediction = average(np.array([3.0, 3.0]), [np.array([1.0, 1.0])], np.zeros(4), [np.zeros(4)])
        assert prediction.way == 2.0
        assert prediction.judged(np.array([1.1, 1.0]), np.zeros(4))[2] is None
        assert "were 2 before" in prediction.judged(np.full(2, 3.0), np.zeros(4))[2]
        assert prediction.judged(np.full(2, 1.0 + 2 * NEARER + 0.01), np.zeros(4))[2] is not None
        assert "rows that stay" in prediction.judged(np.ones(2), np.full(4, 9.0))[2]
        assert "finite" in prediction.judged(np.array([np.nan, 1.0]), np.zeros(4))[2]

    def test_predictions_that_contradict_each_other_are_not_followed(self):
        prediction = average(np.zeros(2), [np.full(2, 5.0), np.full(2, -4.0)], np.zeros(1), [np.zeros(1)])
        assert prediction.way == 0.5
        assert "9 apart" in prediction.refusal()
        assert average(np.zeros(2), [np.full(2, 5.0), np.full(2, 4.0)], np.zeros(1), [np.zeros(1)]).refusal() is None
        assert "finite" in Prediction(np.zeros(1), np.array([np.inf]), np.zeros(1), np.zeros(1)).refusal()
