"""Conditions on rows: what SQL says they mean, and nothing that reaches beyond the table."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from traceprop.errors import LineageError
from traceprop.sources.predicate import rows_where

FRAME = pl.DataFrame(
    {
        "age": [95, 10, None],
        "größe": [1.0, 2.0, 3.0],
        "work class": ["a", "b", None],
        "it's": ["it's", "q", "z"],
        'q"q': [1, 2, 3],
        "select": [1, 2, 3],
        "rows": [1, 2, 3],
        "ok": [True, False, None],
        "day": [dt.date(2020, 1, 1), dt.date(2021, 1, 1), None],
        "at": [dt.datetime(2020, 1, 1, 5), None, dt.datetime(2022, 1, 1)],
    }
).with_columns(berlin=pl.col("at").dt.replace_time_zone("Europe/Berlin"))


@pytest.mark.parametrize(
    ("predicate", "rows"),
    [
        ("age > 90", [0]),
        ("age IS NULL OR age < 20", [1, 2]),
        ("NOT age > 90", [1]),
        ("age BETWEEN 1 AND 2e1", [1]),
        ("age IN (10, 95) AND größe = 2.0", [1]),
        ('"größe" > 1', [1, 2]),
        ("\"work class\" = 'a'", [0]),
        ('"work class" LIKE \'a%\' OR "work class" IS NULL', [0, 2]),
        ("UPPER(\"work class\")='B'", [1]),
        ("\"it's\" = 'it''s'", [0]),
        ('"q""q" = 2', [1]),
        ('"select" = 2 AND rows > 1', [1]),
        ("ok", [0]),
        ("NOT ok", [1]),
        ("true", [0, 1, 2]),
        ("NULL", []),
        ("age > AVG(age)", [0]),
        ("day > '2020-06-01'", [1]),
        ("day > DATE '2020-06-01'", [1]),
        ("day BETWEEN '2019-12-31' AND '2020-06-01'", [0]),
        ("at >= '2021-01-01'", [2]),
        ("berlin > '2021-01-01'", [2]),
        ("EXTRACT(YEAR FROM day) = 2021", [1]),
        ("(age + 5) * 2 >= 200", [0]),
    ],
)
def test_rows(predicate, rows):
    assert rows_where(FRAME, predicate, "people").tolist() == rows


@pytest.mark.parametrize(
    ("predicate", "message"),
    [
        ("Age > 1", r"where='Age > 1' cannot be asked of 'people' .*did you mean 'age'\?.*its columns: age, größe"),
        ("age = 'x'", "cannot compare"),
        ("age >", "cannot be asked"),
        ("age + 1", "is no condition on rows of 'people': it gives Int64"),
        ("COUNT(*) > 1", "it gives 1 for 3 rows"),
        ("", "a condition such as"),
        (None, "a condition such as"),
        ("age > 90; DROP TABLE rows", "';.*at character 9 is no part of a condition"),
        ("age > 90 -- all", "'--' at character 10"),
        ("age > 90 /* all", "is no part of a condition"),
        ("age IN (SELECT a FROM read_csv('/none.csv'))", "SELECT would reach beyond"),
        ("EXISTS (VALUES (1))", "VALUES would reach beyond"),
        ("read_parquet('/none.parquet')", "read_parquet would reach beyond"),
        ("$$'$$ IN (SELECT a FROM read_csv('/none.csv')) OR x = '", "is no part of a condition"),
        (r"age = E'\' OR age IN (SELECT a FROM read_csv(''/none.csv'')) --'", "put a blank between E"),
        ("age > 1) AS mask FROM rows --", "'--' at character"),
        ("age > 1) AS mask FROM read_csv('/none.csv'", "read_csv would reach beyond"),
    ],
)
def test_what_is_no_condition(predicate, message):
    with pytest.raises(LineageError, match=message):
        rows_where(FRAME, predicate, "people")


PIECES = st.sampled_from(
    "age größe \"select\" 'x' '' \"\" ' \" 1 > = ( ) AND OR NOT IN SELECT select FROM read_csv scan_csv '/none.csv' /none.csv"
    " -- /* */ $$ $a$ ` ; \\ E' N' [ ] , * . :: UNION WITH TABLE VALUES AS mask rows EXISTS CASE WHEN THEN END é \n".split(
        " "
    )
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(PIECES, max_size=12).map(" ".join) | st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=20))
def test_any_text_gives_rows_or_a_refusal_and_no_file_is_looked_for(predicate):
    try:
        found = rows_where(FRAME, predicate, "people")
    except LineageError:  # and not FileNotFoundError
        return
    assert set(found.tolist()) <= {0, 1, 2}
