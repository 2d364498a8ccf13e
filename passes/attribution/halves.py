"""Weights as they are when half of the rows are there: where the derivative of a Banzhaf value is taken.

A row's Banzhaf value is the mean, over all sets of other rows, of what the row adds to them (Banzhaf 1965; of data: Wang & Jia
2023, "Data Banzhaf"). It is also what a linear model of outcomes finds that is fitted to random halves of the rows (Ilyas et
al. 2022, "Datamodels"), and so what the linear datamodeling score asks for. The derivative at weights 1 is that of *all* rows:
where a category has three rows, or a row much leverage, what it adds to half of the others is another number.

    value_i ~ 1/2 d outcome/dw_i at w = 1/2 + 1/2 mean over halves S of d outcome/dw_i at w = 1_S

The first term is where all halves lie in the mean, and has no noise. The second has what varies from half to half: each half
comes with its complement, so that each row is counted once as one that leaves and once as one that comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.fit import FitCheck, check_fit
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.passes.unlearning.newton import minimise

PAIRS = 4
SEED = 0
DERIVATIVE = f"the mean of derivatives at half of every row's weight, and at {2 * PAIRS} random halves of the rows"


def places(kept: NDArray[np.bool_]) -> Iterator[tuple[float, NDArray[np.bool_], float]]:
    """Give the share of each place, the rows that are there, and the weight of each of them.

    `kept`: bool (n,), the rows that are there at all.
    """
    yield 0.5, kept, 0.5
    rng = np.random.default_rng(SEED)
    rows = np.flatnonzero(kept)
    for _ in range(PAIRS):
        half = np.zeros_like(kept)
        half[rng.permutation(rows)[: len(rows) // 2]] = True
        yield 0.25 / PAIRS, half, 1.0
        yield 0.25 / PAIRS, kept & ~half, 1.0


def settled(
    everyone: LinearObjective, kept: NDArray[np.bool_], weight: float, start: Floats
) -> tuple[LinearObjective, Floats, FitCheck]:
    """Fit to some rows, each with one weight, from `start` (d, k): the objective in units of the weight, theta, and the fit.

    A penalty on the sum of losses counts 1 / weight as much beside them; one on their mean counts the same.
    """
    strength = everyone.strength / (weight if everyone.convention == "sum" else 1.0)
    here = replace(everyone, kept=kept, strength=strength)
    theta = minimise(here, start).theta
    return here, theta, check_fit(here, theta)
