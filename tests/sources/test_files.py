"""Files by address: globs, lists, other file systems; each file is a source, and types hold the cells of all."""

from __future__ import annotations

import gzip
import os
import uuid
from pathlib import Path

import fsspec
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import traceprop as tp
from traceprop.errors import ChangedSourceWarning, LineageError, MissingExtraError, SourceError
from traceprop.sources.files import ids_of, matching, stamp


@pytest.fixture
def memory():
    """A folder of fsspec's memory file system, and its address."""
    name = f"/{uuid.uuid4().hex}"
    system = fsspec.filesystem("memory")
    system.mkdir(name)
    yield system, f"memory:/{name}"
    system.rm(name, recursive=True)


def test_another_file_system(memory):
    system, address = memory
    system.pipe(f"{address}/loans.csv.gz", gzip.compress(b"id,amount\n7,1.5\n8,2.5\n"))
    loans = tp.read_csv(f"{address}/loans.csv.gz")
    assert loans.source_id == "loans"
    assert tp.provenance(loans).locate(1) == [("loans", f"{address}/loans.csv.gz", 1, 3, "8,2.5")]
    assert np.asarray(tp.from_csv(f"{address}/loans.csv.gz")).tolist() == [[7.0, 1.5], [8.0, 2.5]]
    with pytest.raises(SourceError, match=r"loans\.csv: there is no such file"):
        tp.read_csv(f"{address}/loans.csv")
    with pytest.raises(SourceError, match="no file matches"):
        tp.read_csv(f"{address}/*.tsv")


def test_a_file_system_that_is_not_installed_or_not_known():
    with pytest.raises(SourceError, match="Protocol not known: nowhere"):
        tp.read_csv("nowhere://bucket/loans.csv")
    if fsspec.available_protocols().count("s3"):
        try:
            import s3fs  # noqa: F401
        except ImportError:
            with pytest.raises(MissingExtraError, match="s3fs"):
                tp.read_csv("s3://bucket/loans.csv")


def test_a_glob_gives_one_source_per_file_in_order(memory):
    system, address = memory
    system.pipe({f"{address}/b.csv": b"x,s\n3,c\n", f"{address}/a.csv": b"x,s\n1,a\n2,b\n"})
    table = tp.read_csv(f"{address}/*.csv", source_id="lake")
    view = tp.provenance(table)
    assert view.sources() == ["lake/a", "lake/b"]
    assert table["x"].compute().tolist() == [1, 2, 3]
    assert {name: rows.tolist() for name, rows in view.rows([1, 2]).items()} == {"lake/a": [1], "lake/b": [0]}
    assert [place.text for place in view.locate(slice(None))] == ["1,a", "2,b", "3,c"]
    assert view.affected_rows("lake/b").tolist() == [2]
    assert tp.provenance(tp.read_csv([f"{address}/b.csv", f"{address}/a.csv"])).sources() == ["b", "a"]


def test_parquet_files_by_glob(tmp_path):
    for name, cells in (("a", [1, 2]), ("b", [3])):
        pl.DataFrame({"x": cells}).write_parquet(tmp_path / f"{name}.parquet")
    table = tp.read_parquet(str(tmp_path / "*.parquet"), source_id="lake")
    assert tp.provenance(table).sources() == ["lake/a", "lake/b"]
    assert table["x"].compute().tolist() == [1, 2, 3]


def test_equal_names_in_several_folders_keep_the_folders(tmp_path):
    for year in ("2023", "2024"):
        (tmp_path / year).mkdir()
        (tmp_path / year / "loans.csv").write_text(f"year\n{year}\n")
    table = tp.read_csv(str(tmp_path / "**" / "loans.csv"), source_id="bank")
    assert tp.provenance(table).sources() == ["bank/2023/loans", "bank/2024/loans"]
    assert ids_of(["d/a.csv", "d/b.csv"], None) == ["a", "b"]


def test_types_hold_the_cells_of_all_files(tmp_path):
    (tmp_path / "a.csv").write_text("code,n,empty,x\n007,1,,1\n010,2,,2\n")
    (tmp_path / "b.csv").write_text("x,code,n,empty\n0.5,A1,3,yes\n")
    table = tp.read_csv([tmp_path / "a.csv", tmp_path / "b.csv"]).compute()
    assert table.rows() == [("007", 1, None, 1.0), ("010", 2, None, 2.0), ("A1", 3, "yes", 0.5)]


