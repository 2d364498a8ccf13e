"""docs/dask.md: its code runs."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[3] / "docs" / "dask.md").read_text(encoding="utf-8")


def test_code_runs(client, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    with client.as_current():
        exec(compile(code, "page.py", "exec"), {"__name__": "page"})
    said = capsys.readouterr().out.splitlines()
    shown = [line.removeprefix("# ") for line in re.findall(r"^# .*$", code, re.MULTILINE) if line != "# …"]
    assert said[: len(shown)] == shown
