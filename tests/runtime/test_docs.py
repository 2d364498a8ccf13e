"""docs/runtime.md: its code runs, and the code it shows is what is generated."""

import re
from pathlib import Path

PAGE = (Path(__file__).parent.parent.parent / "docs" / "runtime.md").read_text(encoding="utf-8")


def test_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prose, *blocks = PAGE.split("```python\n")
    code = "\n" * prose.count("\n") + "\n"  # so that an error names the page's line
    for block in blocks:
        inside, prose = block.split("```", 1)
        code += inside + "\n" * (prose.count("\n") + 1)
    names = {"__name__": "page"}
    exec(compile(code, "docs/runtime.md", "exec"), names)
    shown = re.search(r"```text\n(def positive.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    assert names["code"] == shown[1]
