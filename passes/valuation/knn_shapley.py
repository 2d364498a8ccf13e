"""KNN-Shapley: what each training point adds to a nearest-neighbour vote, or mean, exactly.

Jia, Dao, Wang, Hubis, Gurel, Li, Zhang, Spanos & Song 2019, "Efficient task-specific data valuation for nearest
neighbor algorithms". The values of many validation points add up, so that they are gone through once, in blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from traceprop.passes.kernels.knn import knn_classes, knn_numbers
from traceprop.passes.kernels.reference import Floats
from traceprop.passes.valuation.distances import AbstractDistances
from traceprop.passes.valuation.hits import AbstractHits

Progress = Callable[[int], object]


def knn_shapley(
    distances: AbstractDistances, hits: AbstractHits, k: int, block: int | None = None, progress: Progress | None = None
) -> Floats:
    """Give the Shapley value of every training point in the game of k neighbours' labels, the mean over validation points.

    A coalition S is worth, at one validation point, the number of hits among its k nearest points, over k; nothing is
    worth 0. Points at one distance are in random order, in the mean. O(n d) of products and O(n) of sorting for every
    validation point.

    Parameters
    ----------
    distances, hits
        Between n training and m validation points.
    k
        How many neighbours vote.
    block
        Validation points at a time; None for what fits a fixed amount of memory.
    progress
        Called with the number of validation points that were done.

    Returns
    -------
    float64 (n,)
    """
    total = np.zeros(distances.n)
    for part in distances.blocks(block):
        total += knn_classes(distances.squared(part), hits.of(part), k)
        tell(progress, part)
    return total / max(distances.m, 1)


def knn_regression_shapley(
    distances: AbstractDistances,
    targets: Floats,
    wanted: Floats,
    k: int,
    block: int | None = None,
    progress: Progress | None = None,
) -> Floats:
    """The same for numbers: S is worth -(sum of the targets of its k nearest / k - wanted)^2, nothing -wanted^2.

    `targets`: float64 (n,); `wanted`: float64 (m,). Points at one distance are in the order of the training rows.
    """
    total = np.zeros(distances.n)
    for part in distances.blocks(block):
        total += knn_numbers(distances.squared(part), targets, wanted[part], k)
        tell(progress, part)
    return total / max(distances.m, 1)


def tell(progress: Progress | None, part: slice) -> None:
    """Report the validation points of `part` as done."""
    if progress is not None:
        progress(part.stop - part.start)
