"""Hashed projections: both twins to the bit, what their matrices look like, and what they do to distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceprop.passes.kernels import dispatch, projection
from traceprop.passes.kernels.projection import factored_sjlt, masked_sjlt, sjlt, sparse_jl

TWINS = [
    "numpy",
    pytest.param("compiled", marks=pytest.mark.skipif(projection._projection is None, reason="not built")),
]
KINDS = {
    "sjlt": lambda x, k, seed=3, **more: sjlt(x, k, seed, **more),
    "sjlt of 3": lambda x, k, seed=3, **more: sjlt(x, max(k, 3), seed, nonzeros=3, **more),
    "sparse": lambda x, k, seed=3, **more: sparse_jl(x, k, seed, **more),
    "very sparse": lambda x, k, seed=3, **more: sparse_jl(x, k, seed, sparsity=20.0, **more),
    "dense": lambda x, k, seed=3, **more: sparse_jl(x, k, seed, sparsity=1, **more),
    "masked": lambda x, k, seed=3, **more: masked_sjlt(x, k, seed, kept=20, size=101, **more),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def without_extension(patch) -> None:
    patch.setattr(projection, "_projection", None)
    patch.setattr(dispatch, "_warned", True)


@pytest.fixture(params=TWINS)
def twin(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "numpy":
            without_extension(patch)
        yield request.param


def draws(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.skipif(projection._projection is None, reason="not built")
@kinds
@given(
    st.sampled_from([0, 1, 3, 15, 16, 17, 33, 150]),
    st.integers(0, 101),
    st.integers(1, 70),
    st.sampled_from(["f4", "f8"]),
    st.integers(0, 2**70),
)
def test_twins_give_the_same_bits(kind, n, p, k, dtype, seed):
    x = draws(n, p, dtype=dtype)
    x.flags.writeable = False
    compiled = KINDS[kind](x, k, seed)
    with pytest.MonkeyPatch.context() as patch:
        without_extension(patch)
        expected = KINDS[kind](x, k, seed)
    assert compiled.dtype == expected.dtype == dtype
    assert compiled.shape[0] == n
    np.testing.assert_array_equal(compiled, expected)


@kinds
def test_it_is_one_linear_map(twin, kind):
    x = draws(21, 101, dtype=np.float64)
    matrix = KINDS[kind](np.eye(101), 40)
    np.testing.assert_allclose(KINDS[kind](x, 40), x @ matrix, rtol=0, atol=1e-12)
    np.testing.assert_allclose(KINDS[kind](x.astype("f4"), 40), x @ matrix, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(KINDS[kind](x[4], 40), KINDS[kind](x, 40)[4])


@kinds
def test_neither_threads_nor_blocks_nor_layout_change_a_bit(twin, kind, monkeypatch):
    monkeypatch.setattr(projection, "_PER_THREAD", 1)
    x = draws(70, 101)
    whole = KINDS[kind](x, 30, threads=1)
    for threads in (2, 3, 64, None):
        np.testing.assert_array_equal(KINDS[kind](x, 30, threads=threads), whole)
    by_rows = np.concatenate([KINDS[kind](x[top : top + 13], 30) for top in range(0, 70, 13)])
    np.testing.assert_array_equal(by_rows, whole)
    streamed = np.zeros_like(whole)
    for first in range(0, 101, 17):
        assert KINDS[kind](x[:, first : first + 17], 30, offset=first, out=streamed) is streamed
    np.testing.assert_array_equal(streamed, whole)
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], np.repeat(x, 2, axis=1)[:, ::2], x[::-1][::-1]):
        np.testing.assert_array_equal(KINDS[kind](other, 30), whole)
    monkeypatch.setattr(projection, "_BLOCK", 5)
    monkeypatch.setattr(projection, "_SCRATCH", 1)
    np.testing.assert_array_equal(KINDS[kind](x, 30), whole)


@kinds
def test_another_seed_is_another_map(twin, kind):
    x = draws(2, 101)
    found = {KINDS[kind](x, 40, seed).tobytes() for seed in (0, 1, 2, 2**63)}
    assert len(found) == 4


def test_columns_of_an_sjlt_have_one_sign_in_each_part(twin):
    for k, nonzeros in ((64, 1), (64, 4), (7, 3), (5, 5)):
        matrix = sjlt(np.eye(200), k, nonzeros=nonzeros)
        for part in range(nonzeros):
            cells = matrix[:, part * k // nonzeros : (part + 1) * k // nonzeros]
            np.testing.assert_array_equal((cells != 0).sum(axis=1), 1)
        np.testing.assert_allclose(np.abs(matrix[matrix != 0]), nonzeros**-0.5)


def test_places_and_signs_are_even(twin):
    """Chi-squared of 16 places and 2 signs over 3,200 columns: 31 degrees of freedom, beyond 70 once in 10,000 seeds."""
    matrix = sjlt(np.eye(3_200, dtype=np.float32), 16, seed=11)
    counts = np.concatenate([(matrix > 0).sum(axis=0), (matrix < 0).sum(axis=0)])
    assert ((counts - 100) ** 2 / 100).sum() < 70


@pytest.mark.parametrize("sparsity", [1, 2.5, 3, 40])
def test_cells_of_a_sparse_map_are_independent_draws(twin, sparsity):
    """Shares within five standard deviations, of single cells and of neighbours in either direction."""
    k, p = 150, 400
    matrix = sparse_jl(np.eye(p), k, seed=5, sparsity=sparsity)
    full, chance = matrix != 0, 1 / sparsity
    np.testing.assert_allclose(np.abs(matrix[full]), np.sqrt(sparsity / k))

    def assert_share(found, expected):
        assert abs(found.mean() - expected) <= 5 * np.sqrt(expected * (1 - expected) / found.size)

    assert_share(full, chance)
    assert_share(matrix[full] > 0, 0.5)
    assert_share(full[:, 1:] & full[:, :-1], chance**2)
    assert_share(full[1:] & full[:-1], chance**2)
    assert_share(full[:, 0], chance)
    assert_share(full[:, -1], chance)


def test_a_mask_keeps_one_column_of_each_part(twin):
    for size, kept in ((100, 10), (101, 20), (7, 7), (5, 9)):
        matrix = masked_sjlt(np.eye(size), 50, kept=kept)
        columns, parts = np.flatnonzero(np.abs(matrix).sum(axis=1)), min(kept, size)
        bounds = np.arange(parts + 1) * size // parts
        np.testing.assert_array_equal(np.searchsorted(bounds, columns, side="right") - 1, np.arange(parts))
        np.testing.assert_allclose(np.abs(matrix[columns]).sum(axis=1), np.sqrt(np.diff(bounds)))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("steps", [1, 4])
def test_factors_are_projected_as_the_gradients_they_stand_for(twin, dtype, steps, monkeypatch):
    monkeypatch.setattr(projection, "_PRODUCT", 300)
    monkeypatch.setattr(projection, "_PRODUCT_ROWS", 16)
    monkeypatch.setattr(projection, "_PER_THREAD", 1)
    inputs, outputs = draws(37, steps, 9, dtype=dtype), draws(37, steps, 11, dtype=dtype, seed=1)
    gradients = np.einsum("nto,nti->noi", outputs, inputs).reshape(37, 99)
    for more in ({}, {"nonzeros": 2, "offset": 50}):
        np.testing.assert_allclose(
            factored_sjlt(inputs, outputs, 30, 4, **more), sjlt(gradients, 30, 4, **more), rtol=0, atol=2e-5
        )
    whole = factored_sjlt(inputs, outputs, 30)
    np.testing.assert_array_equal(factored_sjlt(inputs, outputs, 30, threads=1), whole)
    assert whole.dtype == dtype
    if steps == 1:
        np.testing.assert_array_equal(factored_sjlt(inputs[:, 0], outputs[:, 0], 30), whole)
    for empty in ((inputs[:0], outputs[:0]), (inputs[:, :0], outputs[:, :0]), (inputs[..., :0], outputs)):
        found = factored_sjlt(*empty, 30)
        assert found.shape == (len(empty[0]), 30)
        assert not found.any()


def ratios(project, x, seeds):
    """|projected x|^2 / |x|^2 for each of several seeds and rows."""
    return np.array([(project(x, seed) ** 2).sum(axis=1) for seed in range(seeds)]) / (x**2).sum(axis=1)


@pytest.mark.parametrize(
    ("project", "variance"),
    [
        (lambda x, seed: sjlt(x, 100, seed), lambda peak: 2 / 100),
        (lambda x, seed: sjlt(x, 100, seed, nonzeros=4), lambda peak: 2 / 100),
        (lambda x, seed: sparse_jl(x, 100, seed), lambda peak: 2 / 100),
        (lambda x, seed: sparse_jl(x, 100, seed, sparsity=20), lambda peak: (2 + 17 * peak) / 100),
    ],
    ids=["sjlt", "sjlt of 4", "sparse", "very sparse"],
)
def test_squared_lengths_have_the_mean_and_the_variance_of_the_lemma(project, variance):
    """Over 400 seeds: means within 5 standard errors, variances at most 1.4 times the bound in the docstrings.

    The sample variance of 400 draws of a squared length, a sum of k = 100 terms that is near normal, has a standard
    error of about sqrt(2 / 400) = 7 % of itself; 1.4 is beyond five of them.
    """
    rng = np.random.default_rng(1)
    flat, heavy = rng.normal(size=400), rng.normal(size=400) * (np.arange(400) < 40)
    x = np.array([flat, heavy, np.where(np.arange(400) < 2, 1.0, 0.0) + 0.01 * flat])
    found = ratios(project, x, 400)
    bound = np.array([variance((row**4).sum() / (row**2).sum() ** 2) for row in x])
    assert (np.abs(found.mean(axis=0) - 1) <= 5 * np.sqrt(bound / 400)).all()
    assert (found[:, :2].var(axis=0) <= 1.4 * bound[:2]).all()


def test_all_distances_among_points_are_kept_as_achlioptas_says():
    """Theorem 1.1 with n = 20, eps = 0.5, beta = 1: k >= 6 / (eps^2/2 - eps^3/3) ln n keeps all with a chance of 0.95.

    Of 60 seeds, 3 may fail on average; more than 12 would happen once in 10^4 tries.
    """
    points, epsilon = draws(20, 500, dtype=np.float64), 0.5
    k = int(np.ceil(6 / (epsilon**2 / 2 - epsilon**3 / 3) * np.log(20)))
    first, second = np.triu_indices(20, 1)
    apart = points[first] - points[second]
    found = ratios(lambda x, seed: sparse_jl(x, k, seed), apart, 60)
    assert (np.abs(found - 1).max(axis=1) > epsilon).sum() <= 12
    # Chebyshev for one pair and the Count-Sketch: at most 2 / (k eps^2), here at a narrower eps.
    narrow = ratios(lambda x, seed: sjlt(x, k, seed), apart, 60)
    assert (np.abs(narrow - 1) > 0.25).mean() <= 2 / (k * 0.25**2)


def test_masks_keep_inner_products_in_the_mean():
    """400 seeds of 50 columns of 200: the mean of <x, y> within 5 of its own standard errors."""
    x, y = draws(2, 200, dtype=np.float64)
    y += x
    found = np.array([np.multiply(*masked_sjlt(np.array([x, y]), 64, seed, kept=50)).sum() for seed in range(400)])
    assert abs(found.mean() - x @ y) <= 5 * found.std() / np.sqrt(400)
    assert found.std() > 0


def test_wrong_arguments_are_errors():
    x = np.ones((2, 3))
    for call, message in (
        (lambda: sjlt(x, 0), "k is an integer of at least 1"),
        (lambda: sjlt(x, 2**31), "below"),
        (lambda: sjlt(x, 4, nonzeros=5), "fewer than 5"),
        (lambda: sjlt(x, 4, nonzeros=0), "nonzeros"),
        (lambda: sjlt(x, 4, -1), "seed"),
        (lambda: sjlt(x, 4, offset=-1), "offset"),
        (lambda: sjlt(x, 4, threads=0), "threads"),
        (lambda: sjlt(np.ones((1, 1, 1)), 4), "axes"),
        (lambda: sjlt(x + 1j, 4), "real numbers"),
        (lambda: sjlt(x, 4, out=np.zeros((2, 5))), "out must"),
        (lambda: sjlt(x, 4, out=np.zeros((2, 4), "f4")), "float64"),
        (lambda: sjlt(x, 4, out=np.zeros((4, 2)).T), "contiguous"),
        (lambda: sparse_jl(x, 4, sparsity=0.5), "sparsity is at least 1"),
        (lambda: sparse_jl(x, 4, sparsity=np.nan), "sparsity"),
        (lambda: masked_sjlt(x, 4, kept=0), "kept"),
        (lambda: masked_sjlt(x, 4, kept=2, offset=1), "give size="),
        (lambda: factored_sjlt(np.ones((2, 3, 1)), np.ones((2, 4, 1)), 5), "do not fit"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert sjlt(np.ones((2, 3), "f2"), 4).dtype == np.float32
    assert sjlt(np.ones((2, 3), "i8"), 4).dtype == np.float64
