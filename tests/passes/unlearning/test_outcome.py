"""What makes a changed network one that is not handed out, and what chance alone does."""

import numpy as np
import pytest

from traceprop.passes.unlearning.outcome import Held, area, shift


def held(right_before, right_after):
    losses = np.zeros(len(right_before))
    return Held("them", losses, losses, np.array(right_before), np.array(right_after))


def test_accuracy_may_fall_within_chance():
    before = np.ones(400, dtype=bool)
    after = before.copy()
    after[:4] = False
    assert held(before, after).worse() is None
    after[:40] = False
    assert held(before, after).worse() == "of them 90.0% are right after it, and 100.0% were"
    assert held(after, before).worse() is None


def test_losses_of_numbers_may_rise_by_half():
    before = np.linspace(0.5, 1.5, 100)
    assert Held("them", before, 1.4 * before).worse() is None
    assert "is 3 after it, and was 1" in Held("them", before, 3 * before).worse()
    assert Held("them", before, np.full(100, np.nan)).worse() is not None
    assert Held("none", np.empty(0), np.empty(0)).worse() is None


def test_the_area_is_the_share_of_pairs():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, 30).astype(float), rng.integers(1, 6, 20).astype(float)
    pairs = (first[:, None] > second).mean() + 0.5 * (first[:, None] == second).mean()
    assert area(first, second) == pytest.approx(pairs)


def test_a_shift_is_told_from_none():
    rng = np.random.default_rng(0)
    staying = rng.normal(size=500)
    assert shift(rng.normal(size=40) - 2.0, staying)[1] < 1e-6
    by_chance = [shift(rng.normal(size=40), staying)[1] for _ in range(100)]
    assert 0.3 < np.median(by_chance) < 0.7
    assert np.mean(np.array(by_chance) < 0.05) < 0.12
