"""docs/valuation.md: its code runs, and its table names every method."""

import re
from pathlib import Path

from traceprop.explain.valuation import METHODS

PAGE = (Path(__file__).parent.parent.parent / "docs" / "valuation.md").read_text(encoding="utf-8")


def test_code_runs():
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "docs/valuation.md", "exec"), {"__name__": "docs"})


def test_every_method_is_there():
    assert set(re.findall(r'^\| `"([\w-]+)"`', PAGE, re.MULTILINE)) == set(METHODS)
