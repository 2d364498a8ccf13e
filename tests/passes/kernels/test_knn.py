"""Shapley values of neighbour games: both twins against the definition, over all coalitions, and against each other."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traceprop.passes.kernels import dispatch, knn

TWINS = ["numpy", pytest.param("compiled", marks=pytest.mark.skipif(knn._knn_shapley is None, reason="not built"))]


def without_extension(patch) -> None:
    patch.setattr(knn, "_knn_shapley", None)
    patch.setattr(dispatch, "_warned", True)


@pytest.fixture(params=TWINS, autouse=True)
def twin(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "numpy":
            without_extension(patch)
        yield request.param


def shapley(n, worth):
    """By the definition: the mean over all coalitions that a player can join."""
    values = np.zeros(n)
    known = {c: worth(c) for size in range(n + 1) for c in itertools.combinations(range(n), size)}
    for player in range(n):
        for coalition, before in known.items():
            if player not in coalition:
                chance = 1 / (n * math.comb(n - 1, len(coalition)))
                values[player] += chance * (known[tuple(sorted((*coalition, player)))] - before)
    return values


def nearest(row, coalition, k):
    return sorted(coalition, key=lambda i: (row[i], i))[:k]


@st.composite
def games(draw, ties=False):
    n = draw(st.integers(1, 7))
    near = st.integers(0, 2) if ties else st.integers(-50, 50)
    row = draw(st.lists(near, min_size=n, max_size=n, unique=not ties))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return np.array([row]).astype(dtype) / dtype(7), draw(st.integers(1, 9))


@given(games(), st.data())
@settings(max_examples=60)
def test_classes_by_the_definition(game, data):
    distances, k = game
    hits = np.array([data.draw(st.lists(st.booleans(), min_size=distances.shape[1], max_size=distances.shape[1]))])
    expected = shapley(distances.shape[1], lambda c: sum(hits[0, nearest(distances[0], c, k)]) / k)
    got = knn.knn_classes(distances, hits, k)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, atol=1e-10, rtol=0)


@given(games(ties=True), st.data())
@settings(max_examples=40)
def test_ties_are_the_mean_over_orders(game, data):
    distances, k = game
    n = distances.shape[1]
    hits = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    groups = [np.flatnonzero(distances[0] == value) for value in np.unique(distances[0])]
    orders = [sum(chosen, ()) for chosen in itertools.product(*(itertools.permutations(g.tolist()) for g in groups))]
    got = knn.knn_classes(distances, hits[None], k)
    if len(orders) <= 144:
        expected = [knn.knn_classes(np.argsort(order)[None], hits[None], k) for order in orders]
        np.testing.assert_allclose(got, np.mean(expected, axis=0), atol=1e-12, rtol=0)
    mixed = np.array(data.draw(st.permutations(range(n))))
    np.testing.assert_allclose(knn.knn_classes(distances[:, mixed], hits[None, mixed], k), got[mixed], atol=1e-12)


@given(games(), st.data())
@settings(max_examples=60)
def test_numbers_by_the_definition(game, data):
    distances, k = game
    n = distances.shape[1]
    targets = np.array(data.draw(st.lists(st.floats(-3, 3), min_size=n, max_size=n)))
    want = data.draw(st.floats(-3, 3))
    expected = shapley(n, lambda c: -((targets[nearest(distances[0], c, k)].sum() / k - want) ** 2))
    got = knn.knn_numbers(distances, targets, [want], k)
    np.testing.assert_allclose(got, expected, atol=1e-10, rtol=0)


@given(games(ties=True), st.integers(1, 4), st.data())
@settings(max_examples=60)
def test_votes_by_the_definition(game, most, data):
    distances, k = game
    n = distances.shape[1]
    votes = np.array(data.draw(st.lists(st.integers(-most, most), min_size=n, max_size=n)))
    expected = shapley(n, lambda c: (np.sign(votes[nearest(distances[0], c, k)].sum()) + 1) / 2)
    got = knn.knn_votes(distances, votes[None], k, most)
    np.testing.assert_allclose(got, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_votes_of_many_against_exact_fractions(k):
    """The division by (1 + t x^a) in floating point, against counting in whole numbers without point i."""
    n, most = 30, 3
    votes = np.random.default_rng(k).integers(-most, most + 1, n)
    got = knn.knn_votes(np.arange(n, dtype=np.float64)[None], votes[None], k, most)
    expected = [float(exact_value(votes.tolist(), k, i)) for i in range(n)]
    np.testing.assert_allclose(got, expected, atol=1e-14, rtol=0)


def exact_value(votes, k, i):
    def won(total):
        return Fraction((total > 0) - (total < 0) + 1, 2)

    def add(counts, vote):
        grown = {}
        for (size, total), ways in counts.items():
            for key in ((size, total), (size + 1, total + vote)):
                if key[0] <= k:
                    grown[key] = grown.get(key, 0) + ways
        return grown

    n, own, value = len(votes), votes[i], Fraction(0)
    counts = {(0, 0): 1}
    for m, vote in enumerate(votes, start=1):
        if m - 1 != i:
            if m - 1 > i and m > k:
                for (size, total), ways in counts.items():
                    if size == k - 1:
                        chance = Fraction(ways, m * math.comb(m - 1, k))
                        value += chance * (won(total + own) - won(total + vote))
            counts = add(counts, vote)
    for (size, total), ways in counts.items():
        if size < k:
            value += Fraction(ways, n * math.comb(n - 1, size)) * (won(total + own) - won(total))
    return value


@pytest.mark.skipif(knn._knn_shapley is None, reason="not built")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 47, 48, 49, 3000])
def test_twins_agree_on_many_points_ties_and_narrow_differences(n, dtype, twin):
    rng = np.random.default_rng(n)
    plain = rng.random((3, n))
    rows = {
        "spread": plain,
        "tied": np.floor(plain * 20),
        "all at one": np.zeros((3, n)),
        "signed zeros": np.where(plain > 0.5, 0.0, -0.0),
        "below 32 bits apart": 1 + plain * 1e-9,
        "infinite": np.where(plain > 0.9, np.inf, plain),
    }
    hits, votes = rng.integers(0, 2, (3, n)), rng.integers(-2, 3, (3, n))
    targets, wanted = rng.normal(size=n), rng.normal(size=3)
    for name, distances in rows.items():
        given_rows = distances.astype(dtype)
        given_rows.flags.writeable = False
        calls = [
            lambda d=given_rows: knn.knn_classes(d, hits, 5),
            lambda d=given_rows: knn.knn_numbers(d, targets, wanted, 5),
        ]
        if n < 100:
            calls.append(lambda d=given_rows: knn.knn_votes(d, votes, 5, 2))
        for call in calls:
            mine = call()
            with pytest.MonkeyPatch.context() as patch:
                without_extension(patch)
                theirs = call()
            np.testing.assert_allclose(mine, theirs, atol=1e-12, rtol=0, err_msg=name)


def test_sums_depend_on_neither_threads_nor_rows_at_a_time():
    rng = np.random.default_rng(0)
    distances, hits = rng.random((50, 60)), rng.integers(0, 2, (50, 60))
    whole = knn.knn_classes(distances, hits, 4, threads=1)
    np.testing.assert_array_equal(knn.knn_classes(distances, hits, 4, threads=3), whole)
    by_row = sum(knn.knn_classes(distances[i : i + 1], hits[i : i + 1], 4) for i in range(50))
    np.testing.assert_allclose(by_row, whole, atol=1e-13)


def test_empty():
    assert knn.knn_classes(np.empty((0, 3)), np.empty((0, 3), dtype=bool), 2).tolist() == [0, 0, 0]
    assert knn.knn_classes(np.empty((2, 0)), np.empty((2, 0), dtype=bool), 2).shape == (0,)


def test_what_does_not_fit_is_said():
    d = np.zeros((1, 2))
    hits = np.zeros((1, 2), dtype=bool)
    for call, words in (
        (lambda: knn.knn_classes(d[0], hits, 1), "two axes"),
        (lambda: knn.knn_classes(d, hits[:, :1], 1), "shape"),
        (lambda: knn.knn_classes(d, d, 1), "whole numbers"),
        (lambda: knn.knn_classes(d, hits, 0), "k is"),
        (lambda: knn.knn_classes(d * np.nan, hits, 1), "NaN"),
        (lambda: knn.knn_numbers(d, [1.0], [1.0], 1), "targets"),
        (lambda: knn.knn_votes(d, hits, 65, 1), "up to 64"),
        (lambda: knn.knn_votes(d, hits, 2, 256), "1 to 255"),
        (lambda: knn.knn_votes(d, np.full((1, 2), 3), 2, 2), "must lie in"),
        (lambda: knn.knn_votes(d, np.full((1, 2), 2**20), 2, 2), "fit int16"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
