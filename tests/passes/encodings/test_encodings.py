"""Every encoding, by either twin of the kernels, against the array that it holds; and its bytes against what is possible."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from traceprop.errors import CorruptError, NewerVersionError
from traceprop.passes.encodings import (
    Bitmap,
    Blocks,
    Chained,
    Columns,
    Complement,
    Dictionary,
    Digits,
    EliasFano,
    Facts,
    Frames,
    Packed,
    Plain,
    Repeated,
    Rice,
    Strided,
    bounds,
    compose,
    encode,
    from_bytes,
    inverse,
    sliced,
    to_bytes,
)
from traceprop.passes.encodings.blocks import matched
from traceprop.passes.encodings.complement import missing_from
from traceprop.passes.kernels import bits, dispatch, reference

TWINS = ["numpy", pytest.param("compiled", marks=pytest.mark.skipif(not dispatch.HAVE_EXTENSION, reason="not built"))]
lean = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(params=TWINS, autouse=True)
def twin(request):
    """Every test of this file runs through the compiled kernels and through their NumPy twins."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "numpy":
            patch.setattr(dispatch, "_runs", None)
            patch.setattr(bits, "_bits", None)
            patch.setattr(dispatch, "_warned", True)
        yield request.param


def ints(*values):
    return np.array(values, dtype=np.int64)


small = st.integers(-40, 60)
any_int = st.integers(-(2**63), 2**63 - 1)
stretches = st.lists(st.tuples(small, st.integers(-3, 3), st.integers(1, 9)), max_size=8).map(
    lambda runs: np.concatenate([ints(), *(first + step * np.arange(n) for first, step, n in runs)])
)
numbers = st.one_of(
    st.lists(small, max_size=80).map(lambda v: ints(*v)),
    st.lists(small, max_size=80).map(lambda v: ints(*sorted(v))),
    st.sets(st.integers(-200, 200), max_size=150).map(lambda v: ints(*sorted(v))),
    st.lists(any_int, max_size=20).map(lambda v: ints(*v)),
    st.lists(any_int, max_size=20).map(lambda v: ints(*sorted(v))),
    st.permutations(range(40)).map(lambda v: ints(*v)),
    stretches,
    st.lists(st.tuples(st.integers(-999, 999), st.integers(1, 9)), min_size=1, max_size=60).map(
        lambda steps: np.cumsum(np.concatenate([np.full(n, step) for step, n in steps]))
    ),
)
sets_of_runs = st.sets(st.integers(-45, 65), max_size=40).map(lambda v: reference.runs_from_indices(ints(*sorted(v))))


