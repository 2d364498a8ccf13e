"""docs/granularity.md: its code runs, and the programs on it are those of the function at each level."""

import re
from pathlib import Path

import pytest

import traceprop as tp
from traceprop.ir import dump

PAGE = (Path(__file__).parent.parent.parent / "docs" / "granularity.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_code_runs():
    exec(compile("\n".join(BLOCKS), "docs/granularity.md", "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("level", ["op", "batch", "epoch"])
def test_the_program_of_a_level(level):
    scope = {"__name__": "docs"}
    exec(compile(BLOCKS[0], "docs/granularity.md", "exec"), scope)
    (text,) = re.findall(rf"```text {level}\n(.*?)\n```", PAGE, re.DOTALL)
    with tp.granularity(level):
        program = scope["prepare"].ir(scope["x"], stage="optimized")
    assert dump(program, maps=False, locations=False).rstrip() == text.rstrip()
