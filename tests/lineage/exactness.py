"""How much of what is reported is seen: cells that lineage names against cells that random draws show to matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import traceprop as tp
from tests.lineage.test_exact import Cells

Run = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


def told_and_seen(
    results: Sequence[Any],
    ids: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    run: Run,
    dtype: Any = np.float64,
    draws: int = 3,
) -> tuple[int, int]:
    """(pairs of a result cell and a source cell that are reported, those of them that some draw shows to matter).

    For programs of float sources whose ops hide nothing from random draws. Raises `AssertionError` where a draw shows a pair
    that is not reported.
    """
    rng = np.random.default_rng(5)
    shown: dict[tuple[int, tuple[int, ...], str], Cells] = {}
    for _ in range(draws):
        sources = [np.asarray(rng.normal(size=shape)).astype(dtype) for shape in shapes]
        before = run(sources)
        for k, source in enumerate(sources):
            for cell in np.ndindex(source.shape):
                again = [array.copy() for array in sources]
                again[k][cell] += rng.normal() + 2
                for position, (old, new) in enumerate(zip(before, run(again), strict=True)):
                    for hit in map(tuple, np.argwhere((old != new) & ~((old != old) & (new != new))).tolist()):
                        shown.setdefault((position, hit, ids[k]), set()).add(cell)
    told = seen = 0
    for position, lazy in enumerate(results):
        if not hasattr(lazy, "value"):
            continue
        view = tp.provenance(lazy)
        for hit in np.ndindex(np.asarray(lazy).shape):
            named = {source: set(map(tuple, cells.tolist())) for source, cells in view.cells(hit).items()}
            for name in ids:
                changed = shown.get((position, hit, name), set())
                assert changed <= named.get(name, set()), (position, hit, name, changed)
                told += len(named.get(name, ()))
                seen += len(changed)
    return told, seen
