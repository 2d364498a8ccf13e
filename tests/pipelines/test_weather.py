"""Hourly weather as a time series: gaps filled, lags, moving means, differences, windows to foretell the next hour from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import traceprop as tp
from tests.pipelines.held import same_rows, same_values

WINDOW = 24
COLUMNS = ["temp", "dewp", "humid", "wind_speed", "pressure"]


@pytest.fixture(scope="module")
def frame(data_dir):
    weather = pd.read_csv(data_dir / "nycflights13" / "weather.csv.gz")
    return weather[weather["origin"] == "JFK"].head(1_200).reset_index(drop=True)


@tp.trace
def prepare(weather):
    weather = weather.fill_nulls(dict.fromkeys(COLUMNS, "mean"))
    numbers = weather[COLUMNS].to_numpy("float64")
    scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    temp = scaled[:, 0]
    windows = np.lib.stride_tricks.sliding_window_view(temp, WINDOW)[:-1]
    moving = np.convolve(temp, np.ones(6) / 6, mode="valid")[WINDOW - 6 : -1]
    change = np.diff(temp)[WINDOW - 2 : -1]
    yesterday = temp[:-WINDOW]
    hour = weather["hour"][WINDOW - 1 : -1]
    turn = 2 * np.pi * hour / 24
    ever = np.maximum.accumulate(temp)[WINDOW - 1 : -1]
    others = scaled[WINDOW - 1 : -1, 1:]
    parts = [np.stack([moving, change, yesterday, np.sin(turn), np.cos(turn), ever], axis=1), others, windows]
    return np.concatenate(parts, axis=1), temp[WINDOW:]


def prepare_plain(weather):
    numbers = weather[COLUMNS].fillna(weather[COLUMNS].mean())
    scaled = (numbers - numbers.mean()) / numbers.std(ddof=0)
    temp = scaled["temp"]
    table = pd.DataFrame({
        "moving": temp.rolling(6).mean(), "change": temp.diff(), "yesterday": temp.shift(WINDOW - 1),
        "sin": np.sin(2 * np.pi * weather["hour"] / 24), "cos": np.cos(2 * np.pi * weather["hour"] / 24),
        "ever": temp.cummax(), **{name: scaled[name] for name in COLUMNS[1:]},
        **{f"lag{k}": temp.shift(k) for k in range(WINDOW - 1, -1, -1)},
    })  # fmt: skip
    return table.to_numpy()[WINDOW - 1 : -1], temp.to_numpy()[WINDOW:]


def test_it_is_what_pandas_makes_and_every_hour_is_known(frame):
    X, target = prepare(tp.from_dataframe(frame, "weather"))
    plain, label = prepare_plain(frame)
    same_values(X, plain, rtol=1e-7)
    same_values(target, label)
    same_rows(tp.provenance(target), {"weather": np.arange(WINDOW, len(frame))})
    view = tp.provenance(X)
    hours = view.rows(10, kind="direct")["weather"]
    assert {10 + WINDOW - 1, 10} <= set(hours.tolist())
    assert set(hours.tolist()) <= set(range(10, 10 + WINDOW))


def test_what_a_window_was_made_of(frame):
    """A hundred hours, so that what was scaled by all of them can be told from what was not."""

    @tp.trace
    def windows(x):
        return np.lib.stride_tricks.sliding_window_view(x, 5, axis=0).mean(axis=-1)

    numbers = frame[COLUMNS].ffill().to_numpy(float)[:100]
    found = windows(tp.from_numpy(numbers, "hours"))
    same_values(found, pd.DataFrame(numbers).rolling(5).mean().to_numpy()[4:])
    cells = tp.provenance(found).cells((30, 2))["hours"]
    np.testing.assert_array_equal(cells, [[k, 2] for k in range(30, 35)])
