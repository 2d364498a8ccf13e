"""DuckLake's own row ids as keys: they stay with a row while the table's files are rewritten."""

from __future__ import annotations

from importlib.resources import files

import duckdb
import pytest

import traceprop as tp


@pytest.fixture
def lake(tmp_path):
    """A connection whose schema `lake` is a new DuckLake."""
    folder = files("duckdb_extension_ducklake") / "extensions"
    (extension,) = [
        path for version in folder.iterdir() for path in version.iterdir() if path.suffix == ".duckdb_extension"
    ]
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute(f"LOAD '{extension}'")
    connection.execute(f"ATTACH 'ducklake:{tmp_path}/lake.ducklake' AS lake (DATA_PATH '{tmp_path}/data')")
    yield connection
    connection.close()


def test_rows_are_known_by_their_row_id_through_updates_deletes_and_merges(lake):
    lake.execute("CREATE TABLE lake.loans (id INTEGER, amount DOUBLE)")
    lake.execute("INSERT INTO lake.loans SELECT i, 10.0 * i FROM range(300) t(i)")
    lake.execute("INSERT INTO lake.loans VALUES (900, 1.0), (901, 2.0)")
    query = "SELECT rowid, * FROM lake.loans ORDER BY amount DESC"
    before = tp.from_dataframe(lake.sql(query), "loans", key="rowid")
    small = tp.provenance(before.filter(before["amount"] < 1.5))
    ids = small.keys(slice(None))["loans"].tolist()
    assert len(ids) == 2

    lake.execute("UPDATE lake.loans SET amount = 5000 WHERE id = 900")
    lake.execute("DELETE FROM lake.loans WHERE id BETWEEN 5 AND 200")
    lake.execute("CALL ducklake_merge_adjacent_files('lake')")
    again = tp.from_dataframe(lake.sql(query), "loans", key="rowid")
    view = tp.provenance(again)
    assert view.keys(0)["loans"].tolist() == [ids[0]], "the updated row stands first now, under its old id"
    assert again["id"].compute()[0] == 900
    assert view.affected_rows("loans", where=f"rowid = {ids[1]}").tolist() == [len(again) - 1]