def test_types_of_parquet_files_widen_where_no_cell_is_lost(tmp_path):
    pl.DataFrame({"x": pl.Series([1, 2], dtype=pl.Int32), "s": [None, None]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"s": ["u"], "x": [2.5]}).write_parquet(tmp_path / "b.parquet")
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    assert tp.read_parquet(paths).compute().rows() == [(1.0, None), (2.0, None), (2.5, "u")]
    pl.DataFrame({"x": [2**53 + 1], "s": ["v"]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"a\.parquet, row 0: column 'x' holds 9007199254740993"):
        tp.read_parquet(paths)
    pl.DataFrame({"x": ["1"], "s": ["v"]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"b\.parquet: column 'x' holds Float64, but String in .*a\.parquet"):
        tp.read_parquet(paths)


def test_files_with_other_columns_and_files_twice(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.csv").write_text("x,y\n1,2\n")
    with pytest.raises(SourceError, match=r"b\.csv has a column 'y', unlike .*a\.csv"):
        tp.read_csv(str(tmp_path / "?.csv"))
    with pytest.raises(SourceError, match=r"a\.csv is there twice"):
        tp.read_csv([tmp_path / "a.csv", tmp_path / "a.csv"])
    with pytest.raises(SourceError, match="an empty list"):
        tp.read_csv([])
    with pytest.raises(SourceError, match="no file matches"):
        tp.read_csv(str(tmp_path / "*.tsv"))


def test_a_name_with_magic_signs_that_is_a_file(tmp_path):
    (tmp_path / "a[1].csv").write_text("x\n1\n")
    assert matching(tmp_path / "a[1].csv") is None
    assert tp.read_csv(str(tmp_path / "a[1].csv")).source_id == "a[1]"


def test_a_changed_file_is_said_and_never_quoted(tmp_path, memory):
    system, address = memory
    for path, write in (
        (str(tmp_path / "loans.csv"), lambda path, text: Path(path).write_bytes(text)),
        (f"{address}/loans.csv", system.pipe),
    ):
        write(path, b"id\n7\n8\n")
        view = tp.provenance(tp.read_csv(path))
        assert view.locate(0)[0].text == "7"
        assert view.changed_sources() == {}
        write(path, b"id\n8\n7\n")  # as long as it was, and within the clock's grain
        with pytest.warns(ChangedSourceWarning, match=r"loans\.csv has changed since it was read.*with key="):
            assert view.locate(0) == [("loans", path, 0, None, None)]
        assert "has changed" in view.changed_sources()["loans"]
        write(path, b"id\n7\n8\n")
        assert view.locate(1)[0].text == "8"
        assert view.changed_sources() == {}


def test_a_file_that_is_gone(tmp_path):
    path = tmp_path / "loans.csv"
    path.write_text("id\n7\n")
    view = tp.provenance(tp.read_csv(path))
    path.unlink()
    with pytest.warns(ChangedSourceWarning, match=r"loans\.csv is gone"):
        assert view.locate(0)[0].text is None


def test_an_old_file_has_a_stamp_and_a_new_one_none(tmp_path):
    path = tmp_path / "loans.csv"
    path.write_text("id\n7\n")
    assert stamp(str(path)) is None
    os.utime(path, (0, 0))
    assert stamp(str(path)) is not None
    assert stamp(str(tmp_path / "none.csv")) is None


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.binary(max_size=40) | st.sampled_from([b"a,k\n1,2\n", b"k,a\n3,x\n", b"a,k\n,2\n,2\n"]), max_size=3),
    st.sampled_from([None, "k", "a", "b"]),
)
def test_any_files_are_read_together_or_refused(contents, key):
    system = fsspec.filesystem("memory")
    folder = f"/fuzz-{uuid.uuid4().hex}"
    system.pipe({f"{folder}/{n}.csv": content for n, content in enumerate(contents)})
    try:
        table = tp.read_csv(f"memory:/{folder}/*.csv", source_id="f", key=key)
        rows = table.compute().rows()
    except SourceError:
        return
    finally:
        if contents:
            system.rm(folder, recursive=True)
    view = tp.provenance(table)
    assert len(view.row_pairs()) <= len(contents)
    for i in range(len(rows)):
        (source_id, source_rows), *others = view.rows(i).items()
        assert not others
        assert view.source(source_id).frame().rows()[source_rows[0]] == rows[i]
        assert set(view.keys(i)) == ({source_id} if key else set())


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\0" * 40 + b"PAR1", b"x" * 100])
def test_what_is_no_parquet_file(tmp_path, content):
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"t\.parquet cannot be read as Parquet"):
        tp.read_parquet(path)


def test_a_chain_through_several_files(tmp_path):
    loans = tp.from_numpy(np.arange(10.0).reshape(5, 2), "loans")
    kept = loans[::-1]
    plain = pl.DataFrame(np.asarray(kept), schema=["a", "b"])
    plain[:2].write_parquet(tmp_path / "0.parquet")
    plain[2:].write_parquet(tmp_path / "1.parquet")
    for lineage in (tp.provenance(kept), [tp.provenance(kept[:2]), tp.provenance(kept[2:])]):
        view = tp.provenance(tp.read_parquet(str(tmp_path / "?.parquet"), lineage=lineage))
        assert view.sources() == ["loans"]
        assert [view.rows(i)["loans"].tolist() for i in range(5)] == [[4], [3], [2], [1], [0]]
    table = tp.from_dataframe(plain, "table")
    view = tp.provenance(tp.read_parquet(str(tmp_path / "?.parquet"), lineage=tp.provenance(table)))
    assert view.affected_rows("table", where="a = 2").tolist() == [3]
    with pytest.raises(SourceError, match="a result of 4 rows, but the files have 5"):
        tp.read_parquet(str(tmp_path / "?.parquet"), lineage=tp.provenance(kept[1:]))
    with pytest.raises(SourceError, match="1 views, but there are 2 files"):
        tp.read_parquet(str(tmp_path / "?.parquet"), lineage=[tp.provenance(kept)])
    with pytest.raises(LineageError, match="takes the view"):
        tp.read_parquet(str(tmp_path / "?.parquet"), lineage=kept)
