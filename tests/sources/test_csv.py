"""CSV files: values as polars and the csv module read them, lines as an editor shows them, and bytes from anywhere."""

from __future__ import annotations

import csv
import gzip
import io

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import traceprop as tp
from traceprop.errors import SourceError
from traceprop.sources.csv import CsvArraySource, CsvTableSource
from traceprop.sources.csv_scan import scan

fuzzed = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))

CELL = st.text(st.sampled_from('ab1.-",\n é?'), max_size=5)
ROWS = st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), max_size=6))


def written(rows: list[list[str]], names: list[str], newline: str = "\n") -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator=newline, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    return out.getvalue().encode()


@fuzzed
@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_cells_and_lines(rows, newline, bom, last_newline):
    names = [f"c{k}" for k in range(len(rows[0]) if rows else 2)]
    content = written(rows, names, newline)
    content = content if last_newline else content.removesuffix(newline.encode())
    found = scan("file.csv", content)
    assert found.n_rows == len(rows)
    line = 2
    for row, cells in enumerate(rows):
        assert found.line(row) == line
        assert next(csv.reader(io.StringIO(found.text(row), newline=""))) == cells
        line += 1 + sum(cell.count("\n") for cell in cells)
    if rows:
        read = found.strings(["?"])
        assert [list(r) for r in read.rows()] == [[None if c == "?" else c for c in cells] for cells in rows]


@fuzzed
@given(st.binary(max_size=200))
@example(b'a,b\n"1\n')
@example(b"a,b\r1,2\r")
@example(b'a,b\n"1"2,3\n')
@example(b'a\n""""\n')
@example(b"\xef\xbb\xbfa\n1\n")
def test_any_bytes_are_read_or_refused(content):
    try:
        found = scan("file.csv", content)
        read = found.strings([""])
    except SourceError:
        return
    assert read.height == found.n_rows
    assert read.columns == found.header
    for row in range(found.n_rows):
        assert found.text(row)


@fuzzed
@given(st.text(st.sampled_from('a,b1\n\r" .'), max_size=60))
def test_structured_text_is_read_as_the_csv_module_reads_it_or_refused(text):
    try:
        found = scan("file.csv", text.encode())
        read = found.strings([])
    except SourceError:
        return
    want = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    assert read.height == len(want) - 1


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["1", "-2", "30"], "i64"),
        (["1", "2.5", "1e3"], "f64"),
        (["true", "False", "true"], "bool"),
        (["1", "x", "2"], "str"),
        (["1", "", "3"], "i64"),
        ([" 1", "2", "3"], "str"),
    ],
)
def test_types_are_the_narrowest_that_hold_every_cell(tmp_path, cells, dtype):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{cell},0\n" for cell in cells))
    field = CsvTableSource(path).type(3).fields[0]
    assert field.dtype == dtype
    assert field.nullable == ("" in cells)


def test_missing_values_by_name(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("job,n\ncook,1\n?,2\n cook?,3\n")
    table = tp.read_csv(path, na_values=["?"])
    assert table.compute()["job"].to_list() == ["cook", None, " cook?"]


def test_an_empty_cell_is_nan(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,\n 2 ,3\n")
    np.testing.assert_array_equal(np.asarray(tp.from_csv(path)), [[1, np.nan], [2, 3]])


def test_zipped(tmp_path):
    path = tmp_path / "clinic.csv.gz"
    path.write_bytes(gzip.compress(b"a\n1\n2\n"))
    values = tp.from_csv(path)
    assert values.source_id == "clinic"
    location = tp.provenance(values).locate(1)[0]
    assert (location.line, location.text) == (3, "2")


def test_lines_behind_a_cell_of_several_lines_and_blank_lines(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'note,n\r\n"two\r\nlines",1\r\n\r\nlast,2\r\n')
    view = tp.provenance(tp.read_csv(path)["n"])
    first, last = view.locate(0)[0], view.locate(1)[0]
    assert (first.row, first.line, first.text) == (0, 2, '"two\r\nlines",1')
    assert (last.row, last.line, last.text) == (1, 5, "last,2")


def test_a_file_without_rows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n")
    assert np.asarray(tp.from_csv(path)).shape == (0, 2)
    assert tp.read_csv(path).compute().shape == (0, 2)


def test_the_real_file(data_dir):
    source = CsvTableSource(data_dir / "adult.csv.gz", na_values=["?"])
    plain = pl.read_csv(data_dir / "adult.csv.gz", null_values=["?"])
    assert source.frame().height == plain.height
    for name in plain.columns:
        assert source.frame()[name].cast(pl.String).to_list() == plain[name].cast(pl.String).to_list()


def test_rows_by_predicate_and_key(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("client,age\nann,30\nbob,95\nann,91\n,92\n")
    source = CsvTableSource(path)
    assert source.rows_where("age > 90").tolist() == [1, 2, 3]
    assert source.rows_where("age > 90 AND client = 'ann'").tolist() == [2]
    assert source.rows_with_key("client", "ann").tolist() == [0, 2]
    assert source.rows_with_key("age", "95").tolist() == [1]
    assert source.rows_with_key("client", "eve").tolist() == []
    with pytest.raises(tp.errors.LineageError, match="cannot be asked"):
        source.rows_where("age >> 90 !")
    with pytest.raises(tp.errors.LineageError, match="no condition on rows"):
        source.rows_where("age + 1")


def test_numbers_are_read_as_python_reads_them(tmp_path):
    cells = ["0.1", "1e-310", "123456789.123456789", "-0.0", "9007199254740993"]
    path = tmp_path / "t.csv"
    path.write_text("a\n" + "\n".join(cells) + "\n")
    got = CsvArraySource(path).value()[:, 0]
    assert [float(x) for x in got] == list(map(float, cells))
    assert np.signbit(got[3])
