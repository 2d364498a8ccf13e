"""Programs as text and back: golden dumps, round trips, and texts that are refused."""

import random
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings

from tests.ir.examples import PROGRAMS
from tests.strategies import programs
from traceprop.errors import ParseError
from traceprop.ir import (
    ArrayType,
    GivenMap,
    GivenRead,
    Location,
    Op,
    Param,
    Program,
    constants_of,
    dump,
    parse,
    symbol,
    verify,
)
from traceprop.ir.index_map import axes
from traceprop.ir.opset import constant, elementwise, loop, opaque, reduce


@pytest.mark.parametrize("name", PROGRAMS)
def test_dump(name, golden):
    assert dump(parse(PROGRAMS[name])) == golden


@settings(max_examples=200)
@given(program=programs())
def test_every_program_verifies_and_reads_back(program):
    verify(program)
    text, constants = dump(program), constants_of(program)
    again = parse(text, constants)
    assert again == program
    assert dump(again) == text
    assert [op.exact for op in again] == [op.exact for op in program]
    for options in ({"maps": False}, {"locations": False}, {"maps": False, "locations": False}):
        if all(op.definition is not opaque for op in program) or "maps" not in options:
            assert dump(parse(dump(program, **options), constants), **options) == dump(program, **options)


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_maps_may_be_left_out(text):
    assert dump(parse(text), maps=False) == text


def test_types_may_be_left_out_where_the_rule_gives_them():
    program = parse("""
        # rows by position
        func @pick(
            %x: f32[N,3],
            %i: i64[M], %j: i64[2]
        ) -> f32[2,3] {
          %rows = gather(%x, %i) {axis=0}

          %1 = gather(%rows, %j) {axis=0}  # (i,j)<-%rows[ %j[i],j ], control %j[i]
          return %1
        }""")
    assert dump(program, maps=False).splitlines()[1:3] == [
        "  %0: f32[M,3] = gather(%x, %i) {axis=0}",
        "  %1: f32[2,3] = gather(%0, %j) {axis=0}",
    ]


def test_arrays_are_found_in_the_side_table():
    array = np.arange(6.0).reshape(2, 3)
    op = Op(constant, [], {"value": array})
    program = Program("f", (), (op,), (op.result,))
    assert re.search(r"constant\[sha256:[0-9a-f]{16}\]", str(program))
    again = parse(str(program), constants_of(program))
    assert np.array_equal(again.ops[0].attrs["value"], array)
    with pytest.raises(ParseError, match=r"the array sha256:\w+ is not in the text; pass it in constants="):
        parse(str(program))
    with pytest.raises(ParseError, match="another content"):
        parse(str(program), dict.fromkeys(constants_of(program), array + 1))


def opaque_program(rule):
    x = Param("x", ArrayType("f64", (symbol("N"), 2)))
    op = Op(opaque, [x], {"shape": (symbol("N"),)}, "scipy.special.expit", "f64", rule=rule)
    return Program("f", (x,), (op,), (op.result,))


def test_a_map_without_a_rule_is_the_map():
    given_map = opaque_program(GivenMap((GivenRead(0, (axes(1)[0], 1)),)))
    assert "# (i) <- %x[i, 1]" in str(given_map)
    again = parse(str(given_map))
    assert again.ops[0].exact
    assert again.ops[0].reads[0].axes == (axes(1)[0], 1)
    other = Param("y", ArrayType("f64", (symbol("N"), 2)))
    assert again.ops[0].with_operands([other]).reads[0].operand is other


def test_a_map_may_hold_more_than_is_read_and_say_so():
    coarse = opaque_program(GivenMap((GivenRead(0, (axes(1)[0], 1)),), exact=False))
    assert "# inexact (i) <- %x[i, 1]" in str(coarse)
    again = parse(str(coarse))
    assert again == coarse
    assert not again.ops[0].exact
    assert again.ops[0].reads[0].axes == (axes(1)[0], 1)


def test_a_number_may_stand_for_one_of_a_narrower_dtype():
    text = "func @f() -> f32[] {\n  %0: f32[] = constant {value=0.5}\n  return %0\n}"
    assert str(parse(text)) == text
    with pytest.raises(ParseError, match=r"gives f64\[\], not i32\[\]"):
        parse(text.replace("f32", "i32"))


