"""What traces: of each front end every function, run on made-up inputs, held to the plain call and to changed cells.

A function is *exact* where its values are those of the plain call and its lineage names the cells that changes of cells show to
matter, all of them and no other; *inexact* where lineage names more, which `view.exact` says; *refused* where tracing it is an
error. A function with several cases counts by the worst of them. What has no case is listed with the reason.
"""

from __future__ import annotations

import importlib
import multiprocessing
import warnings
from collections import Counter
from typing import Any

from benchmarks.harness import table
from benchmarks.surfaces.finding import OUTCOMES

FRONTS = {"NumPy": "numpy", "tables": "tables", "PyTorch": "torch", "JAX": "jax"}
TOGETHER = 12
"""Functions per piece of work."""
EVERY = 12
"""A quick run takes one function of so many."""

Piece = tuple[str, str, list[str]]


def main(quick: bool = False) -> dict[str, Any]:
    from rich.progress import track

    work = pieces(EVERY if quick else 1)
    measured: dict[str, dict[str, dict[str, Any]]] = {front: {} for front in FRONTS}
    # Processes of their own, since frameworks hold threads that no fork survives.
    with multiprocessing.get_context("spawn").Pool(maxtasksperchild=24) as pool:
        done = pool.imap_unordered(findings, work)
        for front, family, each in track(done, description="coverage", total=len(work), transient=True):
            measured[front].setdefault(family, {}).update(each)
    return summary(measured)


def surface(front: str) -> Any:
    """The module that knows a front end's functions."""
    return importlib.import_module(f"benchmarks.surfaces.{FRONTS[front]}")


def pieces(every: int = 1) -> list[Piece]:
    """The work: a front end, a family, and some of its functions (one of `every`)."""
    found = []
    for front in FRONTS:
        for family, names in surface(front).functions().items():
            chosen = names[::every]
            found += [(front, family, chosen[k : k + TOGETHER]) for k in range(0, len(chosen), TOGETHER)]
    return found


def findings(piece: Piece) -> tuple[str, str, dict[str, Any]]:
    """What was found of the functions of a piece."""
    front, family, names = piece
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return front, family, {name: surface(front).found(family, name).as_dict() for name in names}


def summary(measured: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """What was found, in the order of the front ends' own lists, with what was left out, and a table of counts."""
    fronts = {}
    rows = []
    for front, families in measured.items():
        ordered = {
            family: {name: families[family][name] for name in names if name in families.get(family, {})}
            for family, names in surface(front).functions().items()
        }
        ordered = {family: each for family, each in ordered.items() if each}
        if hasattr(surface(front), "merged"):
            ordered = surface(front).merged(ordered)
        fronts[front] = {"families": ordered, "left_out": surface(front).left_out()}
        counts = {family: Counter(each["outcome"] for each in found.values()) for family, found in ordered.items()}
        rows.append(_row(front, sum(counts.values(), Counter())))
        rows += [_row(f"– {family}", counts[family]) for family in counts]
    head = ["front end", "functions", *OUTCOMES, "exact"]
    note = (
        "Each function runs on made-up inputs; values are held to the plain call, lineage to what changed cells show, and text "
        "to reading back. Exact: lineage names every cell that matters and no other. Function by function, with what was left "
        "out: docs/coverage.md."
    )
    return {"fronts": fronts, "table": table(head, rows, note)}


def _row(name: str, counts: Counter[str]) -> list[str]:
    total = sum(counts.values())
    share = f"{counts['exact'] / total:.1%}" if total else ""
    return [name, str(total), *(str(counts[outcome]) for outcome in OUTCOMES), share]
