"""Laws of the algebra of sizes and positions."""

import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import expressions
from traceprop.ir.expr import evaluate, floordiv, maximum, minimum, mod, substitute, symbol, symbols_of
from traceprop.ir.syntax import read_line

NAMES = ("N", "M", "i", "j")
environments = st.fixed_dictionaries({name: st.integers(0, 50) for name in NAMES})
OPERATORS = {
    "+": (operator.add, operator.add),
    "-": (operator.sub, operator.sub),
    "*": (operator.mul, operator.mul),
    "min": (minimum, min),
    "max": (maximum, max),
}


@pytest.mark.parametrize("name", OPERATORS)
@given(a=expressions(), b=expressions(), values=environments)
def test_evaluate_commutes_with_every_operator(name, a, b, values):
    symbolic, plain = OPERATORS[name]
    assert evaluate(symbolic(a, b), values) == plain(evaluate(a, values), evaluate(b, values))


@given(a=expressions(), divisor=st.integers(1, 9), values=environments)
def test_division_is_pythons(a, divisor, values):
    number = evaluate(a, values)
    assert evaluate(floordiv(a, divisor), values) == number // divisor
    assert evaluate(mod(a, divisor), values) == number % divisor


@given(a=expressions(), b=expressions(), c=expressions())
def test_sums_and_products_have_one_form(a, b, c):
    for left, right in [
        (a + b, b + a), ((a + b) + c, a + (b + c)), (a * b, b * a), (a * (b + c), a * b + a * c), (a - a, 0), (a - b, -(b - a)),
        (minimum(a, b), minimum(b, a)), (maximum(a, a), a),
    ]:  # fmt: skip
        assert left == right
        assert str(left) == str(right)
        assert hash(left) == hash(right)


@given(a=expressions(), replaced=st.dictionaries(st.sampled_from(NAMES), expressions(depth=2)), values=environments)
def test_substitute_commutes_with_evaluate(a, replaced, values):
    inner = {**values, **{name: evaluate(dim, values) for name, dim in replaced.items()}}
    assert evaluate(substitute(a, replaced), values) == evaluate(a, inner)


@given(a=expressions())
def test_no_symbol_is_invented(a):
    assert symbols_of(a) <= set(NAMES)
    assert evaluate(a, dict.fromkeys(symbols_of(a), 3)) == evaluate(a, dict.fromkeys(NAMES, 3))


@given(a=expressions(depth=8))
def test_text_reads_back(a):
    line = read_line(f"%0 = op {{x={a}}}", "op")
    assert line.attrs["x"] == a


@given(a=expressions(), values=environments)
def test_arrays_are_evaluated_cell_by_cell(a, values):
    column = np.arange(5)
    many = np.broadcast_to(evaluate(a, {**values, "i": column}), (5,))
    assert many.tolist() == [evaluate(a, {**values, "i": int(k)}) for k in column]


def test_a_leading_minus_before_a_quotient_has_brackets():
    n = symbol("N")
    assert str(-(n // 4)) == "-(N//4)"
    assert str((-n) // 4) == "(-N)//4"
    assert str(symbol("M") - n // 4) == "M-N//4"


def test_multiples_come_out_of_quotients():
    i = symbol("i")
    assert floordiv(4 * i + 3, 4) == i
    assert mod(4 * i + 3, 4) == 3


def test_an_unknown_symbol_is_named():
    with pytest.raises(KeyError, match="N"):
        evaluate(symbol("N"), {})
