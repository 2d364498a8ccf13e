"""Table pipelines against plain pandas: four of mlinspect's shape, and the demo's, with the lineage of all rows recorded."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workloads.mlinspect_shaped import pipelines
from benchmarks.workloads.pairs import PAIRS, in_turns


def main(quick: bool) -> dict[str, Any]:
    pairs = 5 if quick else PAIRS
    with tempfile.TemporaryDirectory() as folder:
        demo = [
            {"step": step, "rows": rows, **in_turns({"plain": plain, "traced": traced}, pairs)["traced"]}
            for rows, north, south in offices(Path(folder), quick)
            for step, (plain, traced) in prepared(north, south).items()
        ]
    return {"shapes": shapes(0.1 if quick else 1.0, pairs), "demo": demo}


def shapes(scale: float, pairs: int) -> list[dict[str, Any]]:
    """From tables in memory to features and labels in hand; `written out`: and every row beside its source rows, too."""
    import traceprop as tp

    found = []
    for each in pipelines(scale):
        traced, frames = tp.trace(each.traced), list(each.tables.values())
        tables = [tp.from_dataframe(frame, source_id=name) for name, frame in each.tables.items()]

        def run(traced: Any = traced, tables: Any = tables) -> list[np.ndarray]:
            return [np.asarray(value) for value in traced(*tables)]

        def run_and_write(traced: Any = traced, tables: Any = tables) -> Any:
            x, label = traced(*tables)
            return np.asarray(x), np.asarray(label), tp.provenance(x).row_pairs()

        for mine, theirs in zip(run(), each.plain(*frames), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)
        ways = {"plain": lambda each=each, f=frames: each.plain(*f), "recorded": run, "written out": run_and_write}
        rows = {"rows": len(frames[0]), "rows_out": len(run()[1])}
        for way, times in in_turns(ways, pairs).items():
            found.append({"pipeline": each.name, "way": way, **rows, **times})
    return found


def offices(folder: Path, quick: bool) -> list[tuple[int, Path, Path]]:
    """The demo's two files, and all of Adult in two halves where TRACEPROP_DATA names it: (rows, north, south)."""
    from traceprop.demo.files import unpack

    files = unpack(folder / "demo")
    found = [(6_000, files.north_office, files.south_office)]
    adult = Path(os.environ.get("TRACEPROP_DATA", "")) / "adult.csv.gz"
    if adult.is_file() and not quick:
        header, *lines = gzip.decompress(adult.read_bytes()).decode("utf-8").splitlines()
        halves = []
        for name, part in (("north", lines[: len(lines) // 2]), ("south", lines[len(lines) // 2 :])):
            path = folder / f"{name}.csv"
            path.write_text("\n".join([header, *part, ""]), encoding="utf-8")
            halves.append(path)
        found.append((len(lines), *halves))
    return found


def prepared(north: Path, south: Path) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """The demo's preparation both ways, plain first: from tables in memory, and from the files."""
    from traceprop.demo.pipeline import prepare
    from traceprop.demo.plain import prepare_plain, read
    from traceprop.demo.preparing import table as read_table

    def traced(tables: list[Any]) -> list[np.ndarray]:
        return [np.asarray(value) for value in prepare(*tables)]

    frames = [read(north), read(south)]
    tables = [read_table(path) for path in (north, south)]
    return {
        "prepare": (lambda: prepare_plain(*frames), lambda: traced(tables)),
        "read and prepare": (
            lambda: prepare_plain(read(north), read(south)),
            lambda: traced([read_table(path) for path in (north, south)]),
        ),
    }
