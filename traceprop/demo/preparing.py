"""Steps 1 to 3: two files become a program, and the program, once asked, becomes arrays equal to pandas'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import traceprop as tp
from traceprop.demo.files import Files
from traceprop.demo.pipeline import prepare
from traceprop.demo.plain import prepare_plain, read
from traceprop.reports.atomic import write_text

MISSING = ["?"]


@dataclass(frozen=True)
class Prepared:
    """The traced function applied to both offices' tables, and what it was compared with.

    `X` and `y` are lazy; `features` (n, d) and `labels` (n,) are their values.
    """

    tables: tuple[Any, Any]
    X: Any
    y: Any
    traced: str
    optimized: str
    reads_back: bool
    ops_run_before: int
    ops_run_after: int
    features: np.ndarray
    labels: np.ndarray
    difference: float
    labels_equal: bool


def table(path: Any, source_id: str | None = None) -> Any:
    """Read a file of the demo as a lazy table."""
    return tp.read_csv(path, source_id=source_id, na_values=MISSING)


def prepare_both(files: Files) -> Prepared:
    """Trace and call `prepare`, then ask for its values and compare them with the same function in pandas."""
    north, south = table(files.north_office), table(files.south_office)
    programs = [prepare.ir(north, south, stage=stage) for stage in ("traced", "optimized")]
    traced, optimized = map(str, programs)
    X, y = prepare(north, south)
    before = ops_run(X)
    features, labels = np.asarray(X), np.asarray(y)
    plain_features, plain_labels = prepare_plain(read(files.north_office), read(files.south_office))
    if features.shape != plain_features.shape:
        raise AssertionError(f"traced features are {features.shape}, pandas' are {plain_features.shape}")
    programs[0].to_html(files.folder / "program.html")
    write_text(files.folder / "program-traced.txt", traced + "\n")
    write_text(files.folder / "program-optimized.txt", optimized + "\n")
    return Prepared(
        tables=(north, south),
        X=X,
        y=y,
        traced=traced,
        optimized=optimized,
        reads_back=all(tp.ir.parse(str(program)) == program for program in programs),
        ops_run_before=before,
        ops_run_after=ops_run(X),
        features=features,
        labels=labels,
        difference=float(np.abs(features - plain_features).max()),
        labels_equal=bool(np.array_equal(labels, plain_labels)),
    )


def ops_run(lazy: Any) -> int:
    """How many ops of the program behind a lazy value have run: none before it is asked for, then all."""
    call = lazy.call()
    return call.outcome().executed if call.done else 0
