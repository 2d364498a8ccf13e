"""EK-FAC, against its definition and against the exact matrix where the two are the same."""

from __future__ import annotations

import numpy as np
import pytest

from tests.passes.attribution.test_factors import flat, layers
from traceprop.passes.attribution.ekfac import EKFAC
from traceprop.passes.attribution.factors import DenseFactors, PlainGradients

N = 40


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(0)
    return rng.uniform(0.3, 1.0, N), rng.normal(size=N)


def test_its_matrix_is_diagonal_in_each_layers_basis(weights):
    """Scores are those of blocks U diag(mean of squares in U) U^T, written out."""
    s, r = weights
    rng = np.random.default_rng(1)
    inputs, outputs = rng.normal(size=(N, 2, 3)).astype(np.float32), rng.normal(size=(N, 2, 4)).astype(np.float32)
    layer = DenseFactors(inputs, outputs, bias=True)
    ones = np.concatenate([inputs, np.ones((N, 2, 1))], axis=2).reshape(-1, 4).astype(np.float64)
    scaled = (outputs * s[:, None, None]).reshape(-1, 4).astype(np.float64)
    basis = np.kron(np.linalg.eigh(scaled.T @ scaled)[1], np.linalg.eigh(ones.T @ ones)[1])
    J = np.einsum("nto,ntd->nod", outputs, ones.reshape(N, 2, 4)).reshape(N, -1)
    diagonal = np.square((J * s[:, None]) @ basis).sum(axis=0)
    solver = EKFAC([layer], s, r)
    solver.damp(0.5)
    level = 0.5 * np.square(J * s[:, None]).sum() / N
    matrix = basis @ np.diag(diagonal + level) @ basis.T
    np.testing.assert_allclose(
        solver.scores([layer]), -(J @ np.linalg.solve(matrix, J.T)) * (r * s), rtol=1e-3, atol=1e-4
    )
    leverage = np.einsum("np,pq,nq->n", J * s[:, None], np.linalg.inv(matrix), J * s[:, None])
    np.testing.assert_allclose(solver.leverages(level), np.minimum(leverage, 1 - 1e-6), rtol=1e-3)


def test_of_one_input_and_plain_parameters_that_are_orthogonal_it_is_exact(weights):
    """Gradients along the axes: the matrix is diagonal as it is."""
    s, r = weights
    J = np.eye(5)[np.arange(N) % 5].astype(np.float32) * np.linspace(1, 2, N, dtype=np.float32)[:, None]
    solver = EKFAC([PlainGradients(J)], s, r)
    solver.damp(0.3)
    level = 0.3 * np.square(J * s[:, None]).sum() / N
    matrix = (J * (s**2)[:, None]).T @ J + level * np.eye(5)
    expected = -(J @ np.linalg.solve(matrix, J.T)) * (r * s)
    np.testing.assert_allclose(solver.scores([PlainGradients(J)]), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("positions", [1, 4])
def test_all_kinds_of_layers_and_any_blocks(positions, weights):
    s, r = weights
    parts = layers(N, positions, 2)
    solver = EKFAC(parts, s, r)
    solver.damp(1.0)
    np.testing.assert_allclose(solver.mean, np.square(flat(parts) * s[:, None]).sum() / N, rtol=1e-4)
    whole = solver.scores(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("traceprop.passes.attribution.ekfac._CELLS", 50)
        blocked = EKFAC(parts, s, r)
        blocked.damp(1.0)
        np.testing.assert_allclose(blocked.scores(parts), whole, rtol=1e-3, atol=1e-4)
    assert (np.sign(np.diagonal(whole)) == -np.sign(r)).all()
