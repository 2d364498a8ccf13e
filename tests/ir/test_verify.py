"""Programs broken by hand: each is refused by the invariant that it breaks, with the op, its operands and the line."""

import re

import pytest

from traceprop.errors import VerifyError
from traceprop.ir import (
    ArrayType,
    Bound,
    Field,
    Full,
    GivenLook,
    GivenMap,
    GivenRead,
    Location,
    Op,
    OpDef,
    Param,
    Program,
    Span,
    TableType,
    Value,
    symbol,
    verify,
)
from traceprop.ir.index_map import axes, axis
from traceprop.ir.opset import (
    branch,
    constant,
    elementwise,
    filter,
    gather,
    iota,
    loop,
    opaque,
    record,
    reduce,
    reshape,
    transpose,
)

N = symbol("N")
X = Param("x", ArrayType("f64", (N, 4)))
MASK = Param("mask", ArrayType("bool", (N,)))
HERE = Location("prep.py", 7, "prep")


def program(*ops, params=(X, MASK), returns=()):
    return Program("f", tuple(params), tuple(ops), tuple(returns))


def mean(operand=X, **rest):
    return Op(reduce, [operand], {"axes": (0,)}, "numpy.mean", location=HERE, **rest)


def retyped(op, type):
    op.result.type = type
    return op


def reattributed(op, **attrs):
    op.attrs.update(attrs)
    return op


def given(*reads, shape=(N,), operands=(X, MASK)):
    return Op(opaque, operands, {"shape": shape}, "numpy.f", "f64", rule=GivenMap(tuple(reads)), location=HERE)


def foreign():
    op = mean()
    op.result = Value(op.result.type, mean())
    return op


def late():
    first = mean()
    second = Op(elementwise, [X, first.result], {}, "numpy.subtract", location=HERE)
    return program(second, first)


def recorded():
    keep = Op(record, [X], {"slot": 0})
    return keep, mean(keep.result)


ROW, SERIES, ONE = (
    Param("c", ArrayType("f64", (4,))),
    Param("s", ArrayType("f64", (9, 4))),
    Param("p", ArrayType("bool")),
)


def body(*ops, params=(ROW,), returns=None, name="body"):
    """A body that adds up what it takes, or of some ops."""
    total = Op(elementwise, params, {}, "numpy.add")
    ops = ops or (total,)
    return Program(name, tuple(params), ops, tuple([ops[-1].result] if returns is None else returns))


def asked(type=ONE.type):
    test = Op(reduce, [ROW], {"axes": (0,)}, "numpy.all", type.dtype)
    return body(retyped(test, type), name="condition")


def scanned(*regions, **attrs):
    """A loop over the rows of %s whose bodies and attributes are changed behind its back."""
    row = Param("x", ROW.type)
    op = Op(
        loop, [ROW, SERIES], {"carries": 1, "length": 9}, "jax.scan", "f64", HERE, regions=[body(params=(ROW, row))]
    )
    op.regions = regions or op.regions
    return program(reattributed(op, **attrs), params=(ROW, SERIES))


def whiled(*regions):
    op = Op(loop, [ROW], {"carries": 1}, "jax.while", "f64", HERE, regions=[asked(), body()])
    op.regions = regions or op.regions
    return program(op, params=(ROW,))


def chosen(*regions, which=ONE, **attrs):
    op = Op(branch, [ONE, ROW], {}, "numpy.cond", "f64", HERE, regions=[body(name="otherwise"), body(name="then")])
    op.regions = regions or op.regions
    op.operands = (which, ROW)
    return program(reattributed(op, **attrs), params=(ONE, ROW, X))


def bodied(op):
    op.regions = (body(),)
    return program(op)


