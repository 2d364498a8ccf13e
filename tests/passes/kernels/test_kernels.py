"""Both twins of every kernel against plain Python sets, sorts and sums, and against each other."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceprop.passes.kernels import dispatch, reference

TWINS = ["numpy", pytest.param("compiled", marks=pytest.mark.skipif(not dispatch.HAVE_EXTENSION, reason="not built"))]
indices = st.lists(st.integers(-40, 40), max_size=40).map(lambda values: np.array(sorted(values), dtype=np.int64))


@pytest.fixture(params=TWINS, autouse=True)
def twin(request):
    """Every test of this file runs through the compiled kernels and through their NumPy twins."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "numpy":
            for module in ("_runs", "_topk", "_fingerprint", "_identity"):
                patch.setattr(dispatch, module, None)
            patch.setattr(dispatch, "_warned", True)
        yield request.param


def as_set(runs) -> set[int]:
    return {int(value) for a, b in zip(*runs, strict=True) for value in range(a, b)}


def assert_canonical(runs) -> None:
    starts, stops = runs
    assert starts.dtype == stops.dtype == np.int64
    assert (starts < stops).all()
    assert (stops[:-1] < starts[1:]).all()


@given(indices)
def test_runs_and_indices_are_inverse(values):
    runs = dispatch.runs_from_indices(values)
    assert_canonical(runs)
    np.testing.assert_array_equal(dispatch.runs_to_indices(*runs), np.unique(values))


@given(indices, indices)
def test_algebra_is_that_of_sets(left, right):
    a, b = dispatch.runs_from_indices(left), dispatch.runs_from_indices(right)
    for name, expected in (
        ("union", as_set(a) | as_set(b)),
        ("intersection", as_set(a) & as_set(b)),
        ("difference", as_set(a) - as_set(b)),
    ):
        got = getattr(dispatch, name)(*a, *b)
        assert_canonical(got)
        assert as_set(got) == expected, name


@given(indices, indices)
def test_algebra_takes_runs_that_touch_and_gives_maximal_ones(left, right):
    a = (np.unique(left), np.unique(left) + 1)
    b = (np.unique(right), np.unique(right) + 1)
    for name, op in (("union", set.union), ("intersection", set.intersection), ("difference", set.difference)):
        got = getattr(dispatch, name)(*a, *b)
        assert_canonical(got)
        assert as_set(got) == op(set(left.tolist()), set(right.tolist()))


@given(indices, st.lists(st.integers(-50, 50)))
def test_contains(values, questions):
    runs = dispatch.runs_from_indices(values)
    expected = [question in set(values.tolist()) for question in questions]
    got = dispatch.contains(*runs, np.array(questions, dtype=np.int64))
    assert got.dtype == np.bool_
    assert got.tolist() == expected


@given(
    st.lists(
        st.lists(st.sampled_from([np.nan, -np.inf, -1.0, -0.0, 0.0, 1.0, 2.5, np.inf]), min_size=7, max_size=7),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 9),
    st.sampled_from([np.float32, np.float64]),
)
def test_topk_is_a_stable_sort(rows, k, dtype):
    scores = np.array(rows, dtype=dtype)
    scores.flags.writeable = False
    expected = [
        sorted(range(7), key=lambda i: (np.isnan(row[i]), -row[i] if row[i] == row[i] else 0, i))[:k] for row in rows
    ]
    assert dispatch.topk(scores, k).tolist() == expected
    assert dispatch.topk(scores[0], k).tolist() == expected[0]


@given(st.binary(max_size=70), st.integers(0, 3))
def test_hash_of_bytes_is_the_same_for_both_twins_and_any_alignment(text, shift):
    aligned = np.frombuffer(text, dtype=np.uint8)
    moved = np.frombuffer(b"x" * shift + text, dtype=np.uint8)[shift:]
    expected = reference.hash_words(aligned)
    assert reference.hash_words(moved) == expected
    if dispatch._fingerprint is not None:
        assert dispatch._fingerprint.hash_words(moved) == expected


