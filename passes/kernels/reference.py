"""The NumPy twins: what each kernel means, and what runs where the extension was not built.

A *run list* is a set of integers written as two int64 arrays of one length, `starts` and `stops`: the union of the
half-open runs `starts[i] <= x < stops[i]`, sorted and disjoint. What these functions give is canonical: no run is
empty and no two runs touch, so that equal sets have equal run lists. Arguments were checked in `dispatch`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Runs = tuple[Ints, Ints]

# The increment of SplitMix64 and two odd constants of MurmurHash3's finalizer.
STEP = 0x9E3779B97F4A7C15
ODD_1 = 0xFF51AFD7ED558CCD
ODD_2 = 0xC4CEB9FE1A85EC53
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


def topk(scores: NDArray[Any], k: int) -> Ints:
    """Give per row the positions of its `k` largest scores, largest first; ties by position, NaN last."""
    order: Ints = np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int64)
    return order


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


def _hash_block(words: NDArray[np.uint64], start: int) -> int:
    keys = np.arange(start, start + len(words), dtype=np.uint64) * np.uint64(STEP)
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
