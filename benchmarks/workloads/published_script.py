"""Run by the Python of another environment, where a published traceprop is installed: its own API on the same functions.

Prints one line of JSON. Nothing but that package and NumPy is imported, and `functions.py` and `pairs.py` beside this file.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import functions
import numpy as np
import pairs
import steady

import traceprop as tp

assert Path(tp.__file__).is_relative_to(sys.prefix), "this is not the published package"
DEFAULT = tp.get_granularity()
LEVELS = {"as it comes": DEFAULT} | {each.name.lower(): each for each in tp.Granularity if each.name in ("NONE", "OP")}
"""The granularities that the package knows by these names. Its graph is emptied before each turn, out of the time."""


def main(quick: bool) -> dict[str, Any]:
    found = []
    for size in (10**2, 10**4) if quick else (10**2, 10**3, 10**4, 10**5, 10**6, 10**7):
        x = np.random.default_rng(0).standard_normal((size // functions.COLUMNS, functions.COLUMNS))
        for name, function in functions.FUNCTIONS.items():
            ways: dict[str, Any] = {"plain": functions.on(function, x)}
            tracked = tp.from_numpy(x, source_id="x")
            for level, granularity in LEVELS.items():
                ways[level] = pairs.Way(
                    functions.in_hand(function, tracked, np.asarray),
                    lambda g=granularity: (tp.reset_graph(), tp.set_granularity(g)),
                )
            for way, times in pairs.in_turns(ways, 5 if quick else 31).items():
                found.append({"function": name, "cells": size, "granularity": way, **times})
    return {"version": importlib.metadata.version("traceprop"), "calls": found, "bytes_per_op": kept(quick)}


def kept(quick: bool) -> float:
    """Bytes in memory that an op keeps, results dropped."""
    tp.reset_graph()
    tp.set_granularity(DEFAULT)
    tracked = tp.from_numpy(np.ones((10, 10)), source_id="x")

    def run(calls: int) -> None:
        for _ in range(calls):
            np.asarray(functions.standardise(tracked))

    run(200)
    calls = 2_000 if quick else 10_000
    held = steady.resident()
    run(calls)
    return (steady.resident() - held) / calls / functions.OPS


if __name__ == "__main__":
    print(json.dumps(main("--quick" in sys.argv)))
