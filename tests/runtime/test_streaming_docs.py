"""docs/streaming.md: its code runs."""

import re
from pathlib import Path

PAGE = (Path(__file__).parent.parent.parent / "docs" / "streaming.md").read_text(encoding="utf-8")


def test_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "docs/streaming.md", "exec"), {"__name__": "page"})