@given(st.binary(max_size=700), st.integers(2, 70))
def test_a_sample_is_the_same_for_both_twins_and_all_of_what_is_small(text, words):
    seen = np.frombuffer(text, dtype=np.uint8)
    expected = reference.sample_words(seen, words)
    if len(text) // 8 <= words:
        assert expected == reference.hash_words(seen)
    assert dispatch.sample(seen.ctypes.data, len(text), words) == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "_fingerprint", None)
        patch.setattr(dispatch, "_warned", True)
        assert dispatch.sample(seen.ctypes.data, len(text), words) == expected


@given(st.binary(max_size=900), st.integers(0, 3), st.integers(0, 900))
def test_a_quick_hash_is_the_same_for_both_twins_and_any_cell_changes_it(text, shift, at):
    moved = np.frombuffer(b"x" * shift + text, dtype=np.uint8)[shift:].copy()
    before = reference.quick_hash(moved)
    assert dispatch.quick_hash(moved) == before
    if at < len(moved):
        moved[at] ^= 1
        assert dispatch.quick_hash(moved) != before
        assert dispatch.quick_hash(moved) == reference.quick_hash(moved)


def test_a_quick_hash_knows_places_and_takes_any_layout():
    values = np.arange(600.0).reshape(30, 20)
    seen = dispatch.quick_hash(values)
    assert dispatch.quick_hash(np.asfortranarray(values)) == seen
    for one, other in ((0, 8), (0, 1), (3, 599)):
        swapped = values.copy()
        swapped.reshape(-1)[[one, other]] = swapped.reshape(-1)[[other, one]]
        assert dispatch.quick_hash(swapped) != seen
    days = values.astype("M8[s]")
    with pytest.MonkeyPatch.context() as patch:
        expected = dispatch.quick_hash(days)
        patch.setattr(dispatch, "_fingerprint", None)
        patch.setattr(dispatch, "_warned", True)
        assert dispatch.quick_hash(days) == expected
        assert dispatch.quick_hash(values[:0]) == reference.quick_hash(np.empty(0, np.uint8))


def test_dicts_and_lists_hold_what_they_held():
    one, other, listed = object(), object(), [1, "a"]
    shelf = {"one": one, "other": other}
    shelves = [(shelf, ("one", one, "other", other)), (listed, (1, listed[1])), ({}, ()), ([], ())]
    for twin in {dispatch._identity, None}:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dispatch, "_identity", twin)
            patch.setattr(dispatch, "_warned", True)
            assert dispatch.holds_same(shelves)
            assert not dispatch.holds_same([*shelves, ({}, ("one", one))])
            assert not dispatch.holds_same([(shelf, ("one", one))])
            assert not dispatch.holds_same([(shelf, ("one", other, "other", one))])
            assert not dispatch.holds_same([(shelf, ("other", one, "one", other))])
            assert not dispatch.holds_same([(listed, (True, "a"))])
            assert not dispatch.holds_same([(listed, (1,))])


@given(st.integers(0, 99), st.sampled_from(["f8", "f4", "i8", "i2", "u1", "?", "<U2", "M8[s]", ">f8"]))
def test_any_one_element_changes_the_fingerprint(at, dtype):
    values = np.arange(100).astype(dtype) if dtype != "?" else np.zeros(100, dtype=bool)
    other = values.copy()
    other[at] = not other[at] if dtype == "?" else values[at - 1]
    assert dispatch.fingerprint(values) != dispatch.fingerprint(other)
    assert dispatch.fingerprint(values) == dispatch.fingerprint(values.copy())


def test_fingerprint_sees_place_shape_and_type_but_not_layout():
    values = np.arange(12.0).reshape(3, 4)
    base = dispatch.fingerprint(values)
    assert dispatch.fingerprint(np.asfortranarray(values)) == base
    assert dispatch.fingerprint(np.repeat(values, 2, axis=0)[::2]) == base
    others = [values[::-1], values.T, values.reshape(4, 3), values.ravel(), values.view("i8"), values.astype("f4")]
    assert len({dispatch.fingerprint(other) for other in others} | {base}) == len(others) + 1
    assert dispatch.fingerprint(np.zeros(0)) != dispatch.fingerprint(np.zeros((0, 2)))
    assert 0 <= dispatch.fingerprint(np.float64(3)) < 2**64


