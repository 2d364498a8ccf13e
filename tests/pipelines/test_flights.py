"""A month of flights: delays with weather and planes, hours as circles, the mean delay of a route, rare carriers together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import traceprop as tp
from tests.pipelines.held import same_rows, same_values

WEATHER = ["temp", "wind_speed", "precip", "visib"]


@pytest.fixture(scope="module")
def files(data_dir, tmp_path_factory):
    """January's first week of each table as files of its own."""
    folder = tmp_path_factory.mktemp("flights")
    flights = pd.read_csv(data_dir / "nycflights13" / "flights.csv.gz")
    flights[(flights["month"] == 1) & (flights["day"] <= 7)].to_csv(folder / "flights.csv", index=False)
    weather = pd.read_csv(data_dir / "nycflights13" / "weather.csv.gz")
    weather[(weather["month"] == 1) & (weather["day"] <= 8)].to_csv(folder / "weather.csv", index=False)
    pd.read_csv(data_dir / "nycflights13" / "planes.csv.gz").to_csv(folder / "planes.csv", index=False)
    return folder


@tp.trace
def prepare(flights, weather, planes):
    flights = flights.drop_nulls(["dep_delay", "arr_delay"])
    weather = weather[["origin", "time_hour", *WEATHER]].unique(["origin", "time_hour"])
    planes = planes[["tailnum", "year", "seats"]].rename({"year": "built"})
    flown = flights.join(weather, on=["origin", "time_hour"], how="left").join(planes, on="tailnum", how="left")
    flown = flown.fill_nulls(dict.fromkeys((*WEATHER, "built", "seats"), "median"))
    routes = flown.group_by(["origin", "dest"]).agg(usual=("dep_delay", "mean"), flown=("dep_delay", "count"))
    flown = flown.join(routes, on=["origin", "dest"])
    when = flown["time_hour"].str.to_datetime("%Y-%m-%dT%H:%M:%SZ")
    turn = 2 * np.pi * when.dt.hour() / 24.0
    late = (flown["arr_delay"] > 15).astype(float)
    numbers = flown[[*WEATHER, "built", "seats", "distance", "usual"]].to_numpy("float64")
    circle = np.stack([np.sin(turn), np.cos(turn), when.dt.weekday() >= 6], axis=1)
    carriers = flown[["carrier"]].one_hot("carrier").to_numpy("float64")
    often = carriers.sum(axis=0) >= 100
    rare = np.where(often, 0.0, carriers).sum(axis=1, keepdims=True)
    return np.concatenate([numbers, circle, carriers * often, rare], axis=1), late


def prepare_plain(folder):
    flights = (
        pd.read_csv(folder / "flights.csv").reset_index(names="flight_row").dropna(subset=["dep_delay", "arr_delay"])
    )
    weather = pd.read_csv(folder / "weather.csv").reset_index(names="weather_row")
    weather = weather.drop_duplicates(["origin", "time_hour"])[["origin", "time_hour", *WEATHER, "weather_row"]]
    planes = pd.read_csv(folder / "planes.csv").reset_index(names="plane_row")
    planes = planes[["tailnum", "year", "seats", "plane_row"]].rename(columns={"year": "built"})
    flown = flights.merge(weather, on=["origin", "time_hour"], how="left").merge(planes, on="tailnum", how="left")
    for name in (*WEATHER, "built", "seats"):
        flown[name] = flown[name].fillna(flown[name].median())
    when = pd.to_datetime(flown["time_hour"], format="%Y-%m-%dT%H:%M:%SZ")
    turn = 2 * np.pi * when.dt.hour / 24.0
    flown["usual"] = flown.groupby(["origin", "dest"])["dep_delay"].transform("mean")
    numbers = flown[[*WEATHER, "built", "seats", "distance", "usual"]].to_numpy(float)
    circle = np.stack([np.sin(turn), np.cos(turn), when.dt.day_of_week >= 5], axis=1)
    carriers = pd.get_dummies(flown["carrier"]).to_numpy(float)
    often = carriers.sum(axis=0) >= 100
    rare = np.where(often, 0.0, carriers).sum(axis=1, keepdims=True)
    X = np.concatenate([numbers, circle, carriers * often, rare], axis=1)
    return X, (flown["arr_delay"] > 15).astype(float), flown


def test_it_is_what_pandas_makes_and_every_row_is_known(files):
    sources = [tp.read_csv(files / f"{name}.csv", na_values=["NA"]) for name in ("flights", "weather", "planes")]
    X, late = prepare(*sources)
    plain, label, flown = prepare_plain(files)
    same_values(X, plain)
    same_values(late, label)
    sides = {name: flown[row].fillna(-1).to_numpy(int) for name, row in (
        ("flights", "flight_row"), ("weather", "weather_row"), ("planes", "plane_row"))}  # fmt: skip
    same_rows(tp.provenance(X), sides)
