"""docs/passes.md: its code runs, its programs are what the passes make, its table is the pipeline."""

import re
from pathlib import Path

from traceprop.ir import parse
from traceprop.passes.pipeline import default_pipeline

PAGE = (Path(__file__).parent.parent.parent / "docs" / "passes.md").read_text(encoding="utf-8")


def test_code_runs():
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "docs/passes.md", "exec"), {"__name__": "docs"})


def test_before_and_after():
    (before,), (after,) = (
        re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL),
        re.findall(r"```text after\n(.*?)\n```", PAGE, re.DOTALL),
    )
    assert str(default_pipeline(record=True)(parse(before))) == after


def test_the_table_is_the_pipeline():
    (table,) = re.findall(
        r"\| pass \| equation \| why it is right \|\n\| --- \| --- \| --- \|\n(.*?)\n\n", PAGE, re.DOTALL
    )
    names = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert names == [step.name for step in default_pipeline(record=True).passes]
