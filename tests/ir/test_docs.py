"""docs/ir.md: its programs are what the printer prints, its code runs, its table of ops is complete."""

import re
from pathlib import Path

import pytest

from traceprop.ir import OPSET, parse

PAGE = (Path(__file__).parent.parent.parent / "docs" / "ir.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL))
def test_programs_are_as_printed(text):
    assert str(parse(text)) == text


def test_every_op_is_shown():
    (text,) = re.findall(r"```text\n(func @ops.*?)\n```", PAGE, re.DOTALL)
    assert {op.definition.name for op in parse(text)} == set(OPSET)
    assert re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", PAGE, re.MULTILINE) == [
        (op.name, op.payload, op.doc) for op in OPSET.values()
    ]


def test_code_runs():
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "docs/ir.md", "exec"), {})
