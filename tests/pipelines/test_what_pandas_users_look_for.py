"""Text and cell methods against pandas' own, and what is told to those who write another library's names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import traceprop as tp
from traceprop.errors import TraceError

NAMES = ["Smith, Mr. John", "Doe, Mrs. Jane ", "van Dam, Dr. K", None, "", "O'Neil, Miss. Ann, jr"]


@pytest.fixture(scope="module")
def table():
    frame = pd.DataFrame(
        {"name": NAMES, "fare": [7.5, 71.3, 8.0, np.nan, 53.1, 8.05], "deck": ["C", "E", None, "C", "A", "E"]}
    )
    return tp.from_dataframe(frame, "people"), frame


def columns(t):
    name = t["name"]
    return {
        "title": name.str.extract(r", (\w+)\."),
        "last": name.str.split(", ", 0),
        "third": name.str.split(", ", 2),
        "end": name.str.split(", ", -1),
        "stripped": name.str.strip(" rJ"),
        "left": name.str.strip_start("SD"),
        "right": name.str.strip_end(),
        "padded": name.str.pad_start(20, "*"),
        "behind": name.str.pad_end(20),
        "commas": name.str.count(","),
        "where": name.str.find("."),
        "capitals": name.str.count("[A-Z]", regex=True),
        "titled": name.str.lower().str.title(),
        "deck": t["deck"].map({"C": 3, "E": 5}),
        "floor": t["deck"].map({"C": "third", "A": "first"}),
        "cheap": t["fare"].is_between(8.0, 60.0),
    }


def columns_plain(frame):
    name = frame["name"]
    parts = name.str.split(", ")
    return {
        "title": name.str.extract(r", (\w+)\.")[0],
        "last": parts.str.get(0),
        "third": parts.str.get(2),
        "end": parts.str.get(-1),
        "stripped": name.str.strip(" rJ"),
        "left": name.str.lstrip("SD"),
        "right": name.str.rstrip(),
        "padded": name.str.pad(20, "left", "*"),
        "behind": name.str.pad(20, "right"),
        "commas": name.str.count(","),
        "where": name.str.find(".").replace(-1, np.nan),
        "capitals": name.str.count("[A-Z]"),
        "titled": name.str.lower().str.title(),
        "deck": frame["deck"].map({"C": 3, "E": 5}),
        "floor": frame["deck"].map({"C": "third", "A": "first"}),
        "cheap": frame["fare"].between(8.0, 60.0),
    }


def test_each_method_gives_what_pandas_gives_cell_by_cell(table):
    lazy, frame = table
    found, expected = tp.trace(columns)(lazy), columns_plain(frame)
    for name, value in found.items():
        plain = [None if pd.isna(cell) else cell for cell in expected[name]]
        mine = [None if cell is None or cell != cell else cell for cell in np.asarray(value).tolist()]
        assert mine == plain, name
        view = tp.provenance(value)
        assert view.exact
        for row in range(len(frame)):
            assert view.rows(row, kind="any")["people"].tolist() == [row]


def test_columns_are_renamed_where_they_stand(table):
    lazy, frame = table
    renamed = tp.trace(lambda t: t.rename({"fare": "price", "deck": "floor"}))(lazy)
    assert renamed.columns == ["name", "price", "floor"]
    np.testing.assert_array_equal(renamed.to_pandas()["price"], frame["fare"])
    with pytest.raises(TraceError, match="two columns of one name"):
        tp.trace(lambda t: t.rename({"fare": "name"}))(lazy)
    with pytest.raises(KeyError, match="fair"):
        tp.trace(lambda t: t.rename({"fair": "price"}))(lazy)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (lambda t: t.dropna(), "drop_nulls"),
        (lambda t: t.groupby("deck"), "group_by"),
        (lambda t: t.merge(t, on="name"), "join"),
        (lambda t: t.sort_values("fare"), "sort"),
        (lambda t: t.fare, r"t\['fare'\]"),
    ],
)
def test_other_libraries_names_are_answered_with_ours(table, wrong, right):
    with pytest.raises(AttributeError, match=right):
        tp.trace(wrong)(table[0])


def test_a_map_is_a_dictionary(table):
    with pytest.raises(TraceError, match="takes a dictionary"):
        tp.trace(lambda t: t["deck"].map(str.lower))(table[0])
    with pytest.raises(TraceError, match="text or numbers"):
        tp.trace(lambda t: t["deck"].map({"C": 1, "E": "five"}))(table[0])


def test_values_of_a_known_number_are_unpacked():
    x = np.arange(12.0).reshape(6, 2)

    def spread(x):
        low, high = np.quantile(x, [0.25, 0.75])
        first, second = x.T
        return (first - low) / (high - low) + second

    found = tp.trace(spread)(tp.from_numpy(x, "x"))
    np.testing.assert_allclose(np.asarray(found), spread(x))
    with pytest.raises(TraceError, match="iterating over a traced value"):
        tp.trace(lambda x: sum(row.sum() for row in x))(tp.from_numpy(x, "x"))
