"""Threshold KNN-Shapley: neighbours are all points within a radius, however many there are.

Wang, Zhu, Wang, Jia & Mittal 2023, "Threshold KNN-Shapley: a linear-time and privacy-friendly approach to data
valuation". No order of distances is needed, and points beyond the radius are worth nothing.
"""

from __future__ import annotations

import numpy as np

from traceprop.passes.kernels.reference import Floats
from traceprop.passes.valuation.distances import AbstractDistances
from traceprop.passes.valuation.hits import AbstractHits
from traceprop.passes.valuation.knn_shapley import Progress, tell


def threshold_shapley(
    distances: AbstractDistances,
    hits: AbstractHits,
    radius: float,
    classes: int,
    block: int | None = None,
    progress: Progress | None = None,
) -> Floats:
    """Give the Shapley values where S is worth the share of hits among its points within `radius`: float64 (n,).

    A coalition without a point there is worth 1 / classes: a guess. With m points within, c of them hits, the value of
    one that is a hit (u = 1) or not (u = 0), r = (c - u) / (m - 1) the share of hits among the others:

        (u - 1 / classes) / m + (u - r) (H_m - 1) / m,    H_m = 1 + 1/2 + … + 1/m

    Other parameters as of `knn_shapley`.
    """
    total = np.zeros(distances.n)
    harmonic = np.append(0.0, np.cumsum(1 / np.arange(1, distances.n + 1)))
    for part in distances.blocks(block):
        inside = distances.squared(part) <= radius**2
        right = hits.of(part) & inside
        m, c = np.count_nonzero(inside, axis=1), np.count_nonzero(right, axis=1)
        some = np.maximum(m, 1)
        others, extra = np.maximum(m - 1, 1), (harmonic[m] - 1) / some
        one = (1 - 1 / classes) / some + (1 - (c - 1) / others) * extra * (m > 1)
        none = -1 / classes / some - c / others * extra * (m > 1)
        # A hit is counted by both products, so that each is one pass over bits.
        total += none @ inside + (one - none) @ right
        tell(progress, part)
    return total / max(distances.m, 1)
