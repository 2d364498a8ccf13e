"""Valuation on plain arrays: distances, streaming, thresholds, and games of a few players."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traceprop.passes.valuation import (
    OuterProducts,
    Points,
    SameDirection,
    SameLabel,
    coalition_shapley,
    knn_regression_shapley,
    knn_shapley,
    neighbour_radius,
    sampled_shapley,
    threshold_shapley,
    weighted_shapley,
)


def problem(n=40, m=9, d=3, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    train, validation = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(m, d)).astype(dtype)
    return train, validation, rng.integers(0, 2, n), rng.integers(0, 2, m)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_and_products(dtype):
    train, validation, _, _ = problem(dtype=dtype)
    train = np.concatenate([train, train[:5], train[:5]]) + dtype(100)
    points = Points(train, validation)
    squared, products = points.squared(slice(2, 6)), points.products(slice(2, 6))
    assert squared.dtype == dtype
    tolerance = 1e-4 if dtype == np.float32 else 1e-9
    exact = ((validation[2:6, None].astype(float) - train.astype(float)) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared, exact, rtol=tolerance)
    np.testing.assert_allclose(
        products, validation[2:6].astype(float) @ train.T.astype(float), rtol=tolerance, atol=0.01
    )
    np.testing.assert_array_equal(squared[:, :5], squared[:, 40:45])  # equal rows are equally far, to the bit
    np.testing.assert_array_equal(squared[:, :5], squared[:, 45:])


def test_outer_products_are_the_gradients_formed():
    train, validation, _, _ = problem()
    rng = np.random.default_rng(1)
    slopes, asked = rng.normal(size=(40, 2)), rng.normal(size=(9, 2))
    whole = OuterProducts((train, slopes), (validation, asked))
    formed = Points(
        (slopes[:, :, None] * train[:, None]).reshape(40, -1), (asked[:, :, None] * validation[:, None]).reshape(9, -1)
    )
    np.testing.assert_allclose(whole.squared(slice(0, 9)), formed.squared(slice(0, 9)), atol=1e-12)
    np.testing.assert_allclose(whole.products(slice(1, 4)), formed.products(slice(1, 4)), atol=1e-12)
    np.testing.assert_array_equal(SameDirection(whole).of(slice(0, 9)), SameDirection(formed).of(slice(0, 9)))


@pytest.mark.parametrize("block", [1, 4, 9, 100])
def test_streaming_in_blocks_changes_nothing(block):
    train, validation, y, asked = problem()
    distances, hits = Points(train, validation), SameLabel(y, asked)
    radius = neighbour_radius(distances, 3)
    assert neighbour_radius(distances, 3, block) == radius
    done = []
    runs = (
        lambda **how: knn_shapley(distances, hits, 3, **how),
        lambda **how: knn_regression_shapley(distances, y.astype(float), asked.astype(float), 3, **how),
        lambda **how: threshold_shapley(distances, hits, radius, 2, **how),
        lambda **how: weighted_shapley(distances, hits, 3, radius, **how),
    )
    for run in runs:
        np.testing.assert_allclose(run(block=block, progress=done.append), run(), atol=1e-15)
    assert sum(done) == 4 * len(validation)
    assert max(done) == min(block, len(validation))


def test_values_add_up_to_what_all_points_are_worth():
    train, validation, y, asked = problem()
    distances, hits = Points(train, validation), SameLabel(y, asked)
    order = np.argsort(distances.squared(slice(0, 9)), axis=1)
    right = np.take_along_axis(hits.of(slice(0, 9)), order, axis=1)
    np.testing.assert_allclose(knn_shapley(distances, hits, 5).sum(), right[:, :5].mean(), atol=1e-12)
    guess = np.mean(
        [(row[order_[:5]].mean() - want) ** 2 for row, order_, want in zip([y] * 9, order, asked, strict=True)]
    )
    whole = knn_regression_shapley(distances, y.astype(float), asked.astype(float), 5)
    np.testing.assert_allclose(whole.sum(), np.mean(asked.astype(float) ** 2) - guess, atol=1e-12)


def test_copies_of_a_row_are_worth_the_same_and_rows_in_another_order_what_they_were():
    train, validation, y, asked = problem()
    train, y = np.concatenate([train, train[:8]]), np.concatenate([y, y[:8]])
    values = knn_shapley(Points(train, validation), SameLabel(y, asked), 4)
    np.testing.assert_allclose(values[:8], values[40:], atol=1e-15)
    mixed = np.random.default_rng(3).permutation(48)
    again = knn_shapley(Points(train[mixed], validation), SameLabel(y[mixed], asked), 4)
    np.testing.assert_allclose(again, values[mixed], atol=1e-15)


def test_one_class_shares_equally():
    train, validation, _, _ = problem(n=6)
    same = SameLabel(np.zeros(6, dtype=int), np.zeros(9, dtype=int))
    np.testing.assert_allclose(knn_shapley(Points(train, validation), same, 6), np.full(6, 1 / 6), atol=1e-15)


@given(st.integers(1, 7), st.integers(2, 4), st.data())
@settings(max_examples=40)
def test_threshold_by_the_definition(n, classes, data):
    place = np.array(data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)), dtype=float)[:, None]
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)))
    got = threshold_shapley(Points(place, np.zeros((1, 1))), SameLabel(labels, np.zeros(1, int)), 5.5, classes)

    def worth(coalition):
        inside = [i for i in coalition if place[i, 0] < 5.5]
        return np.mean(labels[inside] == 0) if inside else 1 / classes

    expected = coalition_shapley(
        np.array([worth([i for i in range(n) if mask >> i & 1]) for mask in range(1 << n)], dtype=float)
    )
    np.testing.assert_allclose(got, expected, atol=1e-10)


games_of_sources = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.floats(-10, 10), min_size=1 << n, max_size=1 << n).map(np.array)
)


@given(games_of_sources)
@settings(max_examples=60)
def test_coalitions_by_all_orders(worth):
    n = len(worth).bit_length() - 1
    expected = np.zeros(n)
    for order in itertools.permutations(range(n)):
        before = 0
        for player in order:
            expected[player] += worth[before | 1 << player] - worth[before]
            before |= 1 << player
    got = coalition_shapley(worth)
    np.testing.assert_allclose(got, expected / math.factorial(n), atol=1e-10, rtol=0)
    assert abs(got.sum() - (worth[-1] - worth[0])) < 1e-9


@given(games_of_sources, st.data())
@settings(max_examples=40)
def test_symmetry_and_null_players(worth, data):
    n = len(worth).bit_length() - 1
    masks = np.arange(len(worth))
    null = data.draw(st.integers(0, n - 1))
    assert abs(coalition_shapley(worth[masks & ~(1 << null)])[null]) < 1e-12
    if n > 1:
        a, b = data.draw(st.permutations(range(n)))[:2]
        bits_a, bits_b = masks >> a & 1, masks >> b & 1
        swapped = masks & ~(1 << a) & ~(1 << b) | bits_b << a | bits_a << b
        values = coalition_shapley((worth + worth[swapped]) / 2)
        assert abs(values[a] - values[b]) < 1e-12


def test_intervals_of_sampled_orders_hold_the_true_values():
    rng = np.random.default_rng(7)
    worth = rng.normal(size=1 << 6)
    exact = coalition_shapley(worth)
    held = []
    for seed in range(30):
        values, half = sampled_shapley(6, worth.__getitem__, 8, seed)
        assert abs(values.sum() - (worth[-1] - worth[0])) < 1e-9
        held.append(np.abs(values - exact) <= half)
    assert 0.88 < np.mean(held) < 0.995
    with pytest.raises(ValueError, match="2 rounds"):
        sampled_shapley(6, worth.__getitem__, 1)


def test_coalitions_are_a_power_of_two():
    with pytest.raises(ValueError, match="2\\^n"):
        coalition_shapley(np.zeros(3))


def test_points_that_do_not_fit():
    with pytest.raises(ValueError, match="differ in width"):
        Points(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="scale the columns"):
        Points(np.array([[1e30], [-1e30]], dtype=np.float32), np.zeros((1, 1), dtype=np.float32))
