"""Whole preparations in NumPy: equal to the plain run, asked for lineage, printed as agreed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import traceprop as tp
from traceprop.ir import constants_of, dump, parse

RNG = np.random.default_rng(0)
AGES = np.array([31.0, np.nan, 52.0, 19.0, 44.0, np.nan])
PAY = np.array([9.0, 12.0, 30.0, 4.0, 8.0, 15.0])
CITY = np.array([2, 0, 1, 2, 2, 0])


def columns(ages, pay, city):
    """A ColumnTransformer by hand: impute and scale numbers, cut one into bins, one-hot a code."""
    numbers = np.column_stack([ages, np.log1p(pay)])
    filled = np.where(np.isnan(numbers), np.nanmean(numbers, axis=0), numbers)
    scaled = (filled - filled.mean(axis=0)) / filled.std(axis=0)
    bins = np.digitize(pay, [5.0, 10.0])
    flags = (city[:, None] == np.arange(3)).astype(float)
    return np.hstack([scaled, bins[:, None], flags])


def augmented(images):
    """A batch of images: padded, cropped, every other one flipped, normalised by channel, shuffled."""
    rng = tp.random(3)
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    top, left = (int(k) for k in rng.integers(3, size=2))
    cropped = wide[:, top : top + 4, left : left + 4]
    flipped = np.where((np.arange(images.shape[0]) % 2 == 0)[:, None, None, None], cropped, cropped[:, :, ::-1])
    normal = (flipped - flipped.mean(axis=(0, 1, 2))) / flipped.std(axis=(0, 1, 2))
    return rng.permutation(normal)


def lagged(series):
    """Sliding windows of a series, each with its mean, spread and slope, those with a rise at the end."""
    windows = np.lib.stride_tricks.sliding_window_view(series, 3)
    features = np.stack([windows.mean(axis=1), windows.std(axis=1), np.diff(windows, axis=1).sum(axis=1)], axis=1)
    return features[windows[:, -1] > windows[:, 0]]


PROGRAMS = {
    "columns": (columns, (AGES, PAY, CITY)),
    "augmented": (augmented, (RNG.normal(size=(3, 4, 4, 2)),)),
    "lagged": (lagged, (np.array([1.0, 3.0, 2.0, 5.0, 4.0, 6.0, 0.0]),)),
}


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> Any:
    return PROGRAMS[request.param]


def test_the_program(program, golden):
    function, arguments = program
    traced = tp.trace(function).ir(*arguments)
    assert dump(traced, locations=False) == golden
    assert parse(str(traced), constants_of(traced)) == traced


def test_the_values(program):
    function, arguments = program
    got = tp.trace(function)(*arguments)
    np.testing.assert_array_equal(got, function(*arguments))
    assert tp.provenance(got).exact


def test_a_row_of_the_columns_is_its_person():
    view = tp.provenance(tp.trace(columns)(AGES, PAY, CITY))
    assert {source: rows.tolist() for source, rows in view.rows(3).items()} == {"ages": [3], "pay": [3], "city": [3]}
    assert view.rows(3, kind="aggregate")["ages"].tolist() == list(range(6))
    assert view.cells((3, 4))["city"].tolist() == [[3]]


def test_a_pixel_is_where_the_crop_and_the_flip_put_it():
    (images,) = PROGRAMS["augmented"][1]
    marked = np.arange(images.size, dtype=float).reshape(images.shape)
    got = tp.trace(augmented)(marked)
    view = tp.provenance(got)
    assert sorted(int(view.rows(i)["images"][0]) for i in range(3)) == [0, 1, 2]
    for i in range(3):
        (row,) = view.rows(i)["images"].tolist()
        cells = view.cells((i, 1, 1, 0), kind="direct")["images"]
        assert set(cells[:, 0].tolist()) == {row}
        assert len(cells) == 2  # as cropped, and as flipped: both branches of a where
        assert set(cells[:, 3].tolist()) == {0}


def test_a_window_is_three_of_the_series():
    series = PROGRAMS["lagged"][1][0]
    view = tp.provenance(tp.trace(lagged)(series))
    kept = [i for i in range(5) if series[i + 2] > series[i]]
    for row, start in enumerate(kept):
        assert view.cells((row, 0), kind="direct")["series"].ravel().tolist() == [start, start + 1, start + 2]
        assert view.cells((row, 0), kind="control")["series"].ravel().tolist() == [start, start + 2]
