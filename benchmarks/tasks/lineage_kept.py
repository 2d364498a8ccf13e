"""Ops of each kind that ProvRC's paper measures, with the pairs that their lineage is: what `benchmarks/lineage.py` weighs.

The pairs come from index arithmetic in NumPy, not from traceprop; answers of traceprop are held to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl

import traceprop as tp

Pairs = tuple[np.ndarray, np.ndarray]  # output cells (n, axes), input cells (n, axes)


COUNT = 10  # of cases, for who shows how far it is


class Case(NamedTuple):
    """One op. `pairs`: by source. `shapes`: of the result, and of each source, as its cells are numbered. `kind`: of the
    lineage that the pairs are. `rows`: the pairs are of rows, not of cells."""

    name: str
    view: tp.lineage.view.View
    pairs: dict[str, Pairs]
    shapes: dict[str, tuple[int, ...]]
    kind: str
    rows: bool = False


def cases(n: int) -> Iterator[Case]:
    """Each op with n output cells or, where it sums up, input cells; n is a square."""
    side = int(np.sqrt(n))
    rng = np.random.default_rng(3)
    x = rng.random((side, side))
    square, line = _grid(side, side), _grid(n)

    def traced(f: Callable[..., Any], **sources: np.ndarray) -> Any:
        given = [tp.from_numpy(array, source_id=name) for name, array in sources.items()]
        return tp.provenance(tp.trace(f)(*given).persist())

    yield Case(
        f"element-wise, {side:,} × {side:,}", traced(lambda x: np.exp(x), x=x),
        {"x": (square, square)}, {"out": (side, side), "x": (side, side)}, "direct",
    )  # fmt: skip
    yield Case(
        f"aggregate, {side:,} × {side:,} to {side:,}", traced(lambda x: x.sum(axis=1), x=x),
        {"x": (square[:, :1], square)}, {"out": (side,), "x": (side, side)}, "any",
    )  # fmt: skip
    inner = _grid(side, side, 4)
    yield Case(
        f"matmul, {side:,} × 4 by 4 × {side:,}", traced(lambda a, b: a @ b, a=x[:, :4].copy(), b=x[:4].copy()),
        {"a": (inner[:, :2], inner[:, [0, 2]]), "b": (inner[:, :2], inner[:, [2, 1]])},
        {"out": (side, side), "a": (side, 4), "b": (4, side)}, "any",
    )  # fmt: skip
    del inner
    window = _grid(n, 5)
    reached = window.sum(axis=1) - 2
    inside = (reached >= 0) & (reached < n)
    taps = np.ones(5)
    yield Case(
        "convolution, 5 taps", traced(lambda x: np.convolve(x, taps, "same"), x=x.ravel()),
        {"x": (window[inside, :1], reached[inside, None])}, {"out": (n,), "x": (n,)}, "any",
    )  # fmt: skip
    del window
    yield _image(side, x)
    yield from _tables(n, rng)
    order = np.argsort(x.ravel(), kind="stable")
    yield Case(
        "sort, random", traced(lambda x: np.sort(x), x=x.ravel()),
        {"x": (line, order[:, None])}, {"out": (n,), "x": (n,)}, "direct",
    )  # fmt: skip
    kept = np.flatnonzero(x.ravel() > 0.5)
    yield Case(
        "filter, a random half", traced(lambda x: x[x > 0.5], x=x.ravel()),
        {"x": (_grid(len(kept)), kept[:, None])}, {"out": (len(kept),), "x": (n,)}, "direct",
    )  # fmt: skip


def _image(side: int, x: np.ndarray) -> Case:
    import torch

    kernel = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    image = tp.from_torch(torch.as_tensor(x), source_id="x")
    result = tp.trace(lambda x: torch.nn.functional.conv2d(x[None, None], kernel)[0, 0])(image)
    cells = _grid(side - 2, side - 2, 3, 3)
    return Case(
        "convolution of an image, 3 × 3", tp.provenance(result.persist()),
        {"x": (cells[:, :2], cells[:, :2] + cells[:, 2:])}, {"out": (side - 2, side - 2), "x": (side, side)}, "any",
    )  # fmt: skip


def _tables(n: int, rng: np.random.Generator) -> Iterator[Case]:
    few = n // 8
    names = np.array(list("abcdefgh"))
    words = pl.DataFrame({"word": np.concatenate([names, names[rng.integers(0, 8, few - 8)]])})
    result = tp.trace(lambda t: t.one_hot(["word"]))(tp.from_dataframe(words, source_id="t"))
    cells = _grid(few, 8)
    yield Case(
        f"one-hot, {few:,} rows to 8 columns", tp.provenance(result.persist()),
        {"t": (cells, np.column_stack([cells[:, 0], np.zeros(len(cells), np.int64)]))},
        {"out": (few, 8), "t": (few, 1)}, "direct",
    )  # fmt: skip
    rows = pl.DataFrame({"key": rng.integers(0, n // 80, n), "value": rng.random(n)})
    right = pl.DataFrame({"key": rng.permutation(n // 100), "extra": rng.random(n // 100)})
    t, r = tp.from_dataframe(rows, source_id="t"), tp.from_dataframe(right, source_id="r")
    numbered = rows.with_columns(pl.int_range(pl.len()).alias("t")).join(
        right.with_columns(pl.int_range(pl.len()).alias("r")), on="key", maintain_order="left"
    )
    sides = {name: (_grid(len(numbered)), numbered[name].to_numpy()[:, None]) for name in ("t", "r")}
    joined = tp.trace(lambda t, r: t.join(r, on="key"))(t, r)
    shapes = {"out": (len(numbered),), "t": (n,), "r": (len(right),)}
    yield Case(
        f"join, random keys, {n:,} with {n // 100:,} rows",
        tp.provenance(joined.persist()),
        sides,
        shapes,
        "direct",
        True,
    )
    grouped = tp.trace(lambda t: t.group_by("key").agg(total=("value", "sum")))(t).persist()
    keys = np.asarray(grouped.compute()["key"])
    group = np.empty(keys.max() + 1, np.int64)
    group[keys] = np.arange(len(keys))
    yield Case(
        f"group, {n:,} rows, {len(keys):,} random keys", tp.provenance(grouped),
        {"t": (group[rows["key"].to_numpy()][:, None], _grid(n))}, {"out": (len(keys),), "t": (n,)}, "aggregate", True,
    )  # fmt: skip


def _grid(*shape: int) -> np.ndarray:
    return np.indices(shape).reshape(len(shape), -1).T