OUTSIDE = Op(elementwise, [SERIES], {}, "numpy.negative")
SOURCE = Param("c", ROW.type, "file")
WIDE = Param("c", ArrayType("f64", (5,)))
once = mean()
unruled = OpDef("unruled", "")
i, j = axes(2)
BROKEN = {
    "equal names": (program(params=(X, Param("x", ArrayType("f64")))), "two parameters are called %x"),
    "number for a name": (program(params=(Param("0", ArrayType("f64")),)), "cannot be called '0'"),
    "used too early": (late(), "elementwise[numpy.subtract](f64[N,4], f64[4]) at prep.py:7: %1 is used before it is defined"),
    "not of this program": (program(mean(), params=(MASK,)), "operand 0 is not of this program"),
    "twice": (program(once, once), "stands in the program twice"),
    "foreign result": (program(foreign()), "another op defines it"),
    "returned from nowhere": (program(returns=[mean().result]), "returned value 0 (f64[4]) is not of this program"),
    "effect as operand": (program(*recorded()), "the result of an op that has none"),
    "effect returned": (program(recorded()[0], returns=()), None),
    "no payload": (program(Op(reduce, [X], {"axes": (0,)})), "needs the function"),
    "payload": (program(Op(transpose, [X], {"axes": (1, 0)}, "numpy.T")), "takes no function"),
    "attribute": (program(Op(elementwise, [X], {"how": {1: 2}}, "numpy.f")), "attribute how: dict cannot be an attribute"),
    "attribute name": (program(Op(elementwise, [X], {"a b": 2}, "numpy.f")), "'a b' is no name for an attribute"),
    "type": (program(retyped(mean(), ArrayType("f64", (3,)))), "the result is f64[3], but the type rule gives f64[4]"),
    "operands changed": (program(reattributed(mean(), axes=(5,))), "axes=(5,) are not axes of f64[N,4]"),
    "attributes lost": (program(reattributed(mean(), axes=None)), "the operands or attributes do not fit (TypeError"),
    "unknown size": (program(Op(iota, [], {"size": symbol("Q")})), "nothing at or before it says what the size Q is"),
    "size like an axis": (program(params=(Param("y", ArrayType("f64", (i,))),)), "the size i has the name of an axis"),
    "map's rank": (program(given(GivenRead(0, (i,)))), "index map: has 1 places for the 2 axes of f64[N,4]"),
    "map's axis": (program(given(GivenRead(0, (i, j)))), "speaks of axis j, but the result has 1 axes"),
    "range": (program(given(GivenRead(0, (i, Span(0, 4, 0))))), "has a step below one"),
    "range's axis": (program(given(GivenRead(0, (i, Span(0, j))))), "speaks of axis j"),
    "look in floats": (program(given(GivenRead(1, (GivenLook(0, (i, 0)),)))), "holds no integers"),
    "look in itself": (program(given(GivenRead(1, (GivenLook(-1, (i,)),)))), "holds no integers"),
    "bound": (program(given(GivenRead(1, (Full(),), where=(Bound(1, 0, 3),)))), "bounds axis 1, but the result has 1 axes"),
    "no bound": (program(given(GivenRead(1, (Full(),), where=(Bound(0),)))), "bounds nothing"),
    "two bounds": (program(given(GivenRead(1, (i,), where=(Bound(0, 1), Bound(0, None, 3))))), "bounds an axis twice"),
    "a loop": (scanned(), None),
    "a loop with a condition": (whiled(), None),
    "a branch": (chosen(), None),
    "bodies": (bodied(mean()), "reduce[numpy.mean](f64[N,4]) at prep.py:7: takes no bodies"),
    "two bodies": (scanned(body(), body()), "has 2 bodies; with a length it has one"),
    "no condition": (whiled(body()), "has 1 bodies; without a length it has a condition and a body"),
    "one way": (chosen(body()), "has 1 bodies; it chooses among two or more"),
    "body from outside": (
        whiled(asked(), body(Op(elementwise, [ROW, Param("y", ROW.type)], {}, "numpy.add"))),
        "elementwise[numpy.add] in @body reads a value from outside",
    ),
    "outside given": (whiled(asked(), body(returns=[OUTSIDE.result])), "@body gives a value from outside"),
    "effect in a body": (
        whiled(asked(), body(Op(record, [ROW], {"slot": 0}), returns=[ROW])), "record in @body has an effect",
    ),
    "source in a body": (whiled(asked(), body(params=(SOURCE,))), "%c of @body is a source, which enters as an operand"),
    "body takes more": (scanned(body(params=(ROW, Param("x", ROW.type), ONE))), "gives @body 2 values, but it takes 3"),
    "body takes others": (whiled(asked(), body(params=(WIDE,))), "gives %c of @body f64[4], but it takes f64[5]"),
    "branch takes others": (chosen(body(), body(params=(WIDE,))), "gives %c of @body f64[4], but it takes f64[5]"),
    "carries": (scanned(carries=3), "has 2 operands, but 0 constants and 3 carries before its series"),
    "carries below zero": (scanned(carries=-1), "carries is a number of at least 0, not -1"),
    "length": (scanned(length=8), "has 8 turns, but the series f64[9,4]"),
    "chooses by a float": (chosen(which=ROW), "chooses by a whole number or a boolean, not by f64[4]"),
    "carried on twice": (whiled(asked(), body(returns=[ROW, ROW])), "carries f64[4], but @body gives f64[4], f64[4]"),
    "nothing carried on": (scanned(body(params=(ROW, ROW), returns=[])), "is result 0, but @body gives 0 values"),
    "carried another": (
        whiled(asked(), body(Op(reduce, [ROW], {"axes": (0,)}, "numpy.sum"))), "carries f64[4], but @body gives f64[]",
    ),
    "condition": (whiled(asked(ArrayType("f64")), body()), "@condition gives f64[]; a condition gives bool[]"),
    "ways differ": (
        chosen(body(), body(Op(reduce, [ROW], {"axes": (0,)}, "numpy.sum"), name="then")),
        "@body gives f64[4], but @then gives f64[]",
    ),
    "no such result": (chosen(result=2), "is result 2, but @then gives 1 values"),
    "broken body": (
        whiled(asked(), body(retyped(Op(elementwise, [ROW], {}, "numpy.exp"), ArrayType("f64", (3,))), returns=[ROW])),
        "elementwise[numpy.exp](f64[4]): the result is f64[3], but the type rule gives f64[4]",
    ),
    "map from elsewhere": (program(given(GivenRead(5, (i,)))), "its index map cannot be made (IndexError"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name):
    broken, message = BROKEN[name]
    if message is None:
        verify(broken)
        return
    with pytest.raises(VerifyError, match=re.escape(message)):
        verify(broken)


def test_looks_have_one_index_per_axis():
    index = Param("index", ArrayType("i64", (N, 2)))
    op = Op(opaque, [X, index], {"shape": (N,)}, "f", "f64", rule=GivenMap((GivenRead(0, (GivenLook(1, (i,)), 0)),)))
    with pytest.raises(VerifyError, match=r"looks up one position of i64\[N,2\] by 1 indices"):
        verify(program(op, params=(X, index)))


def test_an_effect_is_not_returned():
    keep = Op(record, [X], {"slot": 0})
    with pytest.raises(VerifyError, match="a returned value is the result of an op that has none"):
        verify(program(keep, returns=[keep.result]))


def test_the_message_shows_the_op_among_its_neighbours():
    first = mean()
    second = reattributed(Op(reshape, [first.result], {"shape": (2, 2)}, location=HERE), shape=(3, 3))
    third = Op(elementwise, [second.result], {}, "numpy.exp")
    with pytest.raises(VerifyError) as refused:
        verify(program(first, second, third))
    assert str(refused.value).splitlines() == [
        "reshape(f64[4]) at prep.py:7: cannot reshape f64[4] to (3, 3)",
        '  %0: f64[4] = reduce[numpy.mean](%x) {axes=(0,)} loc("prep.py":7 in "prep")',
        '> %1: f64[2,2] = reshape(%0) {shape=(3, 3)} loc("prep.py":7 in "prep")',
        "  %2: f64[2,2] = elementwise[numpy.exp](%1)",
    ]
    assert refused.value.op is second


def test_data_decides_sizes_once_the_op_is_there():
    chosen = Op(filter, [MASK], {"size": symbol("K")})
    taken = Op(gather, [X, chosen.result], {"axis": 0})
    verify(program(chosen, taken, returns=[taken.result]))
    table = Param("t", TableType((Field("a", "f64"), Field("c", "u8", width=symbol("V"))), N))
    verify(program(Op(constant, [], {"value": 1.0}), params=(table,), returns=[table]))
    assert axis(0) == i