def encodings_of(array):
    """Each encoding that can hold the array, whether or not it would be chosen."""
    low, high = (int(array.min()), int(array.max())) if len(array) else (0, 0)
    facts = Facts(array.shape, array.dtype, low, high)
    yield encode(array)
    yield Plain.of(array)
    if max(abs(low), abs(high)) < 2**62:
        yield Strided.of(facts, array)
        yield Frames.of(facts, array, steps=True)
    if 2 <= high - low + 1 <= 2**32:
        yield Digits.of(facts, array)
    yield Packed.of(facts, array)
    yield Frames.of(facts, array, steps=False)
    words, codes = np.unique(array, return_inverse=True)
    yield Dictionary(facts, encode(words), encode(codes))
    if max(abs(low), abs(high)) < 2**60:
        cuts = [0, len(array) // 3, len(array) // 3, len(array)]
        offsets = [5, 0, -7]
        stretches = [encode(array[a:b] - off) for a, b, off in zip(cuts, cuts[1:], offsets, strict=False)]
        yield Chained.of(stretches, offsets, dtype=array.dtype)
    if len(array) and max(abs(low), abs(high)) < 2**40 and (array[1:] >= array[:-1]).all():
        yield EliasFano.of(facts, array)
        yield Rice.of(facts, array)
        if (array[1:] > array[:-1]).all() and high - low < 10**6:
            yield Bitmap.of(facts, array)
            yield Complement(facts, EliasFano.of(*missing_from(facts, array)))
            yield Complement(facts, Rice.of(*missing_from(facts, array)))


def members(runs):
    starts, stops = runs
    assert (starts < stops).all()
    assert (stops[:-1] < starts[1:]).all()
    return {int(x) for a, b in zip(starts, stops, strict=True) for x in range(a, b)}


@lean
@given(numbers, st.randoms(use_true_random=False))
@example(ints(), None)
@example(ints(7), None)
@example(np.arange(1000), None)
@example(np.full(300, 5), None)
@example(ints(2**63 - 1, -(2**63)), None)
def test_positions_are_the_array(array, random):
    for held in encodings_of(array):
        np.testing.assert_array_equal(np.asarray(held), array, err_msg=held.encoding)
        assert held.length == len(held) == len(array)
        for lo in range(0, len(array), 7):
            np.testing.assert_array_equal(held.part(lo, min(lo + 5, len(array))), array[lo : lo + 5])
        at = np.array([random.randrange(len(array)) for _ in range(9)] if random and len(array) else [], dtype=np.int64)
        np.testing.assert_array_equal(held.take(at), array[at])
        np.testing.assert_array_equal(held._take(at), array[at])
        again = from_bytes(to_bytes(held))
        assert type(again) is type(held)
        np.testing.assert_array_equal(np.asarray(again), array)
        with pytest.raises(IndexError, match="out of range"):
            held.take([len(array)])
        with pytest.raises(IndexError, match="out of range"):
            held.take([-1])


@lean
@given(numbers, sets_of_runs)
def test_image_and_where_are_those_of_the_array(array, wanted):
    asked = members(wanted)
    inside = reference.runs_from_indices(ints(*sorted(x for x in asked if 0 <= x < len(array))))
    bounded = not len(array) or max(abs(int(array.min())), abs(int(array.max()))) < 2**62
    for held in encodings_of(array):
        found = members(held.where(*wanted))
        assert found == {k for k, x in enumerate(array.tolist()) if x in asked}, held.encoding
        if bounded:
            expected = {int(array[k]) for k in members(inside)}
            got = held.image(*inside)
            assert (got[0] < got[1]).all()
            assert int((got[1] - got[0]).sum()) == len(expected), held.encoding
            if len(expected) and max(map(abs, expected)) < 10**4:
                assert members(got) == expected
        if held.ascending and len(array):
            edges = ints(*range(-50, 70), int(array.max()), int(array.min()))
            np.testing.assert_array_equal(held.rank(edges), np.searchsorted(array, edges))
            if (array[1:] > array[:-1]).all():
                spread = array - np.arange(len(array))
                np.testing.assert_array_equal(held.spread_rank(edges), np.searchsorted(spread, edges))


@lean
@given(stretches, st.data())
def test_runs_are_composed_and_inverted_as_runs(array, data):
    held = Strided.of(encode(array).facts, array)
    if len(array):
        later = data.draw(
            st.lists(st.tuples(st.integers(0, len(array) - 1), st.integers(1, 6), st.sampled_from([-2, -1, 0, 1, 3])))
        )
        pieces = [at + step * np.arange(n) for at, n, step in later]
        order = np.concatenate([ints(), *(piece[(piece >= 0) & (piece < len(array))] for piece in pieces)])
        chosen = Strided.of(encode(order).facts, order)
        np.testing.assert_array_equal(np.asarray(held.then(chosen)), array[order])
    cuts = data.draw(st.sets(st.integers(0, 30)))
    blocks = np.split(np.arange(30), sorted(cuts))
    shuffled = data.draw(st.permutations(blocks))
    turned = [block[::-1] if data.draw(st.booleans()) else block for block in shuffled]
    order = np.concatenate([ints(), *turned])
    inverse = Strided.of(encode(order).facts, order).inverse()
    assert inverse is not None
    np.testing.assert_array_equal(np.asarray(inverse)[order], np.arange(30))


@lean
@given(numbers, st.data())
def test_laws_of_composition_inversion_and_slices(array, data):
    order = ints(*data.draw(st.permutations(range(len(array)))))
    some = ints(*data.draw(st.lists(st.integers(0, max(len(array) - 1, 0)), max_size=20 if len(array) else 0)))
    for held in encodings_of(array):
        np.testing.assert_array_equal(np.asarray(compose(held, encode(order))), array[order])
        both = compose(compose(held, encode(order)), encode(some))
        np.testing.assert_array_equal(np.asarray(both), np.asarray(compose(held, compose(encode(order), encode(some)))))
        lo = data.draw(st.integers(0, len(array)))
        hi = data.draw(st.integers(lo, len(array)))
        cut = sliced(held, lo, hi)
        np.testing.assert_array_equal(np.asarray(cut), array[lo:hi])
        if hi > lo and cut.encoding == "runs":
            assert (cut.facts.low, cut.facts.high) == (array[lo:hi].min(), array[lo:hi].max())
        with pytest.raises(IndexError, match="out of range"):
            sliced(held, 0, len(array) + 1)
    for held in encodings_of(order):
        np.testing.assert_array_equal(np.asarray(inverse(held))[order], np.arange(len(order)))
        np.testing.assert_array_equal(np.asarray(inverse(inverse(held))), order)
    for wrong in ([0, 0], [1, 2], [0, 2, 2, 3], [0, 1, 1, 3, 4, 5, 5, 7]):
        with pytest.raises(ValueError, match="not a permutation"):
            inverse(encode(np.array(wrong)))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u4", "i8", "u8"])
def test_dtypes_and_shapes_come_back(dtype):
    rng = np.random.default_rng(0)
    for shape in ((6, 4), (0, 2), (3, 0), (5, 2), (2, 3, 4), ()):
        array = rng.integers(0, 100, shape).astype(dtype)
        held = encode(array)
        for positions in (held, from_bytes(to_bytes(held))):
            again = np.asarray(positions)
            assert again.dtype == array.dtype
            assert again.shape == positions.shape == shape
            np.testing.assert_array_equal(again, array)
    with pytest.raises(TypeError, match="whole numbers"):
        encode([0.5])
    with pytest.raises(OverflowError):
        encode(np.array([2**63], dtype=np.uint64))


def test_a_bitmap_that_ends_with_a_block_is_asked_up_to_its_end():
    array = np.flatnonzero(np.random.default_rng(0).random(2048) < 0.5)
    array = np.unique(np.concatenate([array, [0, 2047]]))
    held = Bitmap.of(encode(array).facts, array)
    np.testing.assert_array_equal(held.rank(np.arange(2050)), np.searchsorted(array, np.arange(2050)))
    assert members(held.where(ints(1000), ints(2048))) == set(np.flatnonzero(array >= 1000).tolist())


def test_pairs_keep_their_columns_apart():
    rng = np.random.default_rng(0)
    pairs = np.stack([np.arange(1000), rng.integers(0, 50, 1000)], axis=1)
    held = encode(pairs, "pairs")
    assert [column.encoding for column in held.columns] == ["runs", "packed"]
    for positions in (held, from_bytes(to_bytes(held))):
        np.testing.assert_array_equal(np.asarray(positions.column(1)), pairs[:, 1])
        np.testing.assert_array_equal(positions.take([[0, 3], [1999, 5]]), pairs.ravel()[[[0, 3], [1999, 5]]])
        np.testing.assert_array_equal(positions.part(3, 8), pairs.ravel()[3:8])


@lean
@given(st.lists(st.integers(0, 5), max_size=60), st.lists(st.integers(0, 5), max_size=40), st.randoms())
def test_pairs_of_many_to_many_are_held_by_group(left, right, random):
    rights = [[r for r, key in enumerate(right) if key == wanted] for wanted in range(6)]
    pairs = np.array([(n, r) for n, key in enumerate(left) for r in rights[key]], dtype=np.int64).reshape(-1, 2)
    if not len(pairs):
        return
    held = [encode(pairs, "pairs")]
    found = matched(pairs[:, 0].copy(), pairs[:, 1].copy())
    if found is not None:
        rows, codes, words, begins = map(encode, found)
        facts = [encode(pairs[:, k]).facts for k in (0, 1)]
        blocks = Blocks(facts[1], codes, words, begins)
        held.append(Columns(encode(pairs).facts, [Repeated(facts[0], rows, blocks), blocks]))
    for positions in (*held, *(from_bytes(to_bytes(each)) for each in held)):
        np.testing.assert_array_equal(np.asarray(positions), pairs)
        for k in (0, 1):
            column, array = positions.column(k), pairs[:, k]
            np.testing.assert_array_equal(np.asarray(from_bytes(to_bytes(column))), array)
            at = np.array([random.randrange(len(array)) for _ in range(9)])
            np.testing.assert_array_equal(column._take(at), array[at])
            lo, hi = sorted(random.randrange(len(array) + 1) for _ in range(2))
            np.testing.assert_array_equal(column.part(lo, hi), array[lo:hi])
            if k == 0:
                edges = ints(*range(-1, 62))
                np.testing.assert_array_equal(column.rank(edges), np.searchsorted(array, edges))
            assert members(column.where(ints(3), ints(8))) == {n for n, x in enumerate(array) if 3 <= x < 8}


def test_a_join_of_one_to_many_takes_little_more_than_its_information():
    rng = np.random.default_rng(7)
    n, m = 4000, 40_000
    owner = rng.integers(0, n, m)
    right = np.argsort(owner, kind="stable")
    pairs = np.stack([owner[right], right], axis=1)
    held = encode(pairs, "pairs")
    assert [column.encoding for column in held.columns] == ["quotients", "remainders"]
    assert held.nbytes <= 1.2 * bounds.join(n, m, held)
    for positions in (held, from_bytes(to_bytes(held))):
        assert positions.nbytes == held.nbytes
        np.testing.assert_array_equal(np.asarray(positions), pairs)
        for k in (0, 1):
            column = positions.column(k)
            np.testing.assert_array_equal(np.asarray(from_bytes(to_bytes(column))), pairs[:, k])
            at = rng.integers(0, m, 50)
            np.testing.assert_array_equal(column._take(at), pairs[at, k])
            wanted = ints(7, 100), ints(9, 120)
            expected = np.flatnonzero(
                ((pairs[:, k] >= 7) & (pairs[:, k] < 9)) | ((pairs[:, k] >= 100) & (pairs[:, k] < 120))
            )
            for _ in range(3):
                assert members(column.where(*wanted)) == set(expected.tolist())
        edges = np.arange(-2, n + 3)
        np.testing.assert_array_equal(positions.column(0).rank(edges), np.searchsorted(pairs[:, 0], edges))


def test_a_join_of_many_to_many_takes_little_more_than_its_information():
    rng = np.random.default_rng(6)
    n, m, groups = 30_000, 10_000, 1000
    left, right = rng.integers(0, groups, n), rng.integers(0, groups, m)
    order = np.argsort(right, kind="stable")
    begins = np.searchsorted(right[order], np.arange(groups + 1))
    counts = np.diff(begins)[left]
    rows = np.repeat(np.arange(n), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    pairs = np.stack([rows, order[np.repeat(begins[left], counts) + within]], axis=1)
    held = encode(pairs, "pairs")
    np.testing.assert_array_equal(np.asarray(held), pairs)
    assert held.nbytes <= 1.2 * bounds.join(n, m, held)


# -- bytes ----------------------------------------------------------------------------------------------------------------


def log2_binomial(n, k):
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


@pytest.mark.parametrize(
    "density", [0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 0.999]
)
def test_a_filter_takes_little_more_than_its_information(density):
    n = 200_000
    kept = np.flatnonzero(np.random.default_rng(1).random(n) < density)
    held = encode(kept, "ascending")
    np.testing.assert_array_equal(np.asarray(held), kept)
    assert 8 * held.nbytes <= 1.2 * log2_binomial(n, len(kept)), held
    assert len(to_bytes(held)) <= held.nbytes + 300


@pytest.mark.parametrize("n", [20_000, 2**15 + 1, 100_000])
def test_a_permutation_takes_little_more_than_its_information(n):
    order = np.random.default_rng(2).permutation(n)
    held = encode(order, "permutation")
    np.testing.assert_array_equal(np.asarray(held), order)
    assert 8 * held.nbytes <= 1.2 * math.lgamma(n + 1) / math.log(2)


@pytest.mark.parametrize("groups", [2, 3, 5, 6, 9, 10, 17, 33, 100, 1000])
def test_groups_take_little_more_than_their_information(groups):
    codes = np.random.default_rng(4).integers(0, groups, 50_000)
    held = encode(codes, "ordinals")
    np.testing.assert_array_equal(np.asarray(held), codes)
    assert 8 * held.nbytes <= 1.2 * len(codes) * math.log2(groups) + 64 * 8, held


def test_numbers_that_stay_near_or_are_few_are_small():
    rng = np.random.default_rng(5)
    n = 60_000
    nearly = np.arange(n) // 40 + rng.integers(0, 6, n)
    assert encode(nearly).encoding == "frames"
    assert 8 * encode(nearly).nbytes <= 5.5 * n
    few = rng.choice(rng.integers(0, 2**50, 12), n)
    assert encode(few).encoding == "dictionary"
    assert 8 * encode(few).nbytes <= 1.2 * n * math.log2(12) + 1000
    for array in (nearly, few):
        np.testing.assert_array_equal(np.asarray(encode(array)), array)


def test_what_has_a_pattern_takes_next_to_nothing():
    n = 100_000
    for array in (np.arange(n), np.arange(n)[::-1], np.zeros(n, dtype=int), np.arange(0, n, 7), np.r_[0:n:2, 1:n:2]):
        assert encode(array).nbytes <= 64
    clustered = np.flatnonzero(np.repeat(np.random.default_rng(3).random(n // 1000) < 0.5, 1000))
    assert encode(clustered).encoding == "runs"
    assert encode(clustered).nbytes < 1000


# -- blobs ----------------------------------------------------------------------------------------------------------------


@lean
@given(numbers, st.data())
def test_a_changed_or_cut_blob_is_named(array, data):
    blob = to_bytes(encode(array))
    cut = data.draw(st.integers(0, len(blob) - 1))
    with pytest.raises(CorruptError):
        from_bytes(blob[:cut])
    flipped = bytearray(blob)
    flipped[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((CorruptError, NewerVersionError)):
        from_bytes(flipped)
    with pytest.raises(CorruptError):
        from_bytes(blob + b"\0")


@lean
@given(numbers, st.data())
def test_a_forged_blob_is_refused_or_stays_in_its_bounds(array, data):
    """Whoever can change bytes can mend checksums: what is read then may be wrong, and never lies outside of the arrays."""
    import struct
    import zlib

    for held in encodings_of(array):
        body = bytearray(to_bytes(held)[24:])
        for _ in range(data.draw(st.integers(1, 3))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        head = struct.pack("<4sHHQI", b"TPos", 1, 0, len(body), zlib.crc32(body))
        try:
            forged = from_bytes(head + struct.pack("<I", zlib.crc32(head)) + body)
        except CorruptError:
            continue
        if forged.length > 10**6:
            continue
        try:
            at = np.arange(min(forged.length, 300))
            forged.take(at)
            forged._take(at)
            forged.where(ints(-5, 20), ints(10, 30))
            forged.image(at[:1], at[:1] + 1)
        except (ValueError, IndexError, OverflowError, CorruptError):
            continue


def test_a_newer_version_is_refused_politely():
    blob = bytearray(to_bytes(encode(np.arange(9))))
    import struct
    import zlib

    blob[4] = 2
    blob[20:24] = struct.pack("<I", zlib.crc32(blob[:20]))
    with pytest.raises(NewerVersionError, match="version 2; this traceprop reads up to 1"):
        from_bytes(blob)
    with pytest.raises(CorruptError, match="not a blob of positions"):
        from_bytes(b"PK\x03\x04 and so on, and so on")


def test_arrays_of_a_blob_are_views_of_it():
    blob = to_bytes(encode(np.random.default_rng(0).permutation(1000)))
    held = from_bytes(memoryview(blob))
    assert isinstance(held, Packed)
    assert not held._words.flags.owndata


def test_many_stretches_are_a_chain_of_chains():
    pieces = [np.flatnonzero(np.arange(50) % 7 == k % 7) for k in range(300)]
    whole = np.concatenate([piece + 50 * k for k, piece in enumerate(pieces)])
    chain = Chained.of([encode(piece, "ascending") for piece in pieces], [50 * k for k in range(300)])
    np.testing.assert_array_equal(np.asarray(chain), whole)
    np.testing.assert_array_equal(np.asarray(from_bytes(to_bytes(chain))), whole)
    starts, stops = chain.where(np.array([700]), np.array([750]))
    np.testing.assert_array_equal(
        dispatch.runs_to_indices(starts, stops), np.flatnonzero((whole >= 700) & (whole < 750))
    )
