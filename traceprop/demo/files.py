"""The demo's files in the user's folder: decompressed, so that any of them can be opened at the line that is named."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from traceprop.reports.atomic import write_text

OFFICES = ("north_office", "south_office")


@dataclass(frozen=True, slots=True)
class Files:
    """Where the two offices' deliveries and the held-out rows are."""

    folder: Path
    north_office: Path
    south_office: Path
    held_out: Path

    def office(self, source_id: str) -> Path:
        """Return the file of one office."""
        return {"north_office": self.north_office, "south_office": self.south_office}[source_id]


def unpack(folder: Path) -> Files:
    """Write the three files that ship with the package to `folder`, and the note on where they come from."""
    data = resources.files("traceprop.demo") / "data"
    paths = {}
    for name in (*OFFICES, "held_out"):
        text = gzip.decompress((data / f"{name}.csv.gz").read_bytes()).decode("utf-8")
        paths[name] = write_text(folder / f"{name}.csv", text)
    write_text(folder / "ABOUT-THE-DATA.md", (data / "README.md").read_text(encoding="utf-8"))
    return Files(folder, **paths)


def copy_rows(source: Path, target: Path, rows: Iterable[int] | np.ndarray, keep: bool = True) -> Path:
    """Write the header of `source` and its lines of `rows` (all the others where `keep` is false), in their order."""
    header, *lines = source.read_text(encoding="utf-8").splitlines()
    chosen = np.zeros(len(lines), dtype=bool)
    chosen[np.asarray(rows, dtype=np.int64)] = True
    kept = np.array(lines, dtype=object)[chosen if keep else ~chosen]
    return write_text(target, "\n".join([header, *kept.tolist(), ""]))


def columns(path: Path) -> list[str]:
    """Return the names in a file's header."""
    with open(path, encoding="utf-8") as file:
        return file.readline().rstrip("\n").split(",")
