"""Lineage on a year of flights equals the same questions in SQL: 336,776 rows, keys that dangle."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import traceprop as tp
from tests.lineage.sql import Answers, same, same_pairs

NAMES = ("flights", "airlines", "planes", "airports", "weather")
HOUR = ("origin", "year", "month", "day", "hour")


@pytest.fixture(scope="module")
def folder(data_dir):
    return data_dir / "nycflights13"


@pytest.fixture(scope="module")
def sql(folder):
    return Answers(folder, NAMES, null="NA")


@pytest.fixture(scope="module")
def year(folder):
    return SimpleNamespace(**{name: tp.read_csv(folder / f"{name}.csv.gz", na_values="NA") for name in NAMES})


@tp.trace
def described(flights, airlines, planes, airports, weather):
    """Every flight with all that is known of it; a fifth of the planes and four airports are not."""
    places = airports.assign(dest=airports["faa"])[["dest", "lat", "lon"]]
    return (
        flights.select([*HOUR, "dep_delay", "arr_delay", "carrier", "tailnum", "dest"])
        .join(airlines, on="carrier")
        .join(planes[["tailnum", "manufacturer", "seats"]], on="tailnum", how="left")
        .join(places, on="dest", how="left")
        .join(weather[[*HOUR, "wind_speed", "visib"]], on=list(HOUR), how="left")
    )


DESCRIBED = """SELECT f.rowid AS flights, l.rowid AS airlines, p.rowid AS planes, a.rowid AS airports, w.rowid AS weather,
                      f.dep_delay
               FROM flights f JOIN airlines l USING (carrier) LEFT JOIN planes p USING (tailnum)
               LEFT JOIN airports a ON f.dest = a.faa LEFT JOIN weather w
               ON (f.origin, f.year, f.month, f.day, f.hour) = (w.origin, w.year, w.month, w.day, w.hour)"""


@pytest.fixture(scope="module")
def joined(year):
    return tp.provenance(described(year.flights, year.airlines, year.planes, year.airports, year.weather))


@pytest.fixture
def answers(sql):
    return sql.result(DESCRIBED, "flights, weather")


def test_every_pair_of_every_side(joined, answers):
    pairs = joined.row_pairs()
    assert set(pairs) == set(NAMES)
    for name in NAMES:
        same_pairs(pairs[name], answers.pairs(name))
    assert answers.height() == answers.height("flights")
    assert all(
        len(pairs[name][0]) < answers.height() for name in ("planes", "airports", "weather")
    )  # the others dangle


def test_a_row_has_one_row_per_side_that_it_has(joined, answers):
    complete = "planes IS NOT NULL AND airports IS NOT NULL AND weather IS NOT NULL"
    for condition in (complete, "planes IS NULL", "airports IS NULL", "weather IS NULL AND planes IS NULL"):
        i = answers.numbers(f"SELECT i FROM result WHERE {condition}")[-1]
        own = {name: answers.numbers(f"SELECT {name} FROM result WHERE i = ?", i) for name in NAMES}
        assert all(len(rows) <= 1 for rows in own.values())
        same(joined.rows(i), own)
        same(joined.rows(i, "control"), own)
        assert joined.rows(i, "aggregate") == {}
        found = joined.locate(i)
        assert {place.source_id: [place.row] for place in found} == {name: rows for name, rows in own.items() if rows}
        assert all(place.line == place.row + 2 for place in found)


def test_cells_of_a_join_with_and_without_a_match(joined, answers):
    columns = list(joined.value.columns)
    seats, visib = columns.index("seats"), columns.index("visib")
    i = answers.numbers("SELECT i FROM result WHERE planes IS NULL AND weather IS NOT NULL")[50]
    (flight,), (hour,) = (
        answers.numbers(f"SELECT {name} FROM result WHERE i = ?", i) for name in ("flights", "weather")
    )
    assert joined.cells((i, seats), "direct") == {}  # a null that no cell of a plane is behind
    assert [flight, 11] in joined.cells((i, seats), "control")["flights"].tolist()  # the tail number that nothing has
    assert "planes" not in joined.cells((i, seats), "control")
    assert {k: v.tolist() for k, v in joined.cells((i, visib), "direct").items()} == {"weather": [[hour, 13]]}
    control = joined.cells((i, visib), "control")
    assert control["weather"].tolist() == [[hour, column] for column in range(5)]
    assert {column for row, column in control["flights"].tolist() if row == flight} >= {12, 0, 1, 2, 16}


def test_many_to_many_keeps_pairs(year, sql):
    """Flights of one day beside all hours of it at their airport, which has one hour twice: the clocks were set back."""

    @tp.trace
    def hours(flights, weather):
        day = flights.filter((flights["month"] == 11) & (flights["day"] == 3))
        return day[["origin", "month", "day", "flight"]].join(
            weather[["origin", "month", "day", "hour", "temp"]], on=["origin", "month", "day"]
        )

    view = tp.provenance(hours(year.flights, year.weather))
    sql.result(
        """SELECT f.rowid AS flights, w.rowid AS weather FROM flights f JOIN weather w USING (origin, month, day)
           WHERE f.month = 11 AND f.day = 3""",
        "flights, weather",
    )
    pairs = view.row_pairs()
    same_pairs(pairs["flights"], sql.pairs("flights"))
    same_pairs(pairs["weather"], sql.pairs("weather"))
    flight, hour = (sql.numbers(f"SELECT {name} FROM result WHERE i = 5000")[0] for name in ("flights", "weather"))
    of_flight = view.affected_rows("flights", flight)
    of_hour = view.affected_rows("weather", hour)
    assert of_flight.tolist() == sql.numbers("SELECT i FROM result WHERE flights = ?", flight)
    assert of_hour.tolist() == sql.numbers("SELECT i FROM result WHERE weather = ?", hour)
    assert np.intersect1d(of_flight, of_hour).tolist() == [5000]
    same(
        view.rows(of_hour),
        {"weather": [hour], "flights": sql.numbers("SELECT flights FROM result WHERE weather = ?", hour)},
    )


def test_a_slice_and_many_rows(joined, answers):
    drawn = np.unique(np.random.default_rng(5).integers(0, answers.height(), 3000))
    answers.connection.register("drawn", {"i": drawn})
    for asked, condition in (
        (slice(100_000, 180_000), "i BETWEEN 100000 AND 179999"),
        (drawn, "i IN (SELECT i FROM drawn)"),
    ):
        same(joined.rows(asked), {n: answers.numbers(f"SELECT {n} FROM result WHERE {condition}") for n in NAMES})


@pytest.mark.parametrize(
    "source, where",
    [
        ("planes", "manufacturer = 'CESSNA' AND seats < 5"),
        ("weather", "wind_speed > 1000"),
        ("airports", "lat > 60 OR faa = 'HNL'"),
        ("flights", "dep_delay IS NULL AND month = 2"),
        ("airlines", "name LIKE 'Sky%'"),
        ("planes", "year IS NULL"),
        ("airports", "alt < -1000"),
    ],
)
def test_what_depends_on_rows_by_condition_and_by_number(joined, answers, source, where):
    rows = answers.numbers(f"SELECT rowid FROM {source} WHERE {where}")
    wanted = answers.numbers(f"SELECT i FROM result WHERE {source} IN (SELECT rowid FROM {source} WHERE {where})")
    for kind in ("direct", "control"):
        assert joined.affected_rows(source, where=where, kind=kind).tolist() == wanted
        assert joined.affected_rows(source, rows, kind).tolist() == wanted


def test_filtered_sorted_joined_and_grouped(year, sql):
    @tp.trace
    def by_maker(flights, planes):
        late = flights.filter(flights["dep_delay"] > 120).sort("dep_delay", descending=True)
        known = late.join(planes[["tailnum", "manufacturer", "seats"]], on="tailnum")
        return known.group_by(["manufacturer", "origin"]).agg(
            delay=("arr_delay", "mean"), seats=("seats", "max"), n="len"
        )

    view = tp.provenance(by_maker(year.flights, year.planes))
    sql.result(
        """SELECT f.rowid AS flights, p.rowid AS planes, dense_rank() OVER (ORDER BY manufacturer, origin) - 1 AS g
           FROM flights f JOIN planes p USING (tailnum) WHERE dep_delay > 120""",
        "g, flights",
    )
    (groups,) = sql.connection.execute("SELECT max(g) + 1 FROM result").fetchone()
    assert view.value.concrete_shape()[0] == groups
    columns = list(view.value.columns)
    for g in (0, groups // 2, groups - 1):
        members = {name: sql.numbers(f"SELECT {name} FROM result WHERE g = ?", g) for name in ("flights", "planes")}
        same(view.rows(g, "aggregate"), members)
        same(view.rows(g, "control"), members)
        same(view.rows(slice(0, g + 1), "aggregate"), {
            name: sql.numbers(f"SELECT {name} FROM result WHERE g <= ?", g) for name in ("flights", "planes")
        })  # fmt: skip
        delays = view.cells((g, columns.index("delay")), "aggregate")
        assert {k: v.tolist() for k, v in delays.items()} == {"flights": [[row, 8] for row in members["flights"]]}
        seats = view.cells((g, columns.index("seats")), "aggregate")
        assert {k: v.tolist() for k, v in seats.items()} == {"planes": [[row, 6] for row in members["planes"]]}
    old = "SELECT g FROM result WHERE planes IN (SELECT rowid FROM planes WHERE year < 1980)"
    assert view.affected_rows("planes", where="year < 1980", kind="aggregate").tolist() == sql.numbers(old)
    soon = "SELECT g FROM result WHERE flights IN (SELECT rowid FROM flights WHERE dep_delay <= 120)"
    assert view.affected_rows("flights", where="dep_delay <= 120", kind="aggregate").tolist() == sql.numbers(soon) == []


@pytest.mark.parametrize("how, word", [("semi", "IN"), ("anti", "NOT IN")])
def test_flights_of_planes_that_are_known_or_not(year, sql, how, word):
    """A flight without a tail number matches no plane, so it is among those of none that are known."""

    @tp.trace
    def chosen(flights, planes):
        large = planes.filter(planes["seats"] > 300)
        return flights.join(large, on="tailnum", how=how)[["tailnum", "distance"]].sort("distance")

    view = tp.provenance(chosen(year.flights, year.planes))
    sql.result(
        f"""SELECT rowid AS flights, distance FROM flights WHERE coalesce(tailnum, '') {word}
            (SELECT tailnum FROM planes WHERE seats > 300)""",
        "distance, flights",
    )
    pairs = view.row_pairs()
    assert set(pairs) == {"flights"}
    same_pairs(pairs["flights"], sql.pairs("flights"))
    own = sql.numbers("SELECT flights FROM result WHERE i = 9")
    same(view.rows(9), {"flights": own})
    same(
        view.rows(9, "order"),
        {"flights": list(range(sql.height("flights"))), "planes": list(range(sql.height("planes")))},
    )
    known = sql.numbers(
        """SELECT i FROM result JOIN flights f ON result.flights = f.rowid WHERE f.carrier = 'HA' AND f.month < 3"""
    )
    assert view.affected_rows("flights", where="carrier = 'HA' AND month < 3").tolist() == known


def test_features(year, sql):
    """One-hot, new columns and stacked parts as an array: the cells behind a cell are those that the SQL reads."""

    @tp.trace
    def features(flights):
        flown = flights.drop_nulls(["dep_delay", "arr_delay"])
        flown = flown.assign(gained=flown["dep_delay"] - flown["arr_delay"])[
            ["gained", "distance", "origin", "carrier"]
        ]
        parts = [flown.filter(flown["carrier"] == carrier) for carrier in ("HA", "AS")]
        return tp.concat(parts)[["gained", "distance", "origin"]].one_hot("origin").to_numpy("float64")

    view = tp.provenance(features(year.flights))
    sql.result(
        """SELECT rowid AS flights, carrier FROM flights
           WHERE dep_delay IS NOT NULL AND arr_delay IS NOT NULL AND carrier IN ('HA', 'AS')""",
        "carrier DESC, flights",
    )
    same_pairs(view.row_pairs()["flights"], sql.pairs("flights"))
    (row,) = sql.numbers("SELECT flights FROM result WHERE i = 400")
    assert {k: v.tolist() for k, v in view.cells((400, 0), "direct").items()} == {"flights": [[row, 5], [row, 8]]}
    assert view.cells((400, 1), "direct")["flights"].tolist() == [[row, 15]]
    assert view.cells((400, 2), "direct")["flights"].tolist() == [[row, 12]]
    same(view.rows(400, "aggregate"), {"flights": sql.numbers("SELECT flights FROM result")})


def test_several_results_at_once(year, sql):
    @tp.trace
    def parts(flights, planes):
        away = flights.filter(flights["distance"] > 4000)
        first = planes.unique("manufacturer").select(["tailnum", "manufacturer"])
        return {"away": away, "first": first, "flown": away.join(first, on="tailnum", how="left").sample(40, seed=2)}

    found = parts(year.flights, year.planes)
    sql.result("SELECT rowid AS flights FROM flights WHERE distance > 4000", "flights")
    away = sql.numbers("SELECT flights FROM result WHERE i = 7")
    affected = sql.numbers("SELECT i FROM result WHERE flights < 100000")
    sql.result("SELECT min(rowid) AS planes FROM planes GROUP BY manufacturer", "planes")
    first = sql.numbers("SELECT planes FROM result WHERE i = 7")
    drawn = tp.provenance(found["flown"])
    chosen = drawn.rows(7)
    for several in (found, list(found.values())):
        view = tp.provenance(several)
        assert len(view.values) == 3
        assert sorted(view.sources()) == ["flights", "planes"]
        same(view.rows(7), {
            "flights": sorted({*away, *chosen["flights"].tolist()}),
            "planes": sorted({*first, *chosen.get("planes", np.array([], int)).tolist()}),
        })  # fmt: skip
        early = drawn.affected_rows("flights", slice(0, 100_000)).tolist()
        assert view.affected_rows("flights", slice(0, 100_000)).tolist() == sorted({*affected, *early})
        assert view.affected_rows("flights", where="distance <= 4000").tolist() == []
    every = drawn.rows(slice(None))["flights"]
    sql.result("SELECT rowid AS flights FROM flights WHERE distance > 4000", "flights")
    assert len(every) == 40
    assert np.isin(every, sql.numbers("SELECT flights FROM result")).all()
