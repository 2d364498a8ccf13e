"""A part of a batch that stands for all of it: rows of large gradients, and some of the others, which count for more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Single = NDArray[np.float32]

FLOOR = 0.2
"""What every row's size is raised by, of the mean: sizes are from the last time that a row was looked at."""


def inclusion(sizes: Single, keep: int) -> Single:
    """Give probabilities (m,) to be taken, in proportion to sizes (m,) where that is below 1; they sum to at most `keep`.

    With size the norm of a row's gradient in the network's outputs this bounds the variance of the mean gradient most
    (Katharopoulos & Fleuret 2018, "Not all samples are created equal: deep learning with importance sampling").
    """
    raised: Single = sizes + FLOOR * sizes.mean() + np.finfo(np.float32).tiny
    if keep >= len(raised):
        return np.ones_like(raised)
    found: Single = np.minimum(keep * raised / raised.sum(), 1.0)
    for _ in range(2):  # what rows that are certain leave over goes to the others
        certain = found >= 1.0
        if not certain.any() or certain.all():
            break
        found = np.where(certain, 1.0, np.minimum((keep - certain.sum()) * raised / raised[~certain].sum(), 1.0))
    return found


def taken(probabilities: Single, offset: float) -> NDArray[np.intp]:
    """Give the positions that a comb with teeth at whole numbers, moved by `offset` in [0, 1), hits (systematic sampling).

    Each is hit with its probability, if the offset is uniform, and the number of hits is their sum, up to one.
    """
    ends = np.cumsum(probabilities, dtype=np.float64) + offset
    return np.flatnonzero(np.floor(ends) > np.floor(np.concatenate([[offset], ends[:-1]])))
