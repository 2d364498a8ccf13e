"""The Shapley values of a game of a few players, from the worth of every coalition.

Shapley 1953, "A value for n-person games". A coalition is a number: player i is in it where bit i is set.
"""

from __future__ import annotations

import math

import numpy as np

from traceprop.passes.kernels.reference import Floats

MOST_PLAYERS = 12


def coalition_shapley(worth: Floats) -> Floats:
    """Give the Shapley value of each of n players: float64 (n,), from float64 (2^n,), `worth[0]` that of nobody.

    The sum over coalitions S without i of |S|! (n - |S| - 1)! / n! (worth(S and i) - worth(S)). It adds up to
    worth(all) - worth(nobody).

    Raises
    ------
    ValueError
        The number of coalitions is no power of two.
    """
    n = len(worth).bit_length() - 1
    if worth.ndim != 1 or len(worth) != 1 << n:
        raise ValueError(f"{len(worth)} coalitions, but n players have 2^n")
    coalitions = np.arange(len(worth))
    sizes = np.bitwise_count(coalitions)
    chances = np.array([1 / (n * math.comb(n - 1, size)) for size in range(n)] or [0.0])
    values = np.empty(n)
    for player in range(n):
        without = coalitions[(coalitions >> player) & 1 == 0]
        values[player] = math.fsum(chances[sizes[without]] * (worth[without | (1 << player)] - worth[without]))
    return values
