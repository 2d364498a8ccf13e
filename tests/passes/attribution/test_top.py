"""The largest products, by one thread or several, and what happens when one of them fails."""

from contextlib import nullcontext

import numpy as np
import pytest

from traceprop.passes.attribution import top
from traceprop.passes.kernels.dispatch import topk


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(top, "WORTH_THREADS", 0)
    monkeypatch.setattr(top, "one_thread_per_call", lambda: nullcontext(3))


def pieces_of(gradients, rows):
    for first in range(0, len(gradients), rows):
        part = np.arange(first, min(first + rows, len(gradients)))
        yield part, lambda part=part: gradients[part]


@pytest.mark.parametrize("queries", [0, 1, 100, 1100])
@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_by_any_number_of_threads(queries, k, dtype, three_threads, monkeypatch):
    rng = np.random.default_rng(0)
    gradients = rng.integers(-3, 4, size=(900, 5)).astype(np.float32)  # sums are exact, and many are equal
    asked = rng.integers(-3, 4, size=(queries, 5)).astype(dtype)
    told = []
    for worth in (0, 1 << 60):
        monkeypatch.setattr(top, "WORTH_THREADS", worth)
        advanced = []
        scores, samples = top.top_products(pieces_of(gradients, 130), asked, k, advanced.append, 900)
        assert sum(advanced) == 900
        assert scores.dtype == dtype
        told.append((scores.tolist(), samples.tolist()))
    assert told[0] == told[1]
    assert told[0][1] == topk(asked @ gradients.T, k).tolist()


def test_a_failure_ends_all_threads_and_is_raised(three_threads):
    given = []

    def pieces():
        for number in range(10_000):
            given.append(number)
            yield np.array([number]), lambda number=number: np.ones((1, 2)) if number < 5 else damaged()

    def damaged():
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        top.top_products(pieces(), np.ones((3, 2), dtype=np.float32), 2, samples=10)
    assert len(given) < 10_000


def test_blocks_that_fail_are_raised_too(three_threads):
    def pieces():
        yield np.array([0]), lambda: np.ones((1, 2))
        raise OSError("no second block")

    with pytest.raises(OSError, match="no second block"):
        top.top_products(pieces(), np.ones((3, 2), dtype=np.float32), 2, samples=10)
