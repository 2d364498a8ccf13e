"""Files that are not held in memory: the same rows, types, lines and errors as those that are, whatever the blocks."""

from __future__ import annotations

import gzip

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from traceprop.errors import ChangedSourceError, ChangedSourceWarning, SourceError
from traceprop.sources import CsvArraySource, CsvTableSource, ParquetSource, blocks, streamed
from traceprop.sources.streamed import StreamedCsvArray, StreamedCsvTable
from traceprop.sources.streamed_parquet import StreamedParquet

TEXT = "a,b,words,d,e,f\n" + "".join(
    f'{k},{k / 7 if k % 7 else ""},"q ""{k}""\nline,{k}",{"true" if k % 2 else "False"},{1 if k < 200 else 1.5},'
    f"{'true' if k > 3 else 1}\n" + "\n" * (k % 50 == 3)
    for k in range(300)
)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of some 100 bytes, so that rows with line breaks lie across them."""
    cut = blocks.row_blocks
    monkeypatch.setattr(streamed, "row_blocks", lambda path, file: cut(path, file, 101))


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(TEXT)
    return path


@pytest.mark.usefixtures("small_blocks")
def test_a_streamed_table_is_the_table(csv):
    whole, mine = CsvTableSource(csv), StreamedCsvTable(csv)
    assert len(mine._blocks) > 50
    assert (mine.n_rows, mine.content_hash, mine.type(300)) == (300, whole.content_hash, whole.type(300))
    assert_frame_equal(mine.value(), whole.value())
    rows = [5, 299, 0, 5]
    assert mine.describe_rows(rows) == whole.describe_rows(rows)
    for question in ("a > 17 and b is null", "\"words\" like '%12%'", "b > 3"):
        np.testing.assert_array_equal(mine.rows_where(question), whole.rows_where(question))
    np.testing.assert_array_equal(mine.rows_with_key("a", 17), [17])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("rows", [1, 7, 100, 300, 1000])
def test_batches_have_the_rows_asked_for(csv, rows):
    whole, parts = CsvTableSource(csv).value(), list(StreamedCsvTable(csv).read(rows))
    assert [part.height for part in parts[:-1]] == [rows] * (len(parts) - 1)
    assert_frame_equal(pl.concat(parts), whole)
    some = pl.concat(list(StreamedCsvTable(csv).read(rows, ["b"])))
    assert some.schema == whole.schema
    assert_frame_equal(some.select("b"), whole.select("b"))


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(*[st.sampled_from(["", "1", "2.5", "x", "true", "False", '"a\n,b"', '"c""d"'])] * 2), max_size=12
    ),
    st.integers(4, 40),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_random_files(tmp_path, cells, size, end):
    path = tmp_path / "r.csv"
    path.write_bytes(end.join(["a,b", *map(",".join, cells)]).encode() + b"\n")
    cut = blocks.row_blocks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed, "row_blocks", lambda path, file: cut(path, file, size))
        mine = StreamedCsvTable(path)
    whole = CsvTableSource(path)
    assert mine.type(3) == whole.type(3)
    assert_frame_equal(mine.value(), whole.value())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"a,b\n1,2\n3\n",
        b'a,b\n1,"2\n3,4\n',
        b"a,b\n1,\xff\n",
        b"a,b\n1,\0\n",
        b"a,a\n1,2\n",
        b"1,2\n3,4\n",
        b"a,b\n1,2\r3,4\n",
        b'a,b\n1,2"3\n',
        b"a\n",
        b"\xef\xbb\xbfa,b\n1,2",
        b"a,b\n1,2\n\n\n",
    ],
)
@pytest.mark.parametrize(("held", "kind"), [(CsvTableSource, StreamedCsvTable), (CsvArraySource, StreamedCsvArray)])
def test_errors_are_those_of_files_that_are_held(tmp_path, content, held, kind):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)

    def what(make):
        try:
            source = make(path)
        except SourceError as error:
            return str(error)
        return source.n_rows, source.type(9), np.asarray(source.value()).tolist()

    assert what(kind) == what(held)


@pytest.mark.usefixtures("small_blocks")
def test_an_error_far_down_names_its_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + '1,"x\ny"\n' * 50 + "2\n")
    with pytest.raises(SourceError, match=r"t.csv, line 102: 1 cells where the header has 2 columns"):
        StreamedCsvTable(path)
    path.write_text("a,b\n" + "1,2\n" * 200 + "1,x\n")
    with pytest.raises(SourceError, match=r"t.csv, line 202, column 'b': 'x' is not a number"):
        StreamedCsvArray(path)


def test_numbers(tmp_path):
    path = tmp_path / "n.csv"
    path.write_text("a,b\n1, 2.5\n,3\n")
    mine = StreamedCsvArray(path)
    np.testing.assert_array_equal(mine.value(), CsvArraySource(path).value())
    np.testing.assert_array_equal(np.concatenate(list(mine.read(1, ["b"])))[:, 1], [2.5, 3])


def test_zipped(tmp_path, csv):
    path = tmp_path / "z.csv.gz"
    path.write_bytes(gzip.compress(csv.read_bytes()))
    assert_frame_equal(StreamedCsvTable(path).value(), CsvTableSource(path).value())
    assert StreamedCsvTable(path).describe_rows([299])[0].text.startswith("299,")


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("change", [TEXT.replace("250,", "251,"), TEXT + "1,2,3,true,1,1\n", TEXT[:-200], ""])
def test_a_file_that_changed_is_named(csv, change):
    mine = StreamedCsvTable(csv)
    assert mine.changed() is None
    csv.write_text(change)
    assert "has changed" in mine.changed()
    with pytest.raises(ChangedSourceError, match=r"t\.csv"):
        list(mine.read(50))
    csv.unlink()
    with pytest.raises(ChangedSourceError, match=r"t\.csv"):
        list(mine.read(50))
    with pytest.warns(ChangedSourceWarning, match="no line is shown"):
        assert mine.describe_rows([3])[0].line is None


def test_keys(csv):
    mine = StreamedCsvTable(csv, key="a")
    np.testing.assert_array_equal(mine.keys([7, 3]), [7, 3])
    with pytest.raises(SourceError, match=r"line 6: d='true' is there already|is there already"):
        StreamedCsvTable(csv, key="d")


def test_parquet(tmp_path, csv):
    path = tmp_path / "t.parquet"
    CsvTableSource(csv).value().with_columns(
        kind=pl.Series(["x", "y", None] * 100, dtype=pl.Categorical)
    ).write_parquet(path)
    whole, mine = ParquetSource(path), StreamedParquet(path)
    assert (mine.n_rows, mine.content_hash, mine.type(3)) == (300, whole.content_hash, whole.type(3))
    assert_frame_equal(pl.concat(list(mine.read(70))), whole.value())
    assert_frame_equal(pl.concat(list(mine.read(70, ["b"]))).select("b"), whole.value().select("b"))
    assert sum(part.height for part in mine.read(70, [])) == 300
    with pytest.raises(SourceError, match="has no column 'z'"):
        StreamedParquet(path, columns=["z"])
    whole.value().head(10).write_parquet(path)
    with pytest.raises(ChangedSourceError, match=r"t\.parquet has changed"):
        list(mine.read(70))
