"""NumPy functions with `backend="jax"`: NumPy arrays in and out, fused by XLA."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workloads.arrays import cells
from benchmarks.workloads.functions import FUNCTIONS, in_hand, on
from benchmarks.workloads.pairs import PAIRS, in_turns


def main(quick: bool) -> list[dict[str, Any]]:
    import jax  # noqa: F401 (for `auto` to see)

    import traceprop as tp

    found = []
    for size in (10**5,) if quick else (10**5, 10**6, 10**7):
        x = cells(size)
        source = tp.from_numpy(x, source_id="x")
        for name, function in FUNCTIONS.items():
            by_xla, auto = tp.trace(function, backend="jax"), tp.trace(function)
            ways = {
                "plain": on(function, x),
                "jax": in_hand(by_xla, source, np.asarray),
                "auto": in_hand(auto, source, np.asarray),
            }
            np.testing.assert_allclose(np.asarray(by_xla(source)), function(x), rtol=1e-9, atol=1e-9)
            for way, times in in_turns(ways, 5 if quick else PAIRS).items():
                found.append({"function": name, "cells": size, "way": way, **times})
    return found
