"""docs/runtime.md: its code runs, and the code and the programs that it shows are those that run."""

import re
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).parent.parent.parent / "docs" / "runtime.md").read_text(encoding="utf-8")


def test_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prose, *blocks = PAGE.split("```python\n")
    code = "\n" * prose.count("\n") + "\n"  # so that an error names the page's line
    for block in blocks:
        inside, prose = block.split("```", 1)
        code += inside + "\n" * (prose.count("\n") + 1)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "docs/runtime.md", "exec"), names)
    code, *programs = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert names["code"] == code
    assert [names["programs"][level].rstrip() for level in ("op", "epoch", None)] == [
        text.rstrip() for text in programs
    ]
    assert names["programs"]["batch"] == names["programs"]["op"]
