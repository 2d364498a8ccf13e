"""The short form of a program that the demo prints."""

from __future__ import annotations

import numpy as np

import traceprop as tp
from traceprop.demo.abridge import changes, op_rows


def centre(x):
    return np.concatenate([x - x.mean(axis=0), x[x[:, 0] > 2.0]])


def test_every_op_is_one_row() -> None:
    x = tp.from_numpy(np.arange(6.0).reshape(3, 2), source_id="x")
    program = tp.trace(centre).ir(x)
    rows = op_rows(str(program))
    assert len(rows) == len(program.ops)
    assert all(where.startswith("test_abridge.py:") for _, _, where in rows)
    mean = next(row for row in rows if "numpy.mean" in row[0])
    assert mean[1] == "(i) <- %x[*, i]"


def test_changes_are_the_ops_that_passes_added() -> None:
    x = tp.from_numpy(np.arange(6.0).reshape(3, 2), source_id="x")
    traced, optimized = (str(tp.trace(centre).ir(x, stage=stage)) for stage in ("traced", "optimized"))
    assert changes(traced, traced) == []
    assert [op.split("(")[0] for sign, op in changes(traced, optimized) if sign == "+"] == ["record"]
