"""Lineage: what questions take, what is kept to answer them, and what taking it costs a program.

Questions are put in turns to traceprop and to tables of (output row, source row) pairs, in DuckDB (in memory, indexed) and
in Parquet files (scanned by polars), and the answers are held to each other. What is kept is weighed against such pairs raw
(two int64), as Parquet with zstd, by ProvRC (`baselines/provrc.py`), and against the information in them. Steps over a million
rows run with lineage, without it, and in plain polars, in turns. A first question also encodes what the run decided; it is
told apart.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import traceprop as tp
from benchmarks.harness import interleaved, seconds, table
from benchmarks.tasks import lineage_costs, lineage_kept, lineage_questions

REGULAR_OF_RAW, REGULAR_OF_PARQUET, IRREGULAR_OF_BOUND = 0.003, 1 / 2000, 1.2


def main(quick: bool = False) -> dict[str, Any]:
    from rich.progress import track

    n, turns = (10_000, 3) if quick else (1_000_000, 15)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        asked = {q.name: ask(q, turns) for q in track(questions(n, folder), "questions")}
        cases = track(lineage_kept.cases(n), "bytes kept", total=lineage_kept.COUNT)
        kept = {case.name: weigh(case, folder) for case in cases}
    costs = {step.name: compare(step, turns) for step in track(lineage_costs.steps(n), "with lineage and without")}
    return {
        "n": n,
        "turns": turns,
        "questions": asked,
        "kept": kept,
        "costs": costs,
        "tables": [questions_table(asked, turns), kept_table(kept), costs_table(costs, n)],
    }


# -- questions --------------------------------------------------------------------------------------------------------


def questions(n: int, folder: Path) -> list[lineage_questions.Question]:
    return [
        *lineage_questions.one_cell(int(np.sqrt(n)), folder),
        *lineage_questions.forward(n, folder),
        *lineage_questions.nycflights(folder),
    ]


def ask(question: lineage_questions.Question, turns: int) -> dict[str, Any]:
    """Times of one question, after its answers were found equal. Each of the peers takes turns with traceprop."""
    first = seconds(question.traceprop)
    mine = question.traceprop()
    peers = {"duckdb": question.duckdb, "parquet": question.parquet, "provrc": question.provrc}
    found = {}
    for name, peer in peers.items():
        if peer is None:
            continue
        theirs = peer()
        if mine.keys() != theirs.keys() or any(not np.array_equal(mine[source], theirs[source]) for source in mine):
            raise AssertionError(f"{question.name}: pairs say otherwise")
        found[name] = interleaved(question.traceprop, peer, turns)
    alone = statistics.median(seconds(question.traceprop) for _ in range(turns))
    return {
        "aim_milliseconds": question.aim,
        "found": {source: len(rows) for source, rows in mine.items()},
        "first_seconds": first,
        "seconds": statistics.median([times["plain_seconds"] for times in found.values()] or [alone]),
        **found,
    }


def questions_table(asked: dict[str, dict[str, Any]], turns: int) -> dict[str, Any]:
    def beside(peer: dict[str, Any]) -> str:
        return f"{1000 * peer['traced_seconds']:.1f} ms, {digits(peer['median'])}×"

    def row(name: str, found: dict[str, Any]) -> list[str]:
        return [
            name,
            f"{1000 * found['seconds']:.2f} ms",
            f"{found['aim_milliseconds']:g} ms",
            f"{1000 * found['first_seconds']:.1f} ms",
            *(beside(found[peer]) if peer in found else "" for peer in ("duckdb", "parquet")),
        ]

    flights = {name: found for name, found in asked.items() if name.startswith("flights")}
    worst = max(flights, key=lambda name: flights[name]["seconds"], default=None)
    note = f"Medians of {turns} turns; ×: of traceprop's time in the same turns. First: with what is done once."
    if worst:
        note += (
            f" The slowest of flights: {worst.removeprefix('flights: ')}, {1000 * flights[worst]['seconds']:.1f} ms."
        )
    for name, found in asked.items():
        if "provrc" in found:
            note += f" ProvRC, asked without decompressing, takes {beside(found['provrc'])}, for {name}."
    head = ["question", "traceprop", "aim", "first", "pairs in DuckDB", "pairs in Parquet"]
    return table(head, [row(*item) for item in asked.items()], note)


# -- bytes ------------------------------------------------------------------------------------------------------------


def weigh(case: lineage_kept.Case, folder: Path) -> dict[str, Any]:
    """Bytes of one op's lineage in every form, after a sample of traceprop's answers was found in the pairs."""
    from benchmarks.baselines.pair_tables import parquet_bytes
    from benchmarks.baselines.provrc import compress

    steps = case.view.footprint()
    found: dict[str, Any] = {"kept": case.view.nbytes, "bound": sum(step.bound or 0 for step in steps), "pairs": 0}
    found |= {"encodings": sorted({step.encoding for step in steps}), "parquet": 0, "provrc": 0, "provrc_rows": 0}
    for source, (outputs, inputs) in case.pairs.items():
        out = np.ravel_multi_index(tuple(outputs.T), case.shapes["out"])
        of = np.ravel_multi_index(tuple(inputs.T), case.shapes[source])
        hold(case, source, out, of)
        boxes = compress(outputs, inputs)
        found["pairs"] += len(out)
        found["parquet"] += parquet_bytes(out, of, folder)
        found["provrc"] += boxes.nbytes
        found["provrc_rows"] += len(boxes)
    found["raw"] = 16 * found["pairs"]
    return found


def hold(case: lineage_kept.Case, source: str, out: np.ndarray, of: np.ndarray, sample: int = 20) -> None:
    size = int(np.prod(case.shapes["out"]))
    for i in {0, size - 1, *np.random.default_rng(5).integers(0, size, sample).tolist()}:
        if case.rows:
            found = case.view.rows(int(i), case.kind)[source]
        else:
            cell = tuple(int(k) for k in np.unravel_index(i, case.shapes["out"]))
            found = np.ravel_multi_index(tuple(case.view.cells(cell, case.kind)[source].T), case.shapes[source])
        if not np.array_equal(np.sort(of[out == i]), found):
            raise AssertionError(f"{case.name}: pairs of output {i} with {source} say otherwise")


def kept_table(kept: dict[str, dict[str, Any]]) -> dict[str, Any]:
    def row(name: str, found: dict[str, Any]) -> list[str]:
        bound = found["bound"]
        return [
            name,
            f"{found['kept']:,}",
            f"{found['raw']:,}, {share(found['kept'] / found['raw'])}",
            f"{found['parquet']:,}, {part(found['parquet'] / found['kept'])}",
            f"{found['provrc']:,}",
            f"{bound:,.0f}, {found['kept'] / bound:.2f}×" if bound else "regular",
        ]

    note = (
        f"Bytes. Aims: where it is regular, {REGULAR_OF_RAW:.1%} of raw pairs and 1/{1 / REGULAR_OF_PARQUET:,.0f} of Parquet; "
        f"else {IRREGULAR_OF_BOUND} times the information in it. Parquet: two int64 columns with zstd, as polars writes them. "
        "ProvRC: its table in the smallest integers, with zstd where less. traceprop: all steps of the program, in memory."
    )
    head = ["lineage of", "traceprop", "raw pairs, share", "Parquet + zstd, part", "ProvRC", "information"]
    return table(head, [row(*item) for item in kept.items()], note)


# -- ratios -----------------------------------------------------------------------------------------------------------


def compare(step: lineage_costs.Step, turns: int) -> dict[str, Any]:
    """Time a step with lineage against the same without, and against polars; steps of microseconds run in hundreds."""
    times = 1

    def often(call: Callable[[], Any], granularity: str | None = "op") -> Callable[[], Any]:
        def run() -> Any:
            with tp.granularity(granularity):
                return [call() for _ in range(times)]

        return run

    with_lineage, without, polars = often(step.traced), often(step.traced, None), often(step.polars)
    if not with_lineage()[0].equals(without()[0]) or with_lineage()[0].height != polars()[0].height:
        raise AssertionError(f"{step.name}: lineage changed the result")
    times = 1 if seconds(with_lineage) > 2e-3 else 200
    against = {
        "without": interleaved(without, with_lineage, 2 * turns + 1),
        "polars": interleaved(polars, with_lineage, 2 * turns + 1),
    }
    return {"aim": step.aim, "times": times, **against}


def costs_table(costs: dict[str, dict[str, Any]], n: int) -> dict[str, Any]:
    def row(name: str, found: dict[str, Any]) -> list[str]:
        engine, polars = found["without"], found["polars"]
        milliseconds = 1000 / found["times"]
        return [
            name,
            f"{milliseconds * engine['traced_seconds']:.3g} ms",
            f"{milliseconds * engine['plain_seconds']:.3g} ms",
            f"{engine['median']:.2f}, {engine['low']:.2f} to {engine['high']:.2f}",
            f"{found['aim']:.2f}",
            f"{milliseconds * polars['plain_seconds']:.3g} ms",
            f"{polars['median']:.2f}, {polars['low']:.2f} to {polars['high']:.2f}",
        ]

    note = (
        f"{n:,} rows; medians and middle halves of ratios, in turns. Every call runs anew. "
        "A projection copies nothing: its microseconds are those of the call."
    )
    head = ["step", "with lineage", "without", "ratio", "aim", "polars", "with lineage, of polars"]
    return table(head, [row(*item) for item in costs.items()], note)


def digits(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 20 else f"{ratio:.1f}"


def share(ratio: float) -> str:
    return f"{ratio:.1%}" if ratio >= 0.01 else f"{ratio:.4%}"


def part(ratio: float) -> str:
    return f"1/{ratio:,.0f}" if ratio >= 20 else f"1/{ratio:.1f}"
