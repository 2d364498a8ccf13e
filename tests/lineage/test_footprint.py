"""What lineage keeps, in bytes, beside the information in it."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

import traceprop as tp
from traceprop.passes.encodings import bounds, encode

RNG = np.random.default_rng(0)
N = 30_000


def by_name(view):
    return {kept.name.split("[")[0]: kept for kept in view.footprint() if kept.encoding not in ("symbolic", "column")}


def test_bounds_count_what_there_could_be():
    assert bounds.permutation(5) == pytest.approx(math.log2(120) / 8)
    assert bounds.subset(6, 2) == pytest.approx(math.log2(15) / 8)
    assert bounds.sample(6, 2) == pytest.approx(math.log2(30) / 8)
    assert bounds.assignment(10, 4) == pytest.approx(20 / 8)
    function = encode(np.array([[0, 3], [1, 0], [4, 3]]), "pairs")
    assert bounds.join(6, 5, function) == pytest.approx((math.log2(20) + 3 * math.log2(5)) / 8)
    backwards = encode(np.array([[0, 3], [0, 4], [4, 1]]), "pairs")
    assert bounds.join(6, 5, backwards) == pytest.approx((math.log2(10) + 3 * math.log2(6)) / 8)
    many = encode(np.array([[0, 3], [0, 4], [2, 3], [2, 4], [5, 1]]), "pairs")
    assert bounds.join(6, 5, many) == pytest.approx((math.log2(20) + math.log2(10) + 6 * 1 - 1) / 8)


def test_steps_that_the_data_decides_take_little_more_than_their_information():
    a = pl.DataFrame({"k": RNG.integers(0, 1000, N), "x": RNG.normal(size=N), "g": RNG.integers(0, 10, N)})
    b = pl.DataFrame({"k": RNG.permutation(1000), "z": RNG.normal(size=1000)})

    @tp.trace
    def prepared(a, b):
        t = a[a["x"] > 0.5].sort("x").join(b, on="k")
        return t.group_by("g").agg(m=("z", "mean"))

    view = tp.provenance(prepared(tp.from_dataframe(a, source_id="a"), tp.from_dataframe(b, source_id="b")))
    kept = by_name(view)
    assert set(kept) == {"filter", "sort", "join", "group", "distinct"} & set(kept)
    assert {"filter", "sort", "join", "group"} <= set(kept)
    for name in ("filter", "sort", "join", "group"):
        assert 0 < kept[name].bytes <= 1.2 * kept[name].bound + 256, kept[name]
        assert "test_footprint.py" in kept[name].location
    symbolic = [each for each in view.footprint() if each.encoding == "symbolic"]
    assert symbolic
    assert all(each.bytes <= 256 and each.bound == 0 for each in symbolic)
    assert view.nbytes == sum(each.bytes for each in view.footprint())


def test_columns_of_pairs_and_arguments_are_named():
    left, right = pl.DataFrame({"k": [1, 2, 2]}), pl.DataFrame({"k": [2, 1, 2]})
    view = tp.provenance(
        tp.trace(lambda a, b: a.join(b, on="k"))(
            tp.from_dataframe(left, source_id="a"), tp.from_dataframe(right, source_id="b")
        )
    )
    encodings = [kept.encoding for kept in view.footprint()]
    assert encodings.count("column") >= 1
    assert sum(" + " in encoding for encoding in encodings) == 1
    picked = tp.provenance(tp.trace(lambda x, index: x[index])(np.arange(9.0), np.array([3, 1])))
    assert picked.footprint()[0].name == "index"
    assert 0 < picked.footprint()[0].bytes <= 16
