"""Draws the demo's three files from the whole Adult data set: `python -m traceprop.demo.make_data adult.csv.gz`.

The same input gives the same bytes. Rows are copied as text, so that a line here is a line there.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
TRAIN_ROWS = 32_561  # rows of adult.data; those after it are adult.test
OFFICE_ROWS, HELD_OUT_ROWS = 3_000, 1_500
SEED = 1996  # the year of the data set


def write(path: Path, header: str, lines: np.ndarray) -> None:
    """Write `lines` under `header`, compressed without a name or a time, so that equal text gives equal bytes."""
    text = "\n".join([header, *lines.tolist(), ""])
    path.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))


def main(adult: Path) -> None:
    """Write north_office, south_office and held_out (`.csv.gz`), each row in the order of the original file."""
    header, *rows = gzip.decompress(adult.read_bytes()).decode("utf-8").splitlines()
    lines = np.array(rows, dtype=object)
    if len(lines) != 48_842:
        raise SystemExit(f"{adult} has {len(lines)} rows; the Adult data set has 48842 (adult.data, then adult.test)")
    rng = np.random.default_rng(SEED)
    drawn = rng.choice(TRAIN_ROWS, size=2 * OFFICE_ROWS, replace=False)
    held_out = TRAIN_ROWS + rng.choice(len(lines) - TRAIN_ROWS, size=HELD_OUT_ROWS, replace=False)
    write(DATA / "north_office.csv.gz", header, lines[np.sort(drawn[:OFFICE_ROWS])])
    write(DATA / "south_office.csv.gz", header, lines[np.sort(drawn[OFFICE_ROWS:])])
    write(DATA / "held_out.csv.gz", header, lines[np.sort(held_out)])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m traceprop.demo.make_data adult.csv.gz")
    main(Path(sys.argv[1]))
