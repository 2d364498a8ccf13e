"""The NumPy twins: what each kernel means, and what runs where the extension was not built.

A *run list* is a set of integers written as two int64 arrays of one length, `starts` and `stops`: the union of the
half-open runs `starts[i] <= x < stops[i]`, sorted and disjoint. What these functions give is canonical: no run is
empty and no two runs touch, so that equal sets have equal run lists. Arguments were checked in `dispatch`.
"""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Runs = tuple[Ints, Ints]

# The increment of SplitMix64 and two odd constants of MurmurHash3's finalizer.
STEP = 0x9E3779B97F4A7C15
ODD_1 = 0xFF51AFD7ED558CCD
ODD_2 = 0xC4CEB9FE1A85EC53
Floats = NDArray[Any]
Words = NDArray[np.uint64]
Hits = NDArray[np.uint8]
_CHUNK = 1 << 15  # words: 256 KiB, so that the intermediate arrays stay in cache


def runs_from_indices(indices: Ints) -> Runs:
    """Write sorted indices (repeats allowed) as maximal runs."""
    if not len(indices):
        return indices[:0].copy(), indices[:0].copy()
    breaks = np.flatnonzero(np.diff(indices) > 1)
    starts = indices[np.concatenate(([0], breaks + 1))]
    stops = indices[np.concatenate((breaks, [len(indices) - 1]))] + 1
    return starts, stops


def runs_to_indices(starts: Ints, stops: Ints) -> Ints:
    """Write a run list out as sorted indices, each once."""
    lengths = stops - starts
    ends = np.cumsum(lengths)
    offsets = np.repeat(starts - (ends - lengths), lengths)
    return offsets + np.arange(len(offsets), dtype=np.int64)


