"""Linear datamodeling score: do predicted sums over random halves of the training rows rank as retrained models do?

Park et al. 2023, "TRAK: attributing model behavior at scale", section 2. Retraining a network has a noise of its own, so that
its score stands beside a ceiling: what a perfect predictor of the mean over seeds would reach.
"""

from __future__ import annotations

import numpy as np


def lds(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Spearman's correlation over subsets, for each test row: (s, t) and (s, t) give (t,). Predictions all alike have none: 0."""
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=0) for values in (predicted, truth))
    a -= a.mean(axis=0)
    b -= b.mean(axis=0)
    lengths = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return (a * b).sum(axis=0) / np.where(lengths > 0, lengths, 1.0)


def ceiling(truth: np.ndarray) -> float:
    """How well a perfect predictor of the mean over seeds would rank the mean over these: margins (runs, s, t).

    The square root of the reliability of that mean: correlations between runs, by Spearman and Brown's formula. NaN for one run.
    """
    runs = len(truth)
    if runs < 2:
        return float("nan")
    agree = max(0.0, float(np.mean([lds(truth[a], truth[b]).mean() for a in range(runs) for b in range(a)])))
    return float(np.sqrt(runs * agree / (1 + (runs - 1) * agree)))
