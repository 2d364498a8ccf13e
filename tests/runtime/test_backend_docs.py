"""docs/backends.md: its code runs."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent.parent / "docs" / "backends.md").read_text(encoding="utf-8")


def test_code_runs():
    pytest.importorskip("jax")
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "docs/backends.md", "exec"), {"__name__": "docs"})
