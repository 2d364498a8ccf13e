"""What tracing costs: the demo's preparation, traced, against the same in pandas and NumPy, measured in turns.

Both get the same files. `prepare` starts from tables in memory; `read and prepare` from the files. Each traced call
makes new lazy values and runs the program; the first call, which also traces and compiles, is reported apart. The whole
Adult data set is cut into two offices where TRACEPROP_DATA names it.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import interleaved, ratio_cells, table


def main(quick: bool = False) -> dict[str, Any]:
    pairs = 5 if quick else 31
    with tempfile.TemporaryDirectory() as folder:
        measured = {
            f"{step}, {rows:,} rows": interleaved(plain, traced, pairs)
            for rows, north, south in offices(Path(folder), quick)
            for step, (plain, traced) in pipelines(north, south).items()
        }
    rows = [
        [*ratio_cells(name, times), f"{1000 * times['traced_first_seconds']:.0f} ms"]
        for name, times in measured.items()
    ]
    head = ["pipeline", "pandas", "traceprop", "ratio", "middle half of ratios", "first traced call"]
    note = f"A ratio above 1 is what tracing costs; below 1 it would pay. Medians of {pairs} pairs."
    return {"measured": measured, "table": table(head, rows, note)}


def offices(folder: Path, quick: bool) -> list[tuple[int, Path, Path]]:
    """The demo's two files, and all of Adult in two halves where it is at hand: (rows, north, south)."""
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


def pipelines(north: Path, south: Path) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Each step both ways, plain first."""
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
