"""Derivatives of the losses and outcomes against differences, and the bounds that certificates lean on."""

import numpy as np
import pytest

from traceprop.passes.attribution.losses import LogisticLoss, SoftmaxLoss, SquaredLoss
from traceprop.passes.attribution.outcome import outcome_gradients, outcome_values

CASES = [
    pytest.param(LogisticLoss(), 1, lambda rng, n: rng.integers(0, 2, n), id="logistic"),
    pytest.param(SoftmaxLoss(), 2, lambda rng, n: rng.integers(0, 2, n), id="softmax-2"),
    pytest.param(SoftmaxLoss(), 4, lambda rng, n: rng.integers(0, 4, n), id="softmax-4"),
    pytest.param(SquaredLoss(), 1, lambda rng, n: rng.normal(size=n), id="squared"),
    pytest.param(SquaredLoss(), 3, lambda rng, n: rng.normal(size=(n, 3)), id="squared-3"),
]
STEP = 1e-5


def differences(function, logits):
    """Central differences of a function of each row's logits, in each logit: (n, ..., k)."""
    columns = []
    for label in range(logits.shape[1]):
        shift = np.zeros(logits.shape[1])
        shift[label] = STEP
        columns.append((function(logits + shift) - function(logits - shift)) / (2 * STEP))
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize(("loss", "k", "targets"), CASES)
def test_derivatives_are_those_of_the_loss(loss, k, targets):
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(50, k)) * 3, targets(rng, 50)
    terms = loss.terms(logits, y)
    np.testing.assert_allclose(terms.gradient, differences(lambda z: loss.terms(z, y).loss, logits), atol=1e-8)
    np.testing.assert_allclose(terms.hessian, differences(lambda z: loss.terms(z, y).gradient, logits), atol=1e-8)


@pytest.mark.parametrize(("loss", "k", "targets"), CASES)
@pytest.mark.parametrize("outcome", ["margin", "loss"])
def test_outcome_gradients(loss, k, targets, outcome):
    if outcome == "margin" and not loss.cross_entropy:
        pytest.skip("no margin without a cross-entropy")
    rng = np.random.default_rng(1)
    logits, y = rng.normal(size=(50, k)) * 2, targets(rng, 50)
    expected = differences(lambda z: outcome_values(outcome, loss, z, y), logits)
    np.testing.assert_allclose(outcome_gradients(outcome, loss, logits, y), expected, atol=1e-7)


@pytest.mark.parametrize(("loss", "k", "targets"), CASES[:3])
def test_the_margin_is_the_log_odds_of_the_right_label(loss, k, targets):
    rng = np.random.default_rng(2)
    logits, y = rng.normal(size=(50, k)) * 3, targets(rng, 50)
    p = np.exp(-loss.terms(logits, y).loss)
    np.testing.assert_allclose(outcome_values("margin", loss, logits, y), np.log(p / (1 - p)), rtol=1e-9)


@pytest.mark.parametrize(("loss", "k", "targets"), CASES)
def test_self_concordance_bounds_how_fast_curvature_changes(loss, k, targets):
    rng = np.random.default_rng(3)
    logits, y = rng.normal(size=(2000, k)) * 3, targets(rng, 2000)
    direction = rng.normal(size=(2000, k))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)

    def curvature(z):
        return np.einsum("nk,nkl,nl->n", direction, loss.terms(z, y).hessian, direction)

    third = (curvature(logits + STEP * direction) - curvature(logits - STEP * direction)) / (2 * STEP)
    assert (np.abs(third) <= loss.self_concordance * curvature(logits) + 1e-8).all()


def test_extreme_logits_stay_finite():
    logits = np.array([[-1e4], [1e4], [800.0]])
    for y in (np.zeros(3, dtype=int), np.ones(3, dtype=int)):
        for part in LogisticLoss().terms(logits, y):
            assert np.isfinite(part).all()
    wide = np.array([[1e4, -1e4, 0.0]])
    for part in SoftmaxLoss().terms(wide, np.array([1])):
        assert np.isfinite(part).all()
    assert outcome_values("margin", SoftmaxLoss(), wide, np.array([1]))[0] == -2e4
