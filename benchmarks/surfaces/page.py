"""`docs/coverage.md`, made of benchmarks/results/coverage.json: function by function, what is exact and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.harness import read_result
from benchmarks.markdown import markdown_table

PAGE = Path(__file__).parent.parent.parent / "docs" / "coverage.md"
HEAD = """# What traces

Made by `python -m benchmarks coverage` and `make readme`; each function below was run on made-up inputs. **Exact**: the traced
function gives what the plain one gives, and its lineage names the cells that matter, all of them and no other, as changed cells
show. *Inexact*: sound, and lineage names more, which `view.exact` says. *Refused*: an error that says what to write instead. A
function with several cases (axes, options, kinds of arrays) counts by the worst.
"""


def page(result: dict[str, Any]) -> str:
    """The page as Markdown."""
    parts = [HEAD, markdown_table({**result["table"], "note": ""}).rstrip()]
    for front, found in result["fronts"].items():
        parts.append(f"\n## {front}")
        for family, functions in found["families"].items():
            parts.append(f"\n### {family[:1].upper()}{family[1:]}\n")
            exact = [f"`{_cell(name)}`" for name, each in functions.items() if each["outcome"] == "exact"]
            parts.append(f"Exact ({len(exact)}): {', '.join(exact) or 'none'}.")
            rest = {name: each for name, each in functions.items() if each["outcome"] != "exact"}
            if rest:
                parts.append("\n| function | is | cases exact | why |\n| --- | --- | ---: | --- |")
                parts += [
                    f"| `{_cell(name)}` | {each['outcome']} | {each['exact']} of {each['cases']} | {_cell(each['why'])} |"
                    for name, each in rest.items()
                ]
        if found["left_out"]:
            parts.append("\n### Left out\n")
            reasons: dict[str, list[str]] = {}
            for name, reason in found["left_out"].items():
                reasons.setdefault(reason, []).append(f"`{_cell(name)}`")
            parts += [f"- {reason}: {', '.join(names)}" for reason, names in reasons.items()]
    return "\n".join(parts) + "\n"


def _cell(text: str) -> str:
    """Text that stands in one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def write() -> None:
    """Writes the page, where the coverage has been measured."""
    from traceprop.reports.atomic import write_text

    result = read_result("coverage")
    if result is not None:
        write_text(PAGE, page(result))
