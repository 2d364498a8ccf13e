"""Factors of gradients, against the gradients themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceprop.passes.attribution.factors import (
    DenseFactors,
    EmbeddingFactors,
    PlainGradients,
    kernel,
    products,
    projected,
    squares,
)
from traceprop.passes.kernels.projection import sjlt


def layers(n: int, positions: int, seed: int, bias: bool = True):
    rng = np.random.default_rng(seed)

    def single(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return [
        DenseFactors(single(n, positions, 5), single(n, positions, 3), bias),
        DenseFactors(single(n, 1, 4), single(n, 1, 2), not bias),
        EmbeddingFactors(rng.integers(0, 4, (n, positions)), single(n, positions, 3), 4),
        PlainGradients(single(n, 6)),
    ]


def flat(parts) -> np.ndarray:
    return np.concatenate([part.flat() for part in parts], axis=1)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 9), st.booleans())
def test_the_kernel_is_that_of_the_gradients(n, m, positions, bias):
    left, right = layers(n, positions, 1, bias), layers(m, positions, 2, bias)
    np.testing.assert_allclose(kernel(left, right, n, m), flat(left) @ flat(right).T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("positions", [1, 2, 50])
def test_lengths_products_and_projections(positions):
    parts = layers(7, positions, 3)
    written = flat(parts)
    np.testing.assert_allclose(squares(parts, 7), (written.astype(np.float64) ** 2).sum(axis=1), rtol=1e-4)
    vectors = [np.random.default_rng(k).normal(size=part.size) for k, part in enumerate(parts)]
    np.testing.assert_allclose(products(parts, vectors, 7), written @ np.concatenate(vectors), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(projected(parts, 7, 16, seed=4), sjlt(written, 16, 4), rtol=1e-3, atol=1e-3)


def test_asking_does_not_change_what_is_asked():
    ids = EmbeddingFactors(np.array([[1, 1, 0]]), np.ones((1, 3, 2), dtype=np.float32), 3)
    first = ids.gram(ids).copy()
    np.testing.assert_array_equal(ids.gram(ids), first)
    np.testing.assert_array_equal(ids.outputs, 1)


def test_blocks_change_nothing():
    parts = layers(40, 3, 5)
    whole = kernel(parts, parts, 40, 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("traceprop.passes.attribution.factors._CELLS", 1)
        np.testing.assert_allclose(kernel(parts, parts, 40, 40), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n", [1, 7, 1100])
def test_of_samples_with_themselves_half_is_computed(n):
    parts = layers(n, 1, 6)
    whole = kernel(parts, parts, n, n)
    np.testing.assert_array_equal(whole, whole.T)
    np.testing.assert_allclose(whole, flat(parts) @ flat(parts).T, rtol=1e-3, atol=1e-3)


def test_embeddings_that_are_added_up_meet_by_counts():
    """A mean over the words of a text: one gradient at all of its ids, none behind its end."""
    rng = np.random.default_rng(5)
    ids = rng.integers(0, 6, (9, 7))
    there = np.arange(7) < rng.integers(0, 8, 9)[:, None]
    outputs = np.where(there[:, :, None], rng.normal(size=(9, 1, 3)), 0.0).astype(np.float32)
    summed, others = EmbeddingFactors(ids, outputs, 6), layers(4, 7, 6)[2]
    others = EmbeddingFactors(others.ids, others.outputs, 6)
    assert summed._summed() is not None
    assert others._summed() is None
    for left, right in ((summed, summed), (summed, summed.rows(slice(2, 5))), (summed, others), (others, summed)):
        np.testing.assert_allclose(left.gram(right), left.flat() @ right.flat().T, rtol=1e-5, atol=1e-5)


def test_gradients_shorter_than_their_factors_are_formed_some_outputs_at_a_time(monkeypatch):
    from traceprop.passes.attribution import factors

    parts = layers(8, 50, 7)[:1]
    assert parts[0].is_shorter_written_out(parts[0])
    whole = kernel(parts, parts, 8, 8)
    monkeypatch.setattr(factors, "_CELLS", 8)
    np.testing.assert_allclose(kernel(parts, parts, 8, 8), whole, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(whole, flat(parts) @ flat(parts).T, rtol=1e-5, atol=1e-4)
