"""A part of a batch stands for all of it, on average exactly."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from traceprop.passes.unlearning.sampled_batch import inclusion, taken

sizes = st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=30).map(lambda xs: np.array(xs, dtype=np.float32))


@given(sizes, st.integers(1, 40))
def test_every_row_has_a_chance_and_the_larger_one_the_larger(size, keep):
    odds = inclusion(size, keep)
    assert ((odds > 0) & (odds <= 1)).all()
    assert odds.sum() <= min(keep, len(size)) * (1 + 1e-4)
    assert (np.diff(odds[np.argsort(size)]) >= -1e-5).all()
    assert keep < len(size) or (odds == 1).all()


@settings(max_examples=25)
@given(sizes, st.integers(1, 40))
def test_the_weighted_sum_is_that_of_the_batch_on_average(size, keep):
    odds = inclusion(size, keep)
    offsets = (np.arange(500) + 0.5) / 500
    hits = np.zeros(len(size))
    for offset in offsets:
        chosen = taken(odds, offset)
        hits[chosen] += 1
        assert abs(len(chosen) - odds.sum()) <= 1
    np.testing.assert_allclose(hits / len(offsets), odds, atol=5e-3)
