"""Steps over a million rows with lineage, without, and in plain polars: what `benchmarks/lineage.py` compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl

import traceprop as tp


class Step(NamedTuple):
    """A step: what lineage may cost it (a ratio), and two ways to run it, each giving a frame. The traced one takes the
    lineage that the granularity in force says, so that a switch need not count as part of it."""

    name: str
    aim: float
    traced: Callable[[], pl.DataFrame]
    polars: Callable[[], pl.DataFrame]


def steps(n: int) -> list[Step]:
    rng = np.random.default_rng(4)
    rows = pl.DataFrame(
        {
            "key": rng.integers(0, n // 80, n),
            "value": rng.random(n),
            "word": np.array(list("abcdefgh"))[rng.integers(0, 8, n)],
        }
    )
    right = pl.DataFrame({"key": rng.permutation(n // 100), "extra": rng.random(n // 100)})
    t, r = tp.from_dataframe(rows, source_id="t"), tp.from_dataframe(right, source_id="r")

    def step(name: str, aim: float, f: Callable[..., Any], given: tuple[Any, ...], plain: Callable[[], Any]) -> Step:
        traced = tp.trace(f)
        return Step(name, aim, lambda: traced(*given).compute(), plain)

    return [
        step("join", 1.10, lambda t, r: t.join(r, on="key"), (t, r),
             lambda: rows.join(right, on="key", maintain_order="left")),
        step("sort", 1.10, lambda t: t.sort("value"), (t,), lambda: rows.sort("value", maintain_order=True)),
        step("filter", 1.05, lambda t: t[t["value"] > 0.5], (t,), lambda: rows.filter(pl.col("value") > 0.5)),
        step("one-hot", 1.05, lambda t: t.one_hot(["word"]), (t,), lambda: rows.to_dummies(["word"])),
        step("projection", 1.0, lambda t: t[["key", "value"]], (t,), lambda: rows.select("key", "value")),
    ]  # fmt: skip
