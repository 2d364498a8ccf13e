"""Positions that rows of tables are taken by: the engine's own, and int64 for whoever asks."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import traceprop as tp
from traceprop.runtime.taken import Chosen, Numbered, Pairs

FRAME = pl.DataFrame({"k": [2, 1, 2, None, 3], "x": [0.5, 4.0, None, 2.0, 1.0], "w": ["b", "a", None, "b", "c"]})
OTHER = pl.DataFrame({"k": [2, 3, 2, 9], "z": [1, 2, 3, 4]})


def sources():
    return tp.from_dataframe(FRAME, source_id="frame"), tp.from_dataframe(OTHER, source_id="other")


@pytest.mark.parametrize("mask", [[True, False, True, True, False], [False] * 5, [True] * 5])
def test_a_mask_is_its_positions(mask):
    chosen, positions = Chosen(np.array(mask)), np.flatnonzero(mask)
    assert len(chosen) == len(positions)
    assert np.asarray(chosen).dtype == np.int64
    assert np.asarray(chosen).tolist() == positions.tolist()
    assert np.asarray(chosen, dtype=float).tolist() == positions.tolist()
    assert chosen.of(FRAME).equals(FRAME[positions])
    assert chosen.nbytes == 1


def test_a_mask_of_one_row_is_not_spread_over_all():
    assert Chosen(np.array([True])).of(FRAME).equals(FRAME[:1])
    assert Chosen(np.array([True, False, True])).of(FRAME).equals(FRAME[[0, 2]])
    assert Chosen(np.array([None, True, 0], dtype=object)).of(FRAME).equals(FRAME[1:2])


def test_numbers_and_pairs():
    left, right = pl.Series([0, 0, 4], dtype=pl.UInt32), pl.Series([2, 0, 1], dtype=pl.UInt32)
    pairs = Pairs(left, right)
    assert np.asarray(pairs).tolist() == [[0, 2], [0, 0], [4, 1]]
    assert np.asarray(pairs).dtype == np.asarray(pairs[:, 1]).dtype == np.int64
    assert np.asarray(pairs[:, 1]).tolist() == [2, 0, 1]
    assert pairs[:, 0].base is pairs
    assert (len(pairs), pairs.nbytes, pairs[:, 0].nbytes) == (3, 24, 12)
    assert Numbered(right).of(FRAME).equals(FRAME[[2, 0, 1]])
    assert Numbered(right.clear()).of(FRAME).equals(FRAME.clear())


@pytest.mark.parametrize(
    "name, function",
    [
        ("filter", lambda t, o: t[t["x"] > 0.75]),
        ("argsort", lambda t, o: t.sort("x")),
        ("distinct", lambda t, o: t.unique("k")),
        ("join", lambda t, o: t.join(o, on="k")),
        ("join", lambda t, o: t.join(o, on="k", how="left")),
        ("join", lambda t, o: t.join(o, on="k", how="semi")),
        ("join", lambda t, o: t.join(o, on="k", how="anti")),
    ],
)
def test_rows_and_lineage_are_those_of_plain_positions(name, function, monkeypatch):
    traced = tp.trace(function)
    assert f"table_taken_{name}(" in traced.compile(*sources()).code
    got = traced(*sources())
    frame, pairs = got.compute(), tp.provenance(got).row_pairs()
    monkeypatch.setattr("traceprop.runtime.codegen.only_taken", lambda program: set())
    plain = tp.trace(function)
    assert "table_taken_" not in plain.compile(*sources()).code
    want = plain(*sources())
    assert frame.equals(want.compute())
    for source, found in tp.provenance(want).row_pairs().items():
        assert [part.tolist() for part in pairs.pop(source)] == [part.tolist() for part in found]
    assert not pairs


def test_positions_that_arrays_need_too_are_arrays():
    @tp.trace
    def both(t, y):
        mask = t["x"] > 0.75
        return t[mask], y[mask]

    t, _ = sources()
    assert "table_taken_" not in both.compile(t, np.arange(5.0)).code
    frame, kept = both(t, np.arange(5.0))
    assert frame.compute()["x"].to_list() == [4.0, 2.0, 1.0]
    assert np.asarray(kept).tolist() == [1, 3, 4]


def test_a_mask_that_is_written_to_later_changes_no_answer():
    mask = np.array([False, True, True, False, True])
    got = tp.trace(lambda t, mask: t[mask])(sources()[0], mask)
    got.compute()
    view = tp.provenance(got)
    mask[:] = False
    assert view.rows(slice(None))["frame"].tolist() == [1, 2, 4]


def test_what_waits_for_a_question_is_a_bit_per_row():
    n = 80_000
    rows = tp.from_dataframe(pl.DataFrame({"x": np.arange(n)}), source_id="rows")
    got = tp.trace(lambda t: t[t["x"] % 2 == 0])(rows)
    got.compute()
    assert got.call().outcome().captures.waiting == n // 8


@pytest.mark.parametrize("words", [[None, None], ["é", "", None, "a much longer text than fits inline", ""]])
def test_one_hot_of_texts(words):
    frame = pl.DataFrame({"w": pl.Series(words, dtype=pl.String)})
    hot = tp.from_dataframe(frame, source_id="w").one_hot("w")
    known = sorted({word for word in words if word is not None})
    assert hot.columns == [f"w_{word}" for word in known]
    for word in known:
        assert hot.compute()[f"w_{word}"].to_list() == [int(word == cell) for cell in words]
