"""docs/stores.md: its code runs."""

import re

from tests.stores.asking import ROOT

PAGE = (ROOT / "docs" / "stores.md").read_text(encoding="utf-8")


def test_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "docs/stores.md", "exec"), {"__name__": "docs"})
