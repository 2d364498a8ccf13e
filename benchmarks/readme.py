"""`python -m benchmarks.readme`: writes the tables of docs/figures.md and README from benchmarks/results, and docs/coverage.md.

A table stands between `<!-- benchmarks:NAME -->` and `<!-- /benchmarks:NAME -->`; the text between is replaced whole.
docs/figures.md has every row, the README those that `HEADLINES` picks.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.harness import read_result
from benchmarks.markdown import markdown
from benchmarks.surfaces.page import write as write_coverage

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
    from traceprop.reports.atomic import write_text

    write_text(README, updated(README.read_text(encoding="utf-8"), HEADLINES))
    write_text(FIGURES, updated(FIGURES.read_text(encoding="utf-8")))
    write_coverage()


if __name__ == "__main__":
    main()
