"""`python -m benchmarks.readme`: writes the README's tables from benchmarks/results, between their markers, and docs/coverage.md.

A table stands between `<!-- benchmarks:NAME -->` and `<!-- /benchmarks:NAME -->`; the text between is replaced whole.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.harness import read_result, tables

README = Path(__file__).parent.parent / "README.md"
MARKED = re.compile(r"<!-- benchmarks:(\w+) -->\n.*?<!-- /benchmarks:\1 -->", re.DOTALL)


def markdown(result: dict[str, Any]) -> str:
    """Return the table of a result, or its tables, as Markdown, with what it was measured on."""
    place = result["measured_on"]
    shown = "\n\n".join(markdown_table(each) for each in tables(result))
    space = "" if shown.endswith("\n") else " "  # below a note, or below the table
    return f"{shown}{space}Measured on {place['cores']} cores of {place['processor']}."


def markdown_table(shown: dict[str, Any]) -> str:
    """Return one table as Markdown, with its note below."""
    lines = ["| " + " | ".join(shown["head"]) + " |", "| --- |" + " ---: |" * (len(shown["head"]) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in shown["rows"]]
    return "\n".join([*lines, "", shown["note"]])


def updated(text: str) -> str:
    """Return `text` with every marked table as the results say."""

    def replacement(match: re.Match[str]) -> str:
        name = match[1]
        result = read_result(name)
        body = markdown(result) if result else f"Not measured yet: `python -m benchmarks {name}`."
        return f"<!-- benchmarks:{name} -->\n{body}\n<!-- /benchmarks:{name} -->"

    return MARKED.sub(replacement, text)


def main() -> None:
    from benchmarks.surfaces.page import write as write_coverage
    from traceprop.reports.atomic import write_text

    write_text(README, updated(README.read_text(encoding="utf-8")))
    write_coverage()


if __name__ == "__main__":
    main()
