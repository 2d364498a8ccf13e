"""Positions of positions, the other way round, and cut: run by run where they are runs, else in chunks."""

from __future__ import annotations

import numpy as np

from traceprop.passes.encodings.choose import encode
from traceprop.passes.encodings.positions import CHUNK, AbstractPositions
from traceprop.passes.encodings.strided import Strided


def compose(first: AbstractPositions, then: AbstractPositions) -> AbstractPositions:
    """What stands in `first` at the positions that `then` holds, in the shape of `then`: a sort behind a filter, as one.

    Raises `IndexError` where `then` holds a number that is no position of `first`.
    """
    if isinstance(first, Strided) and isinstance(then, Strided):
        return first.then(then)
    found = np.empty(then.length, dtype=np.int64)
    for lo in range(0, then.length, CHUNK):
        hi = min(lo + CHUNK, then.length)
        found[lo:hi] = first.take(then.part(lo, hi))
    return encode(found.astype(first.dtype).reshape(then.shape))


def inverse(positions: AbstractPositions) -> AbstractPositions:
    """Of a permutation of 0 … n - 1: at which position each number stands. Raises `ValueError` for anything else."""
    if positions.length == 0:
        return positions
    low, high = positions.facts.low, positions.facts.high
    if (low, high) != (0, positions.length - 1):
        raise ValueError(f"not a permutation of 0 … {positions.length - 1}: it reaches from {low} to {high}")
    runs = positions.inverse() if isinstance(positions, Strided) else None
    if runs is not None:
        return runs
    begins, order = positions.inverted
    if not np.array_equal(begins.part(0, begins.length), np.arange(begins.length)):
        raise ValueError("not a permutation: a number is missing, or comes twice")
    return order


def sliced(positions: AbstractPositions, lo: int, hi: int) -> AbstractPositions:
    """The positions lo … hi - 1, as an array of one axis. Raises `IndexError` out of range."""
    if not 0 <= lo <= hi <= positions.length:
        raise IndexError(f"{lo} … {hi - 1} are out of range: there are {positions.length}, numbered from 0")
    if isinstance(positions, Strided):
        return positions.sliced(lo, hi)
    return encode(positions.part(lo, hi).astype(positions.dtype))
