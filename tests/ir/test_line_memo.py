"""Lines that differ in names, line numbers and a constant are read by the grammar once, and give what it gives."""

from __future__ import annotations

import pytest

import traceprop.ir.parser
from traceprop.errors import ParseError
from traceprop.ir import Program, parse

STEP = """\
  %{a}: f64[] = constant {{value={value}}} loc("a.py":{a} in "f")
  %{b}: f64[N,2] = elementwise[numpy.add](%{x}, %{a}) loc("a.py":{b} in "f")     # (i, j) <- %{x}[i, j], %{a}[]
"""


def chain(values: list[str], last: str = "") -> str:
    lines = "".join(
        STEP.format(a=2 * k, b=2 * k + 1, x=2 * k - 1 if k else "x", value=value) for k, value in enumerate(values)
    )
    return f"func @f(%x: f64[N,2]) -> f64[N,2] {{\n{lines}{last}  return %{2 * len(values) - 1}\n}}"


def test_one_line_of_each_kind_is_read_by_the_grammar(monkeypatch):
    read = []
    by_grammar = traceprop.ir.parser.read_line

    def spy(text: str, rule: str) -> object:
        read.append(rule)
        return by_grammar(text, rule)

    monkeypatch.setattr(traceprop.ir.parser, "read_line", spy)
    text = chain([f"{k}.5" for k in range(200)])
    program = parse(text)
    assert [op.attrs["value"] for op in program.ops[::2]] == [k + 0.5 for k in range(200)]
    assert [op.location.line for op in program.ops] == list(range(400))
    # Twice where the first operand is a parameter: its name is a word of its own, its line is like the others.
    assert read.count("op") <= 4
    assert parse(str(program)) == program


@pytest.mark.parametrize("value", ["-0.0", "1.5", "-2.25e-3", "0.1", "1e300", "inf", "nan", "-inf", "123456789.125"])
def test_constants_are_what_the_grammar_reads(value):
    first, second = (parse(chain(given)).ops for given in ([value, "3.5", value], [value]))
    assert repr(first[4].attrs["value"]) == repr(second[0].attrs["value"]) == repr(float(value))


def whole(value: str) -> Program:
    return parse(
        f"func @f() -> i64[] {{\n  %0: i64[] = constant {{value=7}}\n  %1: i64[] = constant {{value={value}}}\n  return %1\n}}"
    )


def test_whole_constants():
    assert [whole(value).ops[1].attrs["value"] for value in ("-0", "-5", "12", "00012")] == [0, -5, 12, 12]
    with pytest.raises(ParseError, match="not i64"):
        whole(str(2**80))


@pytest.mark.parametrize(
    "line",
    [
        "  %4: f64[N,2] = elementwise[numpy.add](%, %0)",
        "  %: f64[N,2] = elementwise[numpy.add](%x, %0)",
        '  %4: f64[] = constant {value=\x01} loc("a.py":4 in "f")',
        '  %4: f64[] = constant {value=\x02} loc("a.py":4 in "f")',
        '  %4: f64[] = constant {value=1.5} loc("a.py":\x00 in "f")',
        '  %4: f64[] = constant {value=1} loc("a.py":4 in "f")',
        '  %1: f64[] = constant {value=1.5} loc("a.py":4 in "f")',
        '  %4: f64[N,2] = elementwise[numpy.add](%9, %0) loc("a.py":4 in "f")',
        '  %4: f64[N,2] = elementwise[numpy.add](%0, %9) loc("a.py":4 in "f")',
        '  %1: f64[N,2] = elementwise[numpy.add](%x, %1) loc("a.py":4 in "f")',
    ],
)
def test_mistakes_in_what_looks_like_a_known_line_are_the_grammars(line, monkeypatch):
    text = chain(["1.5", "2.5"], line + "\n")
    with pytest.raises(ParseError) as memoised:
        parse(text)
    monkeypatch.setattr(traceprop.ir.parser, "LineMemo", lambda read: read)
    with pytest.raises(ParseError) as by_grammar:
        parse(text)
    assert str(memoised.value) == str(by_grammar.value)
    assert (memoised.value.line, memoised.value.column) == (by_grammar.value.line, by_grammar.value.column)
