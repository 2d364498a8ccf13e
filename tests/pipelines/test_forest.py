"""Covertype: columns of switches back to one category, distances together, quantiles as ranks, a split by numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import traceprop as tp
from tests.pipelines.held import same_rows, same_values

ROWS = 6_000


@pytest.fixture(scope="module")
def frame(data_dir):
    return pd.read_csv(data_dir / "covertype_177k.csv.gz", nrows=ROWS)


def features(cells, kinds):
    """All in NumPy: what both run."""
    numbers, wild, soil = cells[:, :10], cells[:, 10:14], cells[:, 14:54]
    area, ground = np.argmax(wild, axis=1), np.argmax(soil, axis=1)
    water = np.hypot(numbers[:, 3], numbers[:, 4])
    shade = numbers[:, 6:9].sum(axis=1) / 3.0
    slope = np.deg2rad(numbers[:, 2])
    facing = np.deg2rad(numbers[:, 1])
    north, east = np.cos(facing) * np.sin(slope), np.sin(facing) * np.sin(slope)
    low, high = np.quantile(water, [0.01, 0.99])
    wet = np.clip(water, low, high)
    median = np.median(numbers, axis=0)
    spread = np.percentile(numbers, 75, axis=0) - np.percentile(numbers, 25, axis=0)
    robust = (numbers - median) / np.where(spread == 0, 1.0, spread)
    means = np.stack([np.where(area == k, numbers[:, 0], 0.0).sum() / (area == k).sum() for k in range(4)])
    above = numbers[:, 0] - np.take(means, area)
    X = np.column_stack([robust, wet, shade, north, east, above, np.log1p(numbers[:, 5]), ground.astype(float)])
    kept = kinds <= 2
    return X[kept], (kinds[kept] == 2).astype(float)


def test_it_is_what_numpy_makes_and_every_row_is_known(frame):
    cells, kinds = frame.to_numpy(float)[:, :-1], frame["Cover_Type"].to_numpy()

    @tp.trace
    def prepare(trees):
        names = trees.columns
        return features(trees[names[:-1]].to_numpy("float64"), trees["Cover_Type"])

    X, y = prepare(tp.from_dataframe(frame, "trees"))
    plain, label = features(cells, kinds)
    same_values(X, plain)
    same_values(y, label)
    view = tp.provenance({"X": X, "y": y})
    same_rows(view, {"trees": np.flatnonzero(kinds <= 2)})
    assert view.rows(0, kind="aggregate")["trees"].size == len(frame)


def test_folds_are_other_rows(frame):
    @tp.trace
    def split(trees):
        numbers = trees[["Elevation", "Slope", "Aspect"]].to_numpy("float64")
        order = np.arange(len(numbers))
        train = order % 5 != 0
        scale = numbers[train].std(axis=0)
        return numbers[train] / scale, numbers[~train] / scale

    train, test = split(tp.from_dataframe(frame, "trees"))
    plain = frame[["Elevation", "Slope", "Aspect"]].to_numpy(float)
    rows = np.arange(len(plain))
    scale = plain[rows % 5 != 0].std(axis=0)
    same_values(train, plain[rows % 5 != 0] / scale)
    same_values(test, plain[rows % 5 == 0] / scale)
    same_rows(tp.provenance(train), {"trees": rows[rows % 5 != 0]})
    same_rows(tp.provenance(test), {"trees": rows[rows % 5 == 0]})
    touched = tp.provenance(test).rows(0, kind="any")["trees"]
    np.testing.assert_array_equal(touched, np.union1d(rows[rows % 5 != 0], [0]))
