"""NumPy functions without JAX in the process: whole calls, result in hand, at every size, backend and granularity."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workloads.functions import COLUMNS, FUNCTIONS, in_hand, on, standardise
from benchmarks.workloads.pairs import PAIRS, Way, in_turns

SIZES = (10**2, 10**3, 10**4, 10**5, 10**6, 10**7)


def cells(size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((size // COLUMNS, COLUMNS))


def main(quick: bool) -> dict[str, Any]:
    sizes, pairs = (SIZES[:5:2], 5) if quick else (SIZES, PAIRS)
    return {"calls": calls(sizes, pairs), "granularities": granularities(quick, pairs)}


def calls(sizes: Any, pairs: int) -> list[dict[str, Any]]:
    """Every function at every size: a source made once, an array given to each call, and the `numpy` backend."""
    import traceprop as tp

    found = []
    for size in sizes:
        x = cells(size)
        source = tp.from_numpy(x, source_id="x")
        for name, function in FUNCTIONS.items():
            auto, numpy = tp.trace(function), tp.trace(function, backend="numpy")
            ways = {
                "plain": on(function, x),
                "source": in_hand(auto, source, np.asarray),
                "array": in_hand(auto, x, np.asarray),
                "numpy": in_hand(numpy, source, np.asarray),
            }
            if np.asarray(numpy(source)).tobytes() != function(x).tobytes():
                raise AssertionError(f"{name} of {size} cells: traced with backend='numpy' it gives other bits")
            for way, times in in_turns(ways, pairs).items():
                found.append({"function": name, "cells": size, "way": way, **times})
    return found


def granularities(quick: bool, pairs: int) -> list[dict[str, Any]]:
    """The same call under each granularity: of a function that records nothing, and of one that filters and sorts."""
    import traceprop as tp

    found = []
    for size in (10**3, 10**5) if quick else (10**2, 10**3, 10**5, 10**6):
        x = cells(size)
        source = tp.from_numpy(x, source_id="x")
        for function in (standardise, chosen):
            ways: dict[str, Any] = {"plain": on(function, x)}
            for level in ("op", "batch", "epoch", None):
                traced = tp.trace(function)
                ways[str(level)] = Way(in_hand(traced, source, np.asarray), on(tp.set_granularity, level))
            for level, times in in_turns(ways, pairs).items():
                found.append({"function": function.__name__, "cells": size, "granularity": level, **times})
    tp.set_granularity("default")
    return found


def chosen(x: Any) -> Any:
    x = x[x[:, 0] > 0]
    x = x[np.argsort(x[:, 1], kind="stable")]
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8)
