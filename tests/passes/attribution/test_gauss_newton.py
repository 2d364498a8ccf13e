"""Gauss-Newton in both forms, against the matrix written out and against fits without the rows."""

from __future__ import annotations

import numpy as np
import pytest

from traceprop.passes.attribution.damping import by_held_out_loss, by_left_out_residuals
from traceprop.passes.attribution.gauss_newton import DualGaussNewton, PrimalGaussNewton

N, P, T = 60, 9, 7


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    J, tests = rng.normal(size=(N, P)), rng.normal(size=(T, P))
    s, r = rng.uniform(0.2, 1.0, N), rng.normal(size=N)
    return J, tests, s, r


def solvers(problem, strength: float):
    J, tests, s, r = problem
    single = J.astype(np.float32)
    dual, primal = DualGaussNewton(single @ single.T, s, r), PrimalGaussNewton(single, s, r)
    for solver in (dual, primal):
        solver.damp(strength)
    return [(dual, (tests @ J.T).astype(np.float32)), (primal, tests.astype(np.float32))]


def step_without(problem, rows, level: float) -> np.ndarray:
    """Where one Newton step on the damped quadratic of the rows that stay goes, from where the gradient of all is 0."""
    J, _, s, r = problem
    stay = np.setdiff1d(np.arange(N), rows)
    matrix = (J[stay] * (s[stay] ** 2)[:, None]).T @ J[stay] + level * np.eye(P)
    return np.linalg.solve(matrix, J[rows].T @ (r[rows] * s[rows]))


@pytest.mark.parametrize("strength", [0.05, 1.0, 3.0])
def test_scores_are_those_of_the_matrix_written_out(problem, strength):
    J, tests, s, r = problem
    level = strength * ((J * s[:, None]) ** 2).sum() / N
    matrix = (J * (s**2)[:, None]).T @ J + level * np.eye(P)
    expected = -tests @ np.linalg.solve(matrix, J.T) * (r * s)
    for solver, asked in solvers(problem, strength):
        np.testing.assert_allclose(solver.mean, level / strength, rtol=1e-5)
        np.testing.assert_allclose(solver.scores(asked), expected, rtol=1e-3, atol=1e-4)


def test_one_left_out_and_whole_sets_are_steps_on_the_rows_that_stay(problem):
    J, tests, s, _ = problem
    level = 0.3 * ((J * s[:, None]) ** 2).sum() / N
    sets = [np.array([4]), np.array([0, 1, 2, 30]), np.arange(N // 2), np.array([], dtype=np.int64)]
    for solver, asked in solvers(problem, 0.3):
        effects = solver.effects(asked, sets)
        for rows, found in zip(sets, effects, strict=True):
            np.testing.assert_allclose(found, tests @ step_without(problem, rows, level), rtol=2e-3, atol=2e-4)
        np.testing.assert_allclose(solver.scores_left_out(asked)[:, 4], -effects[0], rtol=1e-3, atol=1e-5)


def test_spectra_agree(problem):
    (dual, _), (primal, _) = solvers(problem, 1.0)
    a, b = dual.spectrum(), primal.spectrum()
    for level in (0.1, 1.0, 10.0):
        np.testing.assert_allclose(a.leverages(level), b.leverages(level), atol=1e-4)
        np.testing.assert_allclose(a.residuals(level, problem[3]), b.residuals(level, problem[3]), atol=1e-3)


def test_a_part_of_the_spectrum_is_enough():
    """Leading eigenvalues and what they leave of the diagonal, for a kernel too large for all of them."""
    rng = np.random.default_rng(1)
    n = 1_010
    J = (rng.normal(size=(n, 300)) * np.geomspace(1.0, 1e-3, 300)).astype(np.float32)
    ones = np.ones(n)
    dual = DualGaussNewton(J @ J.T, ones, ones)
    exact = PrimalGaussNewton(J, ones, ones).spectrum()
    for strength in (0.03, 1.0):
        found = dual.spectrum().leverages(strength * dual.mean)
        np.testing.assert_allclose(found, exact.leverages(strength * dual.mean), atol=2e-3)


class TestDamping:
    def test_it_makes_rows_left_out_cost_what_held_out_rows_cost(self, problem):
        J, _, s, _ = problem
        values = np.abs(J[:, 0]) * 3
        slopes = -1 / (1 + np.exp(values))
        solver = DualGaussNewton((J @ J.T).astype(np.float32), s, slopes / s)
        spectrum = solver.spectrum()

        def moved(by):
            return float(np.logaddexp(0, -(values + by)).mean())

        def left_out(strength):
            leverage = spectrum.leverages(strength * solver.mean)
            return moved(leverage / (1 - leverage) * slopes / s**2)

        for strength in (0.1, 0.5, 2.0):
            found = by_held_out_loss(spectrum, solver.mean, s, slopes / s, moved, left_out(strength))
            assert found.strength == pytest.approx(strength, rel=0.15)

    def test_without_held_out_rows_it_is_the_least_residual_left_out(self, problem):
        J, _, s, _ = problem
        rng = np.random.default_rng(2)
        target = (J @ rng.normal(size=P)) * s + 3.0 * rng.normal(size=N)
        solver = DualGaussNewton((J @ J.T).astype(np.float32), s, target)
        found = by_left_out_residuals(solver.spectrum(), solver.mean, target)

        def left_out(strength):
            matrix = (J * s[:, None]) @ (J * s[:, None]).T
            inverse = np.linalg.inv(matrix + strength * solver.mean * np.eye(N))
            return float((((inverse @ target) / np.diagonal(inverse)) ** 2).mean())

        best = min(np.geomspace(1 / 3, 3, 25), key=left_out)
        assert found.strength == pytest.approx(best, rel=0.1)
