"""docs/lineage.md: its code runs."""

from pathlib import Path

PAGE = (Path(__file__).parent.parent.parent / "docs" / "lineage.md").read_text(encoding="utf-8")


def test_code_runs(tmp_path, monkeypatch, data_dir):
    (tmp_path / "berka").symlink_to(data_dir.resolve() / "berka")
    monkeypatch.chdir(tmp_path)
    prose, *blocks = PAGE.split("```python\n")
    code = "\n" * (prose.count("\n") + 1)  # so that an error names the page's line
    for block in blocks:
        inside, prose = block.split("```", 1)
        code += inside + "\n" * (prose.count("\n") + 1)
    exec(compile(code, "docs/lineage.md", "exec"), {"__name__": "page"})