def test_wrong_arguments_are_errors():
    for call, message in (
        (lambda: dispatch.runs_from_indices([3, 1]), "ascending"),
        (lambda: dispatch.runs_from_indices([0.5]), "integers"),
        (lambda: dispatch.runs_from_indices([[1]]), "one axis"),
        (lambda: dispatch.union([0], [0], [], []), "empty run"),
        (lambda: dispatch.union([0, 1], [2, 3], [], []), "disjoint"),
        (lambda: dispatch.union([0], [], [], []), "1 starts but 0 stops"),
        (lambda: dispatch.topk([1.0], -1), "negative"),
        (lambda: dispatch.topk(np.zeros((1, 1, 1)), 1), "axes"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="Python objects"):
        dispatch.fingerprint(np.array([object()]))


def test_missing_extension_is_said_once(twin):
    if twin == "compiled":
        pytest.skip("about the twins")
    dispatch._warned = False
    with pytest.warns(RuntimeWarning, match="compiled kernels are missing"):
        dispatch.runs_from_indices([1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dispatch.runs_from_indices([2])


@given(st.data())
def test_largest_of_rows_that_are_streamed_are_those_of_all(data):
    from traceprop.passes.kernels import largest

    rows, n, k = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 20)), data.draw(st.integers(0, 8))
    cells = st.sampled_from([np.nan, -np.inf, -1.0, 0.0, 1.0, 2.5, np.inf])
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    scores = np.array(data.draw(st.lists(cells, min_size=rows * n, max_size=rows * n)), dtype=dtype).reshape(rows, n)
    order = np.array(data.draw(st.permutations(range(n))), dtype=np.int64)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    expected = dispatch.topk(scores, k)
    for compiled in {dispatch._topk, None}:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dispatch, "_topk", compiled)
            patch.setattr(dispatch, "_warned", True)
            kept, other = (largest.Largest(rows, k, dtype) for _ in range(2))
            for turn, (start, stop) in enumerate(zip([0, *cuts], [*cuts, n], strict=True)):
                into = other if turn % 2 else kept
                for first in range(0, rows, 2):
                    into.add(scores[first : first + 2, order[start:stop]].T, order[start:stop], first)
            kept.merge(other)
            best, places = kept.sorted()
        width = min(k, n)
        assert places[:, :width].tolist() == expected.tolist()
        np.testing.assert_array_equal(best[:, :width], np.take_along_axis(scores, expected, axis=1))


@given(st.integers(0, 40), st.integers(0, 5), st.integers(0, 1000))
def test_many_columns_at_a_time(columns, rows, seed):
    """As many as fill vectors, and more."""
    from traceprop.passes.kernels import largest

    rng = np.random.default_rng(seed)
    scores = rng.integers(-2, 3, size=(rows + 4, 70 + columns)).astype(np.float32)
    kept = largest.Largest(scores.shape[1], 4, np.float32)
    for row in range(len(scores)):
        kept.add(scores[row : row + 1], np.array([row]))
    assert kept.sorted()[1].tolist() == dispatch.topk(scores.T, 4).tolist()


@pytest.mark.parametrize("scale", [1.0, 0.25, 2.0**-126, 2.0**120])
def test_every_half_is_widened_to_the_bit(scale):
    from traceprop.passes.kernels import half

    stored = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(-1, 64)
    scales = np.full(len(stored), scale, dtype=np.float32)
    with np.errstate(all="ignore"):
        expected = stored.astype(np.float32) * scales[:, None]
    for compiled in {half._half, None}:
        for width in (64, 37, 1, 0):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(half, "_half", compiled)
                patch.setattr(dispatch, "_warned", True)
                found = half.widened(stored[:, :width], scales)
            known = ~np.isnan(expected[:, :width])
            assert (np.isnan(found) == ~known).all()
            assert (found[known].view(np.uint32) == expected[:, :width][known].view(np.uint32)).all()
    with pytest.raises(ValueError, match="halves"):
        half.widened(stored.astype(np.float32), scales)
    with pytest.raises(ValueError, match="halves"):
        half.widened(stored, scales[:-1])
