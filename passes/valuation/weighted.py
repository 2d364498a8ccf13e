"""Weighted KNN-Shapley for two classes: the k nearest vote with weights, and the majority decides.

Wang, Mittal & Jia 2024, "Efficient data Shapley for weighted nearest neighbor algorithms": hard labels, and weights
rounded to 2^b - 1 steps, make the values countable in polynomial time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.kernels.knn import knn_votes
from traceprop.passes.kernels.reference import Floats
from traceprop.passes.valuation.distances import AbstractDistances
from traceprop.passes.valuation.hits import AbstractHits
from traceprop.passes.valuation.knn_shapley import Progress, tell


def weighted_shapley(
    distances: AbstractDistances,
    hits: AbstractHits,
    k: int,
    width: float,
    bits: int = 3,
    block: int | None = None,
    progress: Progress | None = None,
) -> Floats:
    """Give the Shapley values where S is worth 1 if its k nearest points' weighted votes choose the right one of two classes.

    A tie, and so a coalition without votes, is worth 1/2. The weight at distance d is exp(-d^2 / (2 width^2)), rounded
    to the nearest of 2^bits levels; a point whose weight is 0 still takes one of the k places. float64 (n,), in time
    O(n k (2^bits)^2) a validation point. Other parameters as of `knn_shapley`; k is at most 64, `bits` 1 to 8.
    """
    most = 2**bits - 1
    total = np.zeros(distances.n)
    for part in distances.blocks(block):
        squared = distances.squared(part)
        total += knn_votes(squared, _votes(squared, hits.of(part), width, most), k, most)
        tell(progress, part)
    return total / max(distances.m, 1)


def _votes(squared: Floats, right: NDArray[np.bool_], width: float, most: int) -> NDArray[np.int16]:
    # Width 0: all that count lie at the validation point itself.
    scaled = squared / (2 * width**2) if width > 0 else np.where(squared > 0, np.inf, 0.0)
    weight = np.rint(most * np.exp(-scaled)).astype(np.int16)
    votes: NDArray[np.int16] = np.where(right, weight, -weight)
    return votes
