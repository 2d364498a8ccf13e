"""`traceprop doctor`: what is installed, what is missing and how to get it, and whether a small program runs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

CORE = ("numpy", "scipy", "polars", "lark", "rich", "typer")
EXTRAS = {
    "torch": ("torch",),
    "jax": ("jax",),
    "sklearn": ("scikit-learn",),
    "pandas": ("pandas", "pyarrow"),
    "postgres": ("psycopg",),
    "dask": ("dask", "distributed"),
    "report": ("jinja2",),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `state` is `ok`, `missing` (works without it) or `broken`."""

    what: str
    state: str
    detail: str


def findings() -> list[Finding]:
    """Look at everything that traceprop leans on."""
    return [*_versions(), _kernels(), *_extras(), _stores(), _data(), _runs()]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> list[Finding]:
    found = [
        Finding("traceprop", "ok", _version("traceprop") or "run from its folder, not installed"),
        Finding("python", "ok" if sys.version_info >= (3, 11) else "broken", platform.python_version()),
    ]
    for name in CORE:
        version = _version(name)
        found.append(Finding(name, "ok" if version else "broken", version or f"not installed: pip install {name}"))
    return found


def _kernels() -> Finding:
    from traceprop.passes.kernels import dispatch

    if dispatch.HAVE_EXTENSION:
        return Finding("kernels", "ok", "compiled (Cython)")
    return Finding(
        "kernels",
        "missing",
        "NumPy twins: same answers, more slowly; with a C compiler, install traceprop again to compile them",
    )


def _extras() -> list[Finding]:
    found = []
    for extra, distributions in EXTRAS.items():
        versions = {name: _version(name) for name in distributions}
        if all(versions.values()):
            detail = ", ".join(f"{name} {version}" for name, version in versions.items())
            found.append(Finding(f"extra {extra}", "ok", detail))
        else:
            found.append(Finding(f"extra {extra}", "missing", f"pip install 'traceprop[{extra}]'"))
    return found


def _stores() -> Finding:
    """Tell where runs can be saved."""
    import sqlite3

    if sqlite3.sqlite_version_info < (3, 35):  # INSERT … RETURNING
        return Finding("stores", "broken", f"SQLite {sqlite3.sqlite_version} is too old: SQLiteStore needs 3.35")
    database = _version("psycopg")
    postgres = f"PostgreSQL by psycopg {database}" if database else "PostgreSQL with: pip install 'traceprop[postgres]'"
    return Finding("stores", "ok", f"SQLite {sqlite3.sqlite_version}, Parquet, {postgres}")


def _data() -> Finding:
    named = os.environ.get("TRACEPROP_DATA")
    if not named:
        return Finding(
            "data sets", "missing", "TRACEPROP_DATA is not set; only tests and benchmarks on real data need it"
        )
    if not Path(named).is_dir():
        return Finding("data sets", "broken", f"TRACEPROP_DATA names {named}, which is not a folder")
    return Finding("data sets", "ok", named)


def _runs() -> Finding:
    """Run a traced function on three rows and ask for the lineage of one."""
    import traceprop as tp

    rows = np.array([[1.0, 2.0], [3.0, 4.0], [8.0, 6.0]])
    try:
        x = tp.from_numpy(rows, source_id="doctor")
        centred = x - x.mean(axis=0)
        same = np.array_equal(np.asarray(centred), rows - rows.mean(axis=0))
        known = tp.provenance(centred).rows(1)["doctor"].tolist() == [1]
    except Exception as error:  # whatever it is, the doctor's task is to tell
        return Finding("a small program", "broken", f"{type(error).__name__}: {error}")
    if not (same and known):
        return Finding("a small program", "broken", "runs, but its values or its lineage are wrong")
    return Finding("a small program", "ok", "runs, with the values of NumPy and the right lineage")


def main(as_json: bool = False) -> int:
    """Print the findings; return 1 where something is broken, else 0."""
    found = findings()
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in found], indent=2) + "\n")
    else:
        _print(found)
    return int(any(finding.state == "broken" for finding in found))


def _print(found: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    signs = {"ok": ("ok", "green"), "missing": ("–", "yellow"), "broken": ("BROKEN", "bold red")}
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for finding in found:
        sign, style = signs[finding.state]
        table.add_row(Text(finding.what), Text(sign, style=style), Text(finding.detail))
    Console().print(table)
