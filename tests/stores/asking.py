"""All questions that a view answers, put to two of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import traceprop as tp
from traceprop import stores

KINDS = ("direct", "aggregate", "control", "order", "any")
ROOT = Path(__file__).parent.parent.parent


def assert_same_answers(stored: Any, live: Any, where: dict[str, str] | None = None) -> None:
    """`where`: a predicate for some of the sources, whose files are there."""
    assert stored.sources() == live.sources()
    assert stored.exact == live.exact
    assert stored.ancestors() == live.ancestors()
    assert stored.ops() == live.ops()
    assert [step.code.path for step in stored.ops() if step.code] == [
        step.code.path for step in live.ops() if step.code
    ]
    assert stored.program == live.program
    shapes = [value.concrete_shape() for value in live.values]
    assert [value.concrete_shape() for value in stored.values] == shapes
    rows = min((shape[0] if shape else 1) for shape in shapes)
    for kind in KINDS:
        for i in (*range(min(rows, 2)), slice(None)):
            same(stored.rows(i, kind), live.rows(i, kind))
        if all(len(shape) == 2 and all(shape) for shape in shapes):
            same(stored.cells((0, 0), kind), live.cells((0, 0), kind))
            same(stored.cells(np.s_[:, -1], kind), live.cells(np.s_[:, -1], kind))
        for source in live.sources():
            size = live.source(source).n_rows
            for chosen in ([0], None) if size else ():
                same(stored.affected_rows(source, chosen, kind), live.affected_rows(source, chosen, kind))
    for source, predicate in (where or {}).items():
        same(stored.affected_rows(source, where=predicate), live.affected_rows(source, where=predicate))
    same(stored.row_pairs(), live.row_pairs())
    same(stored.keys(slice(None)), live.keys(slice(None)))
    for i in range(min(rows, 4)):
        assert stored.locate(i) == live.locate(i)


def opened(kind: str, address: str) -> stores.AbstractStore:
    """The store at an address: a path, or a DSN."""
    makers = {"sqlite": stores.SQLiteStore, "postgres": stores.PostgresStore, "parquet": stores.ParquetStore}
    return makers[kind](address)


def same(got: Any, wanted: Any) -> None:
    assert type(got) is type(wanted)
    if isinstance(wanted, dict):
        assert list(got) == list(wanted)
        for key in wanted:
            same(got[key], wanted[key])
    elif isinstance(wanted, tuple):
        for one, other in zip(got, wanted, strict=True):
            same(one, other)
    else:
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == wanted.dtype


def answers(view: Any) -> str:
    """Many answers as one text, for comparing across processes."""
    shape = view.values[0].concrete_shape()
    found: dict[str, Any] = {
        "sources": view.sources(),
        "exact": view.exact,
        "ancestors": sorted(view.ancestors()),
        "ops": [[step.name, step.location, step.inputs] for step in view.ops()],
        "pairs": {name: np.asarray(pairs).tolist() for name, pairs in view.row_pairs().items()},
    }
    for kind in KINDS:
        found[f"rows {kind}"] = [plain(view.rows(i, kind)) for i in range(shape[0])]
        found[f"cells {kind}"] = plain(view.cells((0, 0), kind))
        for name in view.sources():
            size = view.source(name).n_rows
            found[f"affected {kind} {name}"] = [view.affected_rows(name, [row], kind).tolist() for row in range(size)]
    return json.dumps(found)


def plain(found: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: array.tolist() for name, array in found.items()}


def people(folder: Path, rows: int = 12) -> tuple[Path, Path]:
    """Two small tables that belong together: loans, and the clients who have them; one cell holds a line break."""
    rng = np.random.default_rng(rows)
    lines = [f"{k},{k % 5},{rng.integers(10, 99)}" for k in range(rows)]
    (folder / "loans.csv").write_text("loan_id,client_id,amount\n" + "\n".join(lines) + "\n")
    cells = ["0,Ann,30", '1,"Bo\nB",41', "2,Cy,52", "3,Di,", "9,Ed,63"]
    (folder / "clients.csv").write_text("client_id,name,age\n" + "\n".join(cells) + "\n")
    return folder / "loans.csv", folder / "clients.csv"


def joined(loans: Path, clients: Path) -> Any:
    """Filter, join, sort and a mean: captured positions of every sort."""
    left, right = tp.read_csv(loans), tp.read_csv(clients, key="client_id")
    found = left[left["amount"] > 20].join(right, on="client_id", how="left").sort("amount")
    amount = found["amount"]
    return found.assign(part=amount / amount.mean())[["amount", "part", "age"]]
