"""Half of the rows, told apart without an error or not: against a linear program that decides it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from traceprop.passes.attribution.losses import LogisticLoss, SoftmaxLoss
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.passes.attribution.separable import SEED, separable_half
from traceprop.passes.unlearning.newton import minimise


def fitted(n, d, noise, classes=1, strength=0.1, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=(n, d - 1)), np.ones(n)])
    logits = X @ rng.normal(size=(d, max(classes, 2))) + noise * rng.normal(size=(n, max(classes, 2)))
    y = logits.argmax(axis=1)
    loss = LogisticLoss() if classes == 1 else SoftmaxLoss()
    penalised = np.append(np.ones(d - 1), 0.0)
    objective = LinearObjective(X, y, loss, strength, penalised, "sum", classes)
    return objective, minimise(objective, np.zeros((d, classes))).theta


def by_a_linear_program(objective):
    rows = np.random.default_rng(SEED).permutation(len(objective.y))[: (len(objective.y) + 1) // 2]
    signed = objective.features[rows] * (2.0 * objective.y[rows] - 1.0)[:, None]
    d = signed.shape[1]
    return linprog(np.zeros(d), A_ub=-signed, b_ub=-np.ones(len(rows)), bounds=[(None, None)] * d).status == 0


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0, 3.0, 30.0])
@pytest.mark.parametrize(("n", "d"), [(40, 3), (60, 12), (100, 30), (400, 10)])
def test_it_is_what_a_linear_program_finds(n, d, noise):
    for seed in range(3):
        objective, theta = fitted(n, d, noise, seed=seed)
        assert (separable_half(objective, theta) is not None) == by_a_linear_program(objective)


def test_a_wide_fit_is_told_of_and_a_long_one_is_not_looked_at_twice():
    objective, theta = fitted(1_000, 302, 30.0)
    assert "random half of the 1,000 training rows is linearly separable" in (separable_half(objective, theta) or "")
    assert separable_half(*fitted(5_000, 10, 10.0)) is None
    assert separable_half(*fitted(5_000, 10, 0.0)) is not None


def test_of_several_classes():
    assert separable_half(*fitted(120, 40, 1.0, classes=4)) is not None
    assert separable_half(*fitted(600, 5, 10.0, classes=3)) is None
