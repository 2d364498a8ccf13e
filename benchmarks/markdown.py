"""Tables of results as Markdown."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from benchmarks.harness import tables


def markdown(result: dict[str, Any], rows: str | None = None) -> str:
    """Return a result's tables as Markdown, with what it was measured on; `rows`: a pattern of those to be shown."""
    place = result["measured_on"]
    chosen = (
        tables(result)
        if rows is None
        else [each for each in map(partial(picked, rows=rows), tables(result)) if each["rows"]]
    )
    if rows is not None and not chosen:
        raise LookupError(f"no row of {result['name']} begins with {rows!r}")
    shown = "\n\n".join(map(markdown_table, chosen))
    space = "" if shown.endswith("\n") else " "  # below a note, or below the table
    return f"{shown}{space}Measured on {place['cores']} cores of {place['processor']}."


def picked(shown: dict[str, Any], rows: str) -> dict[str, Any]:
    """Return a table with the rows that begin as the pattern says; the first of those that share a first cell names it."""
    kept: list[list[str]] = []
    above, named = "", ""
    for cells in shown["rows"]:
        above = cells[0] or above
        if re.match(rows, " | ".join([above, *cells[1:], ""])):
            kept.append([cells[0] if named == above else above, *cells[1:]])
            named = above
    return {**shown, "rows": kept}


def markdown_table(shown: dict[str, Any]) -> str:
    """Return one table as Markdown, with its note below."""
    lines = ["| " + " | ".join(shown["head"]) + " |", "| --- |" + " ---: |" * (len(shown["head"]) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in shown["rows"]]
    return "\n".join([*lines, "", shown["note"]])
