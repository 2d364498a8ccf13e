"""Shapley values of a game of many players, estimated from some of the orders in which they can come.

Castro, Gomez & Tejada 2009, "Polynomial calculation of the Shapley value based on sampling", with strata: a round is one
random order and all its cyclic shifts, in which every player stands at every place exactly once, so that how much
values differ between small and large coalitions adds nothing to the error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from traceprop.passes.kernels.reference import Floats


class Estimate(NamedTuple):
    """values (n,), and half the width of a 95 % confidence interval around each, (n,)."""

    values: Floats
    half_width: Floats


def sampled_shapley(players: int, worth: Callable[[int], float], rounds: int, seed: int = 0) -> Estimate:
    """Estimate the Shapley values of n players from `rounds` rounds of n orders.

    Parameters
    ----------
    worth
        Of a coalition, given as a number in which bit i is set for player i. Asked n (n - 1) times a round at most; the
        same may be asked again.
    rounds
        At least 2. Means of rounds are independent, and Student's t turns their spread into intervals.

    Returns
    -------
    Estimate
        The values add up to worth(all) - worth(nobody), as the true ones do.

    Raises
    ------
    ValueError
        Fewer than 2 rounds.
    """
    if rounds < 2:
        raise ValueError(f"an interval takes 2 rounds at least, not {rounds}")
    rng = np.random.default_rng(seed)
    means = np.zeros((rounds, players))
    for gained in means:
        order = [int(player) for player in rng.permutation(players)]
        for shift in range(players):
            coalition, before = 0, worth(0)
            for player in order[shift:] + order[:shift]:
                coalition |= 1 << player
                after = worth(coalition)
                gained[player] += (after - before) / players
                before = after
    half = stdtrit(rounds - 1, 0.975) * means.std(axis=0, ddof=1) / np.sqrt(rounds)
    return Estimate(means.mean(axis=0), np.asarray(half))