def test_nothing_known_and_nothing_read_are_told_apart():
    assert "# inexact (i) <- %x[*, *]" in str(opaque_program(None))
    assert not parse(str(opaque_program(None))).ops[0].exact
    assert "# (i) <- nothing" in str(opaque_program(GivenMap(())))
    assert parse(str(opaque_program(GivenMap(())))).ops[0].reads == ()


HEAD = "func @f(%x: f64[N,4], %m: bool[N]) -> f64[N,4] {\n"
LOOP = HEAD + "  %0: f64[N,4] = loop[f](%x) {carries=1, length=3}\n"
BODY = "    func @body(%c: f64[N,4]) -> f64[N,4] {\n      %0: f64[N,4] = elementwise[f](%c)\n      return %0\n    }\n"
TAIL = "  return %0\n}"
REFUSED = {
    "empty": ("", 1, "unexpected the end of the line; expected 'func'"),
    "no brace": ("func @f() -> ()", 1, "expected '{'"),
    "unknown op": (HEAD + "  %0 = gahter(%x, %m)\n  return %x\n}", 2, "no op 'gahter'; did you mean 'gather'?"),
    "undefined": (HEAD + "  %0 = transpose(%y) {axes=(1, 0)}\n  return %x\n}", 2, "%y is not defined before this line"),
    "twice": (HEAD + "  %x = transpose(%x) {axes=(1, 0)}\n  return %x\n}", 2, "%x is defined twice"),
    "dtype": ("func @f(%x: f65[N]) -> () {", 1, "there is no dtype 'f65'; did you mean"),
    "wrong type": (HEAD + "  %0: f64[N,4] = transpose(%x) {axes=(1, 0)}\n  return %x\n}", 2, "gives f64[4,N], not f64[N,4]"),
    "type rule": (HEAD + "  %0 = transpose(%x) {axes=(1, 1)}\n  return %x\n}", 2, "no permutation"),
    "no attribute": (HEAD + "  %0 = transpose(%x)\n  return %x\n}", 2, "transpose needs the attribute axes"),
    "odd attribute": (HEAD + '  %0 = transpose(%x) {axes=3}\n  return %x\n}', 2, "do not fit transpose"),
    "no operand": (HEAD + "  %0 = transpose {axes=(1, 0)}\n  return %x\n}", 2, "do not fit transpose"),
    "payload missing": (HEAD + "  %0: f64[4] = reduce(%x) {axes=(0,)}\n  return %x\n}", 2, "reduce needs the function"),
    "payload extra": (HEAD + "  %0 = transpose[numpy.T](%x) {axes=(1, 0)}\n  return %x\n}", 2, "takes no function"),
    "type missing": (HEAD + "  %0 = elementwise[numpy.isnan](%x)\n  return %x\n}", 2, "needs a type"),
    "no result": (HEAD + "  gather(%x, %m)\n  return %x\n}", 2, "gives a result"),
    "effect": (HEAD + "  %0 = record(%m) {slot=0}\n  return %x\n}", 2, "record gives no result"),
    "bracket": (HEAD + "  %0 = slice(%x) {index=(0,\n  return %x\n}", 2, "unexpected the end of the line"),
    "string": (HEAD + '  %0 = slice(%x) {index="a}\n  return %x\n}', 2, "unexpected"),
    "escape": (HEAD + '  %0 = slice(%x) {index="\\q"}\n  return %x\n}', 2, "escape"),
    "map": (
        HEAD + "  %0 = transpose(%x) {axes=(1, 0)}  # (i, j) <- %x[i, j]\n  return %x\n}",
        2, "the map is not that of transpose; expected # (i, j) <- %x[j, i]",
    ),
    "map's axes": (HEAD + "  %0 = transpose(%x) {axes=(1, 0)}  # (i) <- %x[j, i]\n  return %x\n}", 2, "is not that of"),
    "map's names": (HEAD + "  %0 = transpose(%x) {axes=(1, 0)}  # (a, b) <- %x[b, a]\n  return %x\n}", 2, "expected i"),
    "map's operand": (HEAD + "  %0 = transpose(%x) {axes=(1, 0)}  # (i, j) <- %m[j]\n  return %x\n}", 2, "no operand"),
    "given map": (
        HEAD + "  %0: f64[N] = opaque[f](%x) {shape=(N,)}  # (i) <- %x[i]\n  return %x\n}",
        2, "index map: has 1 places for the 2 axes",
    ),
    "size": (HEAD + "  %0 = iota {size=Q}\n  return %x\n}", 2, "what the size Q is"),
    "returns": (HEAD + "  return %m\n}", 2, "the head says that the function returns f64[N,4], but this returns bool[N]"),
    "no return": (HEAD + "}", 2, "has no return"),
    "no end": (HEAD + "  return %x\n", 3, "expected '}'"),
    "more": (HEAD + "  return %x\n}\nfunc", 4, "expected nothing after"),
    "zero": (HEAD + "  %0 = iota {size=N//0}\n  return %x\n}", 2, "division by zero"),
    "deep": (HEAD + "  %0 = iota {size=" + "(" * 5000 + "N" + ")" * 5000 + "}\n  return %x\n}", 2, "nested"),
    "big": (HEAD + "  %0 = iota {size=" + "*".join(["(A+B+C+D+E)"] * 60) + "}\n  return %x\n}", 2, "terms"),
    "long number": (HEAD + "  %0 = constant {value=" + "9" * 5000 + "}\n  return %x\n}", 2, "digits"),
    "negative dim": ("func @f(%x: f64[-3]) -> () {", 1, "a dim cannot be -3"),
    "columns": ("func @f(%x: table<a: i64, a: i64>[N]) -> () {", 1, "two columns named 'a'"),
    "no bodies": (HEAD + "  %0: f64[N,4] = loop[f](%x) {carries=1, length=3}\n  return %0\n}", 2, "with a length it has one"),
    "body reads outside": (LOOP + BODY.replace("(%c)", "(%x)") + TAIL, 4, "%x is not defined before this line"),
    "body takes another": (LOOP + BODY.replace("f64[N,4]", "f64[N,5]") + TAIL, 2, "gives %c of @body f64[N,4], but it takes"),
    "body without end": (LOOP + BODY.replace("    }\n", "") + TAIL, 6, "expected '}' after the return"),
    "body in a body's map": (
        LOOP + BODY.replace("(%c)", "(%c)  # (i, j) <- %c[j, i]") + TAIL, 4, "the map is not that of elementwise[f]",
    ),
    "loop's map": (LOOP.replace("3}", "3}  # (i, j) <- nothing") + BODY + TAIL, 2, "expected # (i, j) <- %x[i, j]"),
    "as nothing": (LOOP.replace("3}", "3} as %x") + TAIL, 2, "%x has no bodies that loop could share"),
    "as unknown": (LOOP.replace("3}", "3} as %7") + TAIL, 2, "%7 is not defined before this line"),
    "body of no loop": (HEAD + "  %0 = transpose(%x) {axes=(1, 0)}\n" + BODY + "  return %x\n}", 2, "takes no bodies"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    text, line, message = REFUSED[name]
    with pytest.raises(ParseError, match=re.escape(message)) as refused:
        parse(text)
    assert refused.value.line == line
    assert refused.value.column >= 1
    assert f"line {line}, column {refused.value.column}: " in str(refused.value)
    assert refused.value.__cause__ is None


def test_expected_tokens_are_named_in_words():
    with pytest.raises(ParseError) as refused:
        parse(HEAD + "  %0: f64[4] = reduce[numpy.mean](%x {axes=(0,)}\n  return %x\n}")
    assert str(refused.value) == (
        "line 2, column 38: unexpected '{'; expected ',' or ')'\n"
        "    %0: f64[4] = reduce[numpy.mean](%x {axes=(0,)}\n"
        "                                       ^"
    )


def mutated(text, random):
    """The text with a few characters, words or lines dropped, doubled, swapped or replaced."""
    for _ in range(random.randint(1, 3)):
        parts = random.choice([list(text), re.split(r"(\W)", text), text.splitlines(keepends=True)])
        k, other = random.randrange(len(parts)), random.randrange(len(parts))
        match random.randrange(4):
            case 0:
                del parts[k]
            case 1:
                parts.insert(k, parts[other])
            case 2:
                parts[k], parts[other] = parts[other], parts[k]
            case 3:
                parts[k] = random.choice(
                    [*'%@#"\\()[]{}<>=:,|*-0é\x00', "N", "0", "None", "-1", "table", "loc", "99999999999999999999"]
                )
        text = "".join(parts) or " "
    return text


def test_mutated_texts_are_parsed_or_refused_in_words():
    rng = random.Random(20261123)
    texts = [dump(parse(text)) for text in PROGRAMS.values()]
    places = []
    begun = time.perf_counter()
    for _ in range(500):
        text = mutated(rng.choice(texts), rng)
        try:
            program = parse(text)
        except ParseError as error:
            places.append((error.line, error.column, text.count("\n") + 1))
        else:
            assert parse(dump(program)) == program
    assert len(places) > 400
    assert all(1 <= line <= lines and column >= 1 for line, column, lines in places)
    assert time.perf_counter() - begun < 30


def test_long_programs_print_and_parse():
    x = start = Param("x", ArrayType("f64", (symbol("N"), 4)))
    ops = []
    for number in range(1500):
        mean = Op(reduce, [x], {"axes": (0,)}, "numpy.mean", location=Location("long.py", number + 1, "f"))
        ops += [mean, Op(elementwise, [x, mean.result], {}, "numpy.subtract", location=Location("long.py", number + 1))]
        x = ops[-1].result
    program = Program("long", (start,), tuple(ops), (x,))
    begun = time.perf_counter()
    assert parse(str(program)) == program
    assert time.perf_counter() - begun < 3000 * 2e-3


def test_lark_is_loaded_by_those_who_parse():
    code = (
        "import sys, traceprop.ir; assert 'lark' not in sys.modules; traceprop.ir.parse; assert 'lark' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_numpy_numbers_print_as_numbers():
    x = Param("x", ArrayType("f64", ()))
    op = Op(elementwise, [x], {"by": np.float64(0.5)}, "numpy.f")
    assert "{by=0.5}" in str(Program("f", (x,), (op,), (op.result,)))


def nested(depth):
    """A loop in a loop in a loop …"""
    text = "return %c"
    for _ in range(depth):
        text = (
            "%0: f64[] = loop[f](%c) {carries=1, length=3}\nfunc @body(%c: f64[]) -> f64[] {\n"
            + text
            + "\n}\nreturn %0"
        )
    return "func @f(%c: f64[]) -> f64[] {\n" + text + "\n}"


def test_bodies_may_stand_in_bodies():
    program = parse(nested(20))
    assert parse(str(program)) == program
    assert sum(1 for _ in program.walk()) == 20
    with pytest.raises(ParseError, match="bodies are nested more than 20 deep") as refused:
        parse(nested(1000))
    assert refused.value.line == 43


def test_equal_bodies_print_once():
    text = str(parse(LOOP + BODY + "  %1: f64[N,4] = loop[f](%0) {carries=1, length=9}\n" + BODY + "  return %1\n}"))
    assert text.count("func @body") == 1
    assert "loop[f](%0) {carries=1, length=9} as %0" in text
    alone = dump(parse(text), maps=False)
    assert dump(parse(alone), maps=False) == alone


def test_arrays_in_bodies_are_found_in_the_side_table():
    array = np.arange(3.0)
    held = Op(constant, [], {"value": array})
    c = Param("c", ArrayType("f64", (3,)))
    total = Op(elementwise, [c, held.result], {}, "numpy.add")
    body = Program("body", (c,), (held, total), (total.result,))
    start = Param("x", c.type)
    op = Op(loop, [start], {"carries": 1, "length": 3}, "jax.scan", "f64", regions=[body])
    program = Program("f", (start,), (op,), (op.result,))
    assert list(constants_of(program)) == list(constants_of(body)) != []
    assert parse(str(program), constants_of(program)) == program


def test_lines_of_one_skeleton_are_told_apart():
    lines = [
        '%0: f64[N%4] = opaque[f](%x) {shape=(N%4,)} loc("a.py":1)',
        '%1: f64[N%5] = opaque[f](%x) {shape=(N%5,)} loc("a.py":2)',
        '%2: f64[N] = elementwise[f](%x) {how="%x"} loc("a.py":3)',
        '%3: f64[N] = elementwise[f](%2) {how="%2"} loc("a.py":4 in "g")',
        '%4: f64[N] = elementwise[f](%3) {how="%2"} loc("a.py":5 in "g")',
        '%5: f64[N] = elementwise[f](%4) {how="%2"} loc("a.py":6 in "g")',
        "record(%4) {slot=0}",
        "record(%5) {slot=0}",
    ]
    text = "\n".join(["func @f(%x: f64[N]) -> f64[N] {", *(f"  {line}" for line in lines), "  return %5", "}"])
    assert dump(parse(text), maps=False) == text
    with pytest.raises(ParseError) as refused:
        parse(text.replace("(%4) {how", "(%9) {how").replace("%5:", "%15:").replace("%5", "%15"))
    assert (refused.value.line, refused.value.column) == (7, 32)
