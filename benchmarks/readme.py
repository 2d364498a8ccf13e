"""`python -m benchmarks.readme`: writes the tables of docs/figures.md and README from benchmarks/results, and docs/coverage.md.

A table stands between `<!-- benchmarks:NAME -->` and `<!-- /benchmarks:NAME -->`; the text between is replaced whole.
docs/figures.md has every row, the README those that `HEADLINES` picks.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import read_result, tables

README = Path(__file__).parent.parent / "README.md"
FIGURES = README.parent / "docs" / "figures.md"

# Rows of the README's tables, by how they begin (their cells, " | " between, a blank first cell filled from above);
# a table without such a row is left to docs/figures.md. Benchmarks that are not named here are shown whole.
HEADLINES = {
    "overhead": r"standardise, 10[²⁴⁷] cells \| [\d.]+ \||standardise, 10[²⁴⁷] cells, `auto` \||"
    r"standardise, 10⁷ cells; |MLP|ResNet|(healthcare|adult|compas)[^,]*, [\d,]+ rows \||"
    r"(logistic|MNIST).* \| (batch|epoch|op) \|",
    "granularity": "filtered, sorted, filtered",
    "lds": r"(influence|effect of|ekfac, |trak, )|(traker|dattri|kronfluence|captum).*(best of|explicit|TRAK|models)|"
    r"published traceprop 0.7.0, trak",
    "unlearning_networks": r".* \| (left alone|matching|rewind|compressed-replay|\*retrained networks\*) \|",
    "tracing": ".* 1,000 ops",
    "coverage": "[^–]|– primitives",
    "lineage": "one cell back|1,000 rows forward|.*random|element-wise|matmul|convolution of|"
    "(join|sort|filter|one-hot|projection) ",
    "projection": ".*1 thread",
    "topk": r".*2 threads|(memory|disk), float\d\d \|",
}
MARKED = re.compile(r"<!-- benchmarks:(\w+) -->\n.*?<!-- /benchmarks:\1 -->", re.DOTALL)


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


def updated(text: str, headlines: dict[str, str] | None = None) -> str:
    """Return `text` with every marked table as the results say; of the benchmarks in `headlines` some rows only."""

    def replacement(match: re.Match[str]) -> str:
        name = match[1]
        result = read_result(name)
        body = (
            markdown(result, (headlines or {}).get(name))
            if result
            else f"Not measured yet: `python -m benchmarks {name}`."
        )
        return f"<!-- benchmarks:{name} -->\n{body}\n<!-- /benchmarks:{name} -->"

    return MARKED.sub(replacement, text)


def main() -> None:
    from benchmarks.surfaces.page import write as write_coverage
    from traceprop.reports.atomic import write_text

    write_text(README, updated(README.read_text(encoding="utf-8"), HEADLINES))
    write_text(FIGURES, updated(FIGURES.read_text(encoding="utf-8")))
    write_coverage()


if __name__ == "__main__":
    main()