def union(a_starts: Ints, a_stops: Ints, b_starts: Ints, b_stops: Ints) -> Runs:
    """List what is in either."""
    starts = np.concatenate((a_starts, b_starts))
    order = np.argsort(starts, kind="stable")
    starts = starts[order]
    reach = np.maximum.accumulate(np.concatenate((a_stops, b_stops))[order])
    if not len(starts):
        return starts, reach
    first = np.concatenate(([True], starts[1:] > reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return starts[first], reach[last]


def intersection(a_starts: Ints, a_stops: Ints, b_starts: Ints, b_stops: Ints) -> Runs:
    """List what is in both."""
    low = np.searchsorted(b_stops, a_starts, side="right")
    high = np.searchsorted(b_starts, a_stops, side="left")
    counts = np.maximum(high - low, 0)
    a = np.repeat(np.arange(len(a_starts)), counts)
    b = runs_to_indices(low, low + counts)
    return _merge_touching(np.maximum(a_starts[a], b_starts[b]), np.minimum(a_stops[a], b_stops[b]))


def difference(a_starts: Ints, a_stops: Ints, b_starts: Ints, b_stops: Ints) -> Runs:
    """List what is in the first and not in the second."""
    ends = np.iinfo(np.int64)
    gap_starts = np.concatenate((np.array([ends.min]), b_stops))
    gap_stops = np.concatenate((b_starts, np.array([ends.max])))
    kept = gap_starts < gap_stops
    return intersection(a_starts, a_stops, gap_starts[kept], gap_stops[kept])


def contains(starts: Ints, stops: Ints, indices: Ints) -> NDArray[np.bool_]:
    """Tell of each index, in any order, whether it is in the run list."""
    if not len(starts):
        return np.zeros(len(indices), dtype=np.bool_)
    run = np.searchsorted(starts, indices, side="right") - 1
    inside: NDArray[np.bool_] = (run >= 0) & (indices < stops[run])
    return inside


def sum_of_rows(rows: NDArray[Any], total: NDArray[Any] | None) -> NDArray[Any]:
    """Add rows to a total, one after another."""
    if total is not None:
        rows = np.concatenate([total[None], rows])
    added: NDArray[Any] = np.add.reduce(rows, axis=0)
    return added


def topk(scores: NDArray[Any], k: int) -> Ints:
    """Give per row the positions of its `k` largest scores, largest first; ties by position, NaN last."""
    order: Ints = np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int64)
    return order


def keep_largest(scores: NDArray[Any], positions: Ints, best: NDArray[Any], places: Ints, bars: NDArray[Any]) -> None:
    """Keep per column the largest of `best` (m, k), which stand at `places`, and of `scores` (n, m), at `positions` (n,).

    Ties by position, NaN last. The order within `best` is not promised. `bars` (m,) is working room.
    """
    merge_kept(best, places, scores.T, np.broadcast_to(positions, scores.T.shape))


def merge_kept(best: NDArray[Any], places: Ints, others: NDArray[Any], theirs: Ints) -> None:
    """Keep per row the largest of `best` (m, k), which stand at `places`, and of `others` (m, n), at `theirs`."""
    both, where = np.concatenate([best, others], axis=1), np.concatenate([places, theirs], axis=1)
    order = np.lexsort((where, -both), axis=1)[:, : best.shape[1]]
    best[:], places[:] = np.take_along_axis(both, order, axis=1), np.take_along_axis(where, order, axis=1)


def sort_kept(best: NDArray[Any], places: Ints) -> None:
    """Order what `keep_largest` kept: largest first, ties by position, NaN last."""
    order = np.lexsort((places, -best), axis=1)
    best[:], places[:] = np.take_along_axis(best, order, axis=1), np.take_along_axis(places, order, axis=1)


def widen(stored: NDArray[np.uint16], scale: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write the halves whose bits are `stored` (m, p), times their rows' scales (m,), into `out`."""
    with np.errstate(all="ignore"):
        np.multiply(stored.view(np.float16).astype(np.float32), scale[:, None], out=out)


def hash_words(words: NDArray[np.uint8]) -> int:
    """Sum f_i(w_i) modulo 2**64 over the little-endian 8-byte words of a byte array, the last one padded with zeros.

    f_i(w) = g((w xor i * STEP) * ODD_1) * ODD_2 with g(x) = x xor (x >> 32), a bijection of 64-bit words that differs
    from position to position. Changing one word alone therefore always changes the sum.
    """
    whole = len(words) // 8
    total = 0
    body = words[: 8 * whole].view("<u8")
    tail = np.zeros(8, dtype=np.uint8)
    tail[: len(words) - 8 * whole] = words[8 * whole :]
    for start in range(0, whole, _CHUNK):
        total += _hash_block(body[start : start + _CHUNK], start)
    return (total + _hash_block(tail.view("<u8"), whole)) % (1 << 64)


def quick_hash(words: NDArray[np.uint8]) -> int:
    """A hash that takes several words at once: of every eighth word, their sum, and the sum of products of the halves of each.

    A word is first crossed with a number of its place, so that where it stands counts. What is left behind the last 64 bytes
    goes by `hash_words`. Changing one word always changes a sum.
    """
    whole = len(words) // 64
    body = words[: 64 * whole].view("<u8").reshape(-1, 8)
    total = hash_words(words[64 * whole :])
    products, sums = np.zeros(8, np.uint64), np.zeros(8, np.uint64)
    for start in range(0, whole, _CHUNK // 8):
        part = body[start : start + _CHUNK // 8]
        places = np.arange(8 * start + 1, 8 * (start + len(part)) + 1, dtype=np.uint64).reshape(-1, 8)
        crossed = part ^ (places * np.uint64(STEP))
        products += ((crossed & np.uint64(0xFFFFFFFF)) * (crossed >> np.uint64(32))).sum(axis=0, dtype=np.uint64)
        sums += part.sum(axis=0, dtype=np.uint64)
    numbers = np.stack([products, sums], axis=1).reshape(-1)
    return (total + _mixed(numbers, np.arange(16, 32, dtype=np.uint64))) % (1 << 64)


def sample_words(words: NDArray[np.uint8], count: int) -> int:
    """`hash_words` with `count` of the words alone, the first, the last and what is evenly spread between, and the tail."""
    whole = len(words) // 8
    if whole <= count:
        return hash_words(words)
    places = np.arange(count, dtype=np.int64) * (whole - 1) // (count - 1)
    tail = np.zeros(8, dtype=np.uint8)
    tail[: len(words) - 8 * whole] = words[8 * whole :]
    chosen = np.append(words[: 8 * whole].view("<u8")[places], tail.view("<u8"))
    return _mixed(chosen, np.append(places, whole).astype(np.uint64))


def _hash_block(words: NDArray[np.uint64], start: int) -> int:
    return _mixed(words, np.arange(start, start + len(words), dtype=np.uint64))


def _mixed(words: NDArray[np.uint64], places: NDArray[np.uint64]) -> int:
    keys = places * np.uint64(STEP)
    mixed = (words ^ keys) * np.uint64(ODD_1)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(ODD_2)
    return int(mixed.sum(dtype=np.uint64))


def _merge_touching(starts: Ints, stops: Ints) -> Runs:
    """Join sorted disjoint runs where one ends as the next begins."""
    if not len(starts):
        return starts, stops
    apart = starts[1:] > stops[:-1]
    return starts[np.concatenate(([True], apart))], stops[np.concatenate((apart, [True]))]


def project(
    x: Floats, columns: Ints, weights: Floats, out: Floats, offset: int, nonzeros: int, key: int, thresholds: Words
) -> None:
    """Add x (n, m), each column times its weight, times a hashed sparse matrix (m, k) of signs to out (n, k).

    `columns` are those of x to read, all where there are none; the column x[:, j] has the number `offset` + j and the
    row of that number in the matrix. With `nonzeros` > 0 these are signs at that many places, one in each of as many
    equal parts of the k (Kane & Nelson 2014; Count-Sketch where it is one); with 0, at places that are skipped to as
    `thresholds` say, which makes all cells independent (Achlioptas 2003; Li, Hastie & Church 2006).

    Each cell of `out` is a sum in column order, so a projection does not depend on the blocks it was made in.
    """
    read = columns if len(columns) else np.arange(x.shape[1], dtype=np.int64)
    factors = weights if len(weights) > 1 else np.broadcast_to(weights, len(read))
    step = max(1, (1 << 20) // max(1, len(x) * max(1, nonzeros)))
    for start in range(0, len(read), step):
        some = read[start : start + step]
        numbers = (some + offset).astype(np.uint64)
        if nonzeros:
            column, position, sign = _parted_entries(numbers, nonzeros, key, out.shape[1])
        else:
            column, position, sign = _skipped_entries(numbers, key, out.shape[1], thresholds)
        values = x[:, some].T * factors[start : start + step, None]
        for first in range(0, len(column), _CHUNK):
            part = slice(first, first + _CHUNK)
            np.add.at(out.T, position[part], values[column[part]] * sign[part, None].astype(out.dtype))


def knn_classes(distances: Floats, hits: Hits, k: int) -> Floats:
    """Sum over the rows of distances the Shapley values of the game "what share of the k nearest is right": (n,).

    A coalition S is worth the number of hits among its k nearest, over k. With the training points in order of distance
    and u_j a hit (Jia et al. 2019, "Efficient task-specific data valuation for nearest neighbor algorithms", theorem 1,
    summed up):

        s_i = u_i / max(k, i) - sum over j > i of u_j (1 / max(k, j-1) - 1 / max(k, j))

    Points at one distance come in random order: the mean over all orders, in closed form.
    """
    n = distances.shape[1]
    values = np.zeros(n)
    ranks = np.arange(n + 1)
    shares = 1 / np.maximum(k, ranks)
    for row, hit in zip(distances, hits, strict=True):
        order = np.argsort(row, kind="stable")
        ranked = row[order]
        first = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
        sizes = np.diff(first, append=n)
        right = np.add.reduceat(hit[order].astype(np.float64), first)
        mean = np.add.reduceat(shares[1:], first) / sizes
        last = shares[first + sizes]
        lost = right / sizes * (shares[first] - last)
        tail = np.append(np.cumsum(lost[:0:-1])[::-1], 0.0)
        spread = (mean - last) / np.maximum(sizes - 1, 1)
        one, other = mean - (right - 1) * spread - tail, -right * spread - tail
        values[order] += np.where(hit[order] != 0, np.repeat(one, sizes), np.repeat(other, sizes))
    return values


def knn_numbers(distances: Floats, targets: Floats, wanted: Floats, k: int) -> Floats:
    """Sum the Shapley values of the game "how near is the k nearest's mean to what is wanted": (n,).

    A coalition S is worth -(sum of the targets of its k nearest / k - wanted)^2, nothing included (Jia et al. 2019,
    theorem 6). The square is a sum of games of one and of two points. In order of distance, with p_j = min(k, j) / j:

        one point j     the sum over the k nearest of z:  p_i z_i - sum over j > i of z_j (p_{j-1} - p_j)
        two, k < l      both among the k nearest of S: each of the two gets q_l = M (M-1) / (2 l (l-1)), M = min(k, l),
                        and each of the l - 2 others before l loses b_l = k (k-1) / (l (l-1) (l-2)), where l > k

    Points at one distance stand in the order of the training rows.
    """
    n = distances.shape[1]
    values = np.zeros(n)
    rank = np.arange(1, n + 1, dtype=np.float64)
    share = np.minimum(k, rank) / rank
    drop = np.append([0.0], share[:-1] - share[1:])
    least = np.minimum(k, rank)
    pair = least * (least - 1) / np.maximum(2 * rank * (rank - 1), 1)
    block = np.where(rank > max(k, 2), k * (k - 1) / np.maximum(rank * (rank - 1) * (rank - 2), 1), 0.0)

    def after(z: Floats) -> Floats:
        return np.append(np.cumsum(z[:0:-1])[::-1], 0.0)

    for row, want in zip(distances, wanted, strict=True):
        order = np.argsort(row, kind="stable")
        y = targets[order]
        before = np.cumsum(y) - y
        plain = y * share - after(y * drop)
        square = y * y * share - after(y * y * drop)
        pairs = y * (pair * before + after(y * pair) + after(y * block)) - after(block * y * before)
        values[order] += 2 * want / k * plain - (square + 2 * pairs) / k**2
    return values


def knn_votes(distances: Floats, votes: NDArray[np.int16], k: int, most: int) -> Floats:
    """Sum the Shapley values of the game "do the k nearest, with weighted votes, choose the right one of two": (n,).

    A coalition is worth 1 where the votes of its k nearest sum to more than 0, 1/2 for 0, and 0 for less; votes are
    whole numbers in -most … most. Wang, Mittal & Jia 2024, "Efficient data Shapley for weighted nearest neighbor
    algorithms", count the subsets of every size and sum. Here the counts that leave out point i are those of all points
    with one vote like i's divided out of their generating function, so that they are made once per vote, not per point:
    time n * (2 most + 1) * k * (2 k most + 1) instead of its square in n. In order of distance,

        s_i = sum over l < k and sums s of choices(l, s) / (n C(n-1, l)) * (won(s + a_i) - won(s))
            + sum over m > max(i, k) and s of choices_m(k-1, s) / (m C(m-1, k)) * (won(s + a_i) - won(s + a_m))

    with choices(l, s) the number of ways to choose l others with sum s, and choices_m those among the points before m.
    Points at one distance stand in the order of the training rows.
    """
    n = distances.shape[1]
    depth = min(k, n)
    few, full = vote_weights(n, k)
    reach = (depth - 1) * most
    sums = np.arange(-reach, reach + 1)
    kinds = np.arange(-most, most + 1)

    def won(total: Any) -> Floats:
        half: Floats = (np.sign(total) + 1) / 2
        return half

    def without(choices: Floats, vote: int) -> Floats:
        less = choices.copy()
        for size in range(1, depth):
            less[size] -= _shifted(less[size - 1], vote)
        return less

    values = np.zeros(n)
    for row, cast in zip(distances, votes, strict=True):
        order = np.argsort(row, kind="stable")
        ranked = cast[order].astype(np.int64)
        swapped = np.zeros((n + 1, len(kinds)))
        choices = np.zeros((depth, len(sums)))
        choices[0, reach] = 1.0
        for m, vote in enumerate(ranked.tolist(), start=1):
            for kind in np.unique(ranked[: m - 1]).tolist() if m > k else ():
                changed = won(sums + kind) - won(sums + vote)
                swapped[m, kind + most] = without(choices, kind)[-1] @ changed * full[m]
            choices[1:] += np.array([_shifted(counts, vote) for counts in choices[:-1]]).reshape(-1, len(sums))
        first = np.zeros(len(kinds))
        for kind in np.unique(ranked).tolist():
            first[kind + most] = few[:depth] @ (without(choices, kind) @ (won(sums + kind) - won(sums)))
        later = np.cumsum(swapped[::-1], axis=0)[::-1]
        values[order] += (
            first[ranked + most] + np.append(later[2:], np.zeros((1, len(kinds))), axis=0)[np.arange(n), ranked + most]
        )
    return values


def vote_weights(n: int, k: int) -> tuple[Floats, Floats]:
    """Give 1 / (n C(n-1, l)) for l = 0 … k-1, and 1 / (m C(m-1, k)) for m = 0 … n, 0 up to k."""
    few = np.zeros(max(k, 1))
    few[0] = 1 / max(n, 1)
    for size in range(1, min(k, n)):
        few[size] = few[size - 1] * size / (n - size)
    full = np.zeros(n + 1)
    later = np.arange(k + 2, n + 1)  # m C(m-1, k) is (m-1) C(m-2, k) times m / (m-1-k)
    if n > k:
        full[k + 1 :] = np.cumprod(np.append(1 / (k + 1), (later - 1 - k) / later))
    return few, full


def _shifted(row: Floats, by: int) -> Floats:
    """Move cells up by `by`, or down where that is below 0; what falls over the edge is gone."""
    moved = np.zeros_like(row)
    if abs(by) < len(row):
        moved[max(by, 0) : len(row) + min(by, 0)] = row[max(-by, 0) : len(row) - max(by, 0)]
    return moved


def hashed(key: int, counters: Words) -> Words:
    """Give a word for each counter: MurmurHash3's finalizer of `key` + counter * STEP, modulo 2**64."""
    x = counters * np.uint64(STEP) + np.uint64(key)
    for odd in (ODD_1, ODD_2):
        x = (x ^ (x >> np.uint64(33))) * np.uint64(odd)
    mixed: Words = x ^ (x >> np.uint64(33))
    return mixed


def below(words: Words, widths: Any) -> Ints:
    """Map words to 0 … width - 1 by their upper 32 bits."""
    scaled: Ints = (((words >> np.uint64(32)) * np.asarray(widths, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)
    return scaled


def _parted_entries(numbers: Words, nonzeros: int, key: int, k: int) -> tuple[Ints, Ints, Ints]:
    bounds = np.arange(nonzeros + 1, dtype=np.int64) * k // nonzeros
    words = hashed(key, np.add.outer(numbers * np.uint64(nonzeros), np.arange(nonzeros, dtype=np.uint64)))
    position = bounds[:-1] + below(words, np.diff(bounds))
    return np.repeat(np.arange(len(numbers)), nonzeros), position.ravel(), _signs(words).ravel()


def _skipped_entries(numbers: Words, key: int, k: int, thresholds: Words) -> tuple[Ints, Ints, Ints]:
    column = np.arange(len(numbers))
    position = np.full(len(numbers), -1, dtype=np.int64)
    counter = numbers * np.uint64(k + 1)
    found: list[tuple[Ints, Ints, Ints]] = []
    while len(column):
        words = hashed(key, counter)
        position = position + 1 + np.searchsorted(thresholds, words >> np.uint64(1), side="right")
        kept = position < k
        column, position, counter, words = column[kept], position[kept], counter[kept] + np.uint64(1), words[kept]
        found.append((column, position, _signs(words)))
    columns, positions, signs = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(columns, kind="stable")
    return columns[order], positions[order], signs[order]


def _signs(words: Words) -> Ints:
    return 1 - 2 * (words & np.uint64(1)).astype(np.int64)


# -- packed numbers and bit vectors ---------------------------------------------------------------------------------------
# Bit b of a vector is bit b % 64 of word b // 64. `counts[k]` is how many ones stand before word 16 * k.


def pack(values: Words, width: int) -> Words:
    """Write numbers below 2**width one behind the other, `width` bits each, in words of 64 bits."""
    bits = ((values[:, None] >> np.arange(width, dtype=np.uint64)) & np.uint64(1)).astype(np.uint8).ravel()
    return _words(bits)


def _words(bits: NDArray[np.uint8]) -> Words:
    found = np.zeros(8 * -(-len(bits) // 64), dtype=np.uint8)
    packed = np.packbits(bits, bitorder="little")
    found[: len(packed)] = packed
    return found.view(np.uint64)


def _bits(words: Words) -> NDArray[np.uint8]:
    return np.unpackbits(words.view(np.uint8), bitorder="little")


def read_at(words: Words, bits: Ints, widths: NDArray[np.uint8]) -> Words:
    """Read a number of so many bits at each place."""
    found = np.zeros(len(bits), dtype=np.uint64)
    wide = np.flatnonzero(widths)
    width, bit = widths[wide].astype(np.uint64), bits[wide].astype(np.uint64)
    word, shift = (bit >> np.uint64(6)).astype(np.int64), bit & np.uint64(63)
    if len(wide):
        ahead = words[np.minimum(word + 1, len(words) - 1)] << ((np.uint64(64) - shift) & np.uint64(63))
        value = (words[word] >> shift) | np.where(shift + width > 64, ahead, np.uint64(0))
        found[wide] = value & (np.uint64(2**64 - 1) >> (np.uint64(64) - width))
    return found


def unpack_at(words: Words, width: int, at: Ints) -> Words:
    """Read the numbers that `pack` wrote at these places."""
    return read_at(words, at * width, np.full(len(at), width, dtype=np.uint8))


def sum_from(words: Words, bits: Ints, widths: NDArray[np.uint8], counts: Ints) -> Words:
    """Add up so many numbers of so many bits, one behind the other from each place on."""
    owner = np.repeat(np.arange(len(bits)), counts)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    sums = np.zeros(len(bits), dtype=np.uint64)
    np.add.at(sums, owner, read_at(words, bits[owner] + nth * widths[owner], widths[owner]))
    return sums


def digits_at(words: Words, base: int, per: int, at: Ints) -> Words:
    """Read digits of a base, `per` to a word, the first the lowest."""
    powers = np.array([base**k for k in range(per)], dtype=np.uint64)
    found: Words = words[at // per] // powers[at % per] % np.uint64(base)
    return found


def packed_sums(words: Words, width: int, starts: Ints, stops: Ints) -> Words:
    """Add up the numbers at start <= place < stop, one sum per pair of bounds."""
    sums = np.zeros(len(starts), dtype=np.uint64)
    owner = np.repeat(np.arange(len(starts)), np.maximum(stops - starts, 0))
    at = np.arange(len(owner)) - np.repeat(np.cumsum(stops - starts) - stops, stops - starts)
    np.add.at(sums, owner, unpack_at(words, width, at))
    return sums


def count_ones(words: Words) -> Words:
    """Count the ones before every 16th word."""
    before = np.concatenate(([0], np.cumsum(np.bitwise_count(words), dtype=np.uint64)))
    return before[: len(words) : 16].astype(np.uint64)


def select(words: Words, ones: bool, nth: Ints) -> Ints:
    """Find the places of the nth ones (or zeros), from 0; the vector's length for those that there are not."""
    places = np.flatnonzero(_bits(words) == ones)
    found: Ints = np.concatenate((places, [64 * len(words)]))[np.minimum(nth, len(places))]
    return found


def rank(words: Words, bits: Ints) -> Ints:
    """Count the ones before each place."""
    before: Ints = np.concatenate(([0], np.cumsum(_bits(words), dtype=np.int64)))[bits]
    return before


def rank_gaps(upper: Words, lower: Words, width: int, slope: int, length: int, numbers: Ints) -> Ints:
    """Count the values below each number among h_i * 2**width + low_0 + … + low_i + i * slope, which do not fall.

    h_i is how many zeros stand in `upper` before its i-th one, and low_i the i-th number packed in `lower`.
    """
    at = np.arange(length)
    high = np.flatnonzero(_bits(upper))[:length] - at
    values = (high << width) + np.cumsum(unpack_at(lower, width, at).view(np.int64)) + at * slope
    counts: Ints = np.searchsorted(values, numbers).astype(np.int64)
    return counts


def ones_from(words: Words, start: int, count: int) -> Ints:
    """List the places of the first `count` ones from a place on."""
    first = start >> 6
    places: Ints = np.flatnonzero(_bits(words[first:])) + 64 * first
    return places[places >= start][:count]


def set_bits(bits: Ints, length: int) -> Words:
    """Make a vector with ones at some places, in any order and with repeats."""
    found = np.zeros(64 * -(-length // 64), dtype=np.uint8)
    found[bits] = 1
    return _words(found)


def set_runs(starts: Ints, stops: Ints, length: int) -> Words:
    """Make a vector with ones in the runs."""
    return set_bits(runs_to_indices(starts, stops), length)


def has_bits(words: Words, base: int, size: int, numbers: Ints) -> NDArray[np.bool_]:
    """Tell of each number whether the vector, whose first bit stands for `base`, has a one there."""
    bit = numbers.astype(np.uint64) - np.asarray(base).astype(np.uint64)
    inside: NDArray[np.bool_] = bit < np.uint64(size)
    inside[inside] = _bits(words)[bit[inside].astype(np.int64)] == 1
    return inside


def order_by_number(numbers: Ints, count: int) -> Runs:
    """List the positions by the number below `count` that they hold, and where those of each number begin (count + 1)."""
    begins = np.concatenate(([0], np.cumsum(np.bincount(numbers, minlength=count)))).astype(np.int64)
    return begins, np.argsort(numbers, kind="stable").astype(np.int64)


def survey(numbers: Ints) -> tuple[int, int, int, int, int]:
    """Give the smallest and largest number, how many are below and equal to the one before, and the arithmetic runs."""
    if not len(numbers):
        return 0, 0, 0, 0, 0
    ahead, before = numbers[1:], numbers[:-1]
    begins, _ = arithmetic_runs(numbers)
    return (
        int(numbers.min()),
        int(numbers.max()),
        int((ahead < before).sum()),
        int((ahead == before).sum()),
        len(begins),
    )


def arithmetic_runs(numbers: Ints) -> Runs:
    """Cut numbers into runs of equal steps, from the left, each as long as it can be: where they begin, and their steps."""
    steps = np.diff(numbers)
    changes = np.flatnonzero(steps[1:] != steps[:-1]) + 1  # step k leads from number k to k + 1
    begins, at = [], 0
    while at < len(numbers):
        begins.append(at)
        later = np.searchsorted(changes, at, side="right")
        at = int(changes[later]) + 1 if later < len(changes) else len(numbers)
    first = np.array(begins, dtype=np.int64)
    lone = np.diff(np.append(first, len(numbers))) == 1
    taken = np.where(lone, 0, np.append(steps, 0)[first]) if len(first) else first
    return first, taken.astype(np.int64)


def column_means(x: Floats, count: float, out: Floats, double: bool) -> bool:
    """Write the sum of each column of x, rows of out's length, over `count` to out (c,), and tell whether all are finite."""
    np.true_divide(np.add.reduce(x.reshape(-1, len(out)), 0), np.float64(count), out, casting="unsafe")
    return bool(np.isfinite(out).all())


def column_spreads(x: Floats, count: float, root: bool, out: Floats, double: bool) -> bool:
    """Write x's means to the second row of out (2, c), the squares around them over `count`, or their root, to the first."""
    rows = x.reshape(-1, out.shape[1])
    column_means(x, len(rows), out[1], double)
    np.true_divide(np.add.reduce(np.square(rows - out[1]), 0), np.float64(count), out[0], casting="unsafe")
    if root:
        np.sqrt(out[0], out[0])
    return bool(np.isfinite(out[0]).all())


def holds_same(shelves: list[tuple[dict[Any, Any] | list[Any], tuple[Any, ...]]]) -> bool:
    """Whether every list holds the objects beside it, and every dict keys and values in turn, in their order."""
    for shelf, then in shelves:
        now = itertools.chain.from_iterable(shelf.items()) if isinstance(shelf, dict) else shelf
        if len(shelf) * (1 + isinstance(shelf, dict)) != len(then) or not all(map(operator.is_, now, then)):
            return False
    return True
