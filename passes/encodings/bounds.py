"""How few bytes positions could take: the logarithm of how many there could have been."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from traceprop.passes.encodings.columns import Columns
from traceprop.passes.encodings.positions import AbstractPositions


def permutation(n: int) -> float:
    """Bytes that tell one order of n rows from the others: log2 n! bits."""
    return _log2_factorial(n) / 8


def subset(n: int, k: int) -> float:
    """Bytes that tell one choice of k rows of n from the others: log2 C(n, k) bits."""
    return (_log2_factorial(n) - _log2_factorial(k) - _log2_factorial(n - k)) / 8


def sample(n: int, k: int) -> float:
    """Bytes for k rows of n in the order in which they were drawn: log2 n! / (n - k)! bits."""
    return (_log2_factorial(n) - _log2_factorial(n - k)) / 8


def assignment(n: int, groups: int) -> float:
    """Bytes that give each of n rows one of some groups: n log2 groups bits."""
    return n * math.log2(max(groups, 1)) / 8


def join(n: int, m: int, pairs: AbstractPositions) -> float:
    """Bytes for pairs of n left and m right rows that have equal keys, of which nothing else is known.

    Where no left row comes twice, the pairs are a function from some left rows to right ones: log2 C(n, k) + k log2 m
    bits; where no right row does, the other way round. Else rows on both sides fall into g groups, every left row of a group
    paired with every right one: log2 g bits for each row that has a partner, less log2 g! for the groups' names.
    """
    left, right = _sides(pairs)
    lefts, rights, k = len(np.unique(left)), len(np.unique(right)), len(left)
    if lefts == k:
        return subset(n, k) + assignment(k, m)
    if rights == k:
        return subset(m, k) + assignment(k, n)
    first = np.flatnonzero(np.diff(left, prepend=-1))
    groups = len(np.unique(right[first]))  # right rows of a group come in one order, so the first tells the group
    named = (lefts + rights) * math.log2(max(groups, 1)) - _log2_factorial(groups)
    return subset(n, lefts) + subset(m, rights) + max(named, 0.0) / 8


def _sides(pairs: AbstractPositions) -> tuple[Any, Any]:
    if isinstance(pairs, Columns):
        return np.asarray(pairs.column(0)), np.asarray(pairs.column(1))
    both = np.asarray(pairs)
    return both[:, 0], both[:, 1]


def _log2_factorial(n: int) -> float:
    return math.lgamma(n + 1) / math.log(2)
