"""The kernels on packed numbers and bit vectors: both twins against plain Python, and arguments that lie outside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traceprop.passes.kernels import bits, dispatch

TWINS = ["numpy", pytest.param("compiled", marks=pytest.mark.skipif(not dispatch.HAVE_EXTENSION, reason="not built"))]
quick = settings(max_examples=40, deadline=None)


@pytest.fixture(params=TWINS, autouse=True)
def twin(request):
    """Every test of this file runs through the compiled kernels and through their NumPy twins."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "numpy":
            patch.setattr(bits, "_bits", None)
            patch.setattr(dispatch, "_warned", True)
        yield request.param


@quick
@given(st.integers(0, 64), st.data())
def test_packed_numbers_are_read_back(width, data):
    values = data.draw(st.lists(st.integers(0, 2**width - 1), max_size=40))
    words = bits.pack(np.array(values, dtype=np.uint64), width)
    assert len(words) == bits.words_for(width * len(values))
    lo = data.draw(st.integers(0, len(values)))
    assert bits.unpack(words, width, lo, len(values)).tolist() == values[lo:]
    at = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=9)) if values else []
    places = np.array(at, dtype=np.int64)
    assert bits.unpack_at(words, width, places).tolist() == [values[k] for k in at]
    widths = np.full(len(at), width, dtype=np.uint8)
    assert bits.read_at(words, places * width, widths).tolist() == [values[k] for k in at]
    counts = len(values) - places
    sums = [sum(values[k:]) % 2**64 for k in at]
    assert bits.packed_sums(words, width, places, places + counts).tolist() == sums
    assert bits.sum_from(words, places * width, widths, counts).tolist() == sums


@quick
@given(st.sets(st.integers(0, 3000), max_size=60), st.integers(1, 200))
def test_vectors_are_counted_and_searched(ones, more):
    length = max(ones, default=0) + more
    words = bits.set_bits(np.array(sorted(ones), dtype=np.int64), length)
    counts = bits.count_ones(words)
    held = [k in ones for k in range(64 * len(words))]
    for wanted in (True, False):
        places = [k for k, one in enumerate(held) if one == wanted]
        nth = np.arange(len(places) + 1)
        assert bits.select(words, counts, nth, wanted).tolist() == [*places, len(held)]
    edges = np.arange(len(held) + 1)
    assert bits.rank(words, counts, edges).tolist() == [0, *np.cumsum(held).tolist()]
    start = length // 2
    assert bits.ones_from(words, start, 7).tolist() == [k for k in sorted(ones) if k >= start][:7]
    asked = np.array([-5, 0, 1, length, 2**63 - 1, -(2**63), *ones])
    assert bits.has_bits(words, 3, length, asked).tolist() == [
        3 <= k < length + 3 and held[k - 3] for k in asked.tolist()
    ]
    runs = dispatch.runs_from_indices(np.array(sorted(ones), dtype=np.int64))
    np.testing.assert_array_equal(bits.set_runs(*runs, length), words)


@quick
@given(st.lists(st.integers(0, 12), max_size=50), st.sampled_from([13, 15, 1000, 2**32]), st.integers(0, 50))
def test_digits_and_orders(values, base, start):
    per = bits.digits_per_word(base)
    assert base**per <= 2**64 < base ** (per + 1)
    groups = [values[k : k + per] for k in range(0, len(values), per)]
    words = np.array([sum(v * base**k for k, v in enumerate(group)) for group in groups], dtype=np.uint64)
    start = min(start, len(values))
    assert bits.digits(words, base, start, len(values)).tolist() == values[start:]
    at = np.arange(len(values))[::-1].copy()
    assert bits.digits_at(words, base, at).tolist() == values[::-1]
    begins, order = bits.order_by_number(np.array(values, dtype=np.int64), 14)
    assert order.tolist() == sorted(range(len(values)), key=lambda k: (values[k], k))
    assert begins.tolist() == [sum(v < number for v in values) for number in range(15)]


@quick
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-2, 2), st.integers(1, 5)), max_size=9))
def test_runs_are_found_from_the_left(pieces):
    numbers = np.array([first + step * k for first, step, n in pieces for k in range(n)], dtype=np.int64)
    begins, steps = bits.arithmetic_runs(numbers)
    low, high, falls, same, runs = bits.survey(numbers)
    assert runs == len(begins) == len(steps)
    if len(numbers):
        ahead = np.diff(numbers)
        assert (low, high) == (numbers.min(), numbers.max())
        assert (falls, same) == ((ahead < 0).sum(), (ahead == 0).sum())
    ends = [*begins[1:].tolist(), len(numbers)] if len(numbers) else []
    for begin, end, step in zip(begins.tolist(), ends, steps.tolist(), strict=True):
        assert (np.diff(numbers[begin:end]) == step).all()
        assert end - begin > 1 or step == 0
        assert end == len(numbers) or end - begin == 1 or numbers[end] - numbers[end - 1] != step


def test_what_lies_outside_is_an_error():
    words, at = np.zeros(2, dtype=np.uint64), np.array([40])
    counts = bits.count_ones(words)
    for call in (
        lambda: bits.unpack(words, 10, 0, 13),
        lambda: bits.unpack_at(words, 10, at),
        lambda: bits.unpack_at(words, 10, -at),
        lambda: bits.packed_sums(words, 10, at - 40, at),
        lambda: bits.read_at(words, at, np.array([120], dtype=np.uint8)),
        lambda: bits.sum_from(words, at, np.array([20], dtype=np.uint8), np.array([9])),
        lambda: bits.digits(words, 10, 0, 40),
        lambda: bits.digits_at(words, 10, at),
        lambda: bits.digits_per_word(1),
        lambda: bits.select(words, counts, -at),
        lambda: bits.rank(words, counts, np.array([129])),
        lambda: bits.rank_gaps(words, counts, words, 3, 1, np.zeros(9, dtype=np.int64), 4, 20, at),
        lambda: bits.ones_from(words, 129, 1),
        lambda: bits.set_bits(at, 40),
        lambda: bits.set_runs(at, at, 50),
        lambda: bits.has_bits(words, 0, 129, at),
        lambda: bits.order_by_number(at, 40),
    ):
        with pytest.raises(ValueError):
            call()
