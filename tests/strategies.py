"""Random well-typed programs, and values to run their types on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from traceprop.errors import TypeRuleError
from traceprop.ir import ArrayType, Dim, Field, Location, Op, Param, Program, TableType, Type, Value, symbol
from traceprop.ir.expr import evaluate, floordiv, maximum, minimum, mod
from traceprop.ir.given_map import GivenMap, GivenRead
from traceprop.ir.index_map import Full, Kind, axes
from traceprop.ir.opset import (
    branch,
    broadcast,
    concat,
    constant,
    contract,
    elementwise,
    filter,
    gather,
    iota,
    loop,
    opaque,
    record,
    reduce,
    reshape,
    scan,
    slice,
    sort,
    transpose,
)

NUMBERS = ("f64", "f32", "i64", "u8")
DTYPES = (*NUMBERS, "bool", "str")
SIZE_NAMES = ("N", "M", "K_1")

# Names that must survive printing: quotes, blanks, other alphabets, words of the grammar.
NAMES = st.sampled_from(
    [
        "x",
        "a1",
        "table",
        "func",
        "f64",
        "min",
        "in",
        "i",
        "work class",
        'q"uote',
        "back\\slash",
        "new\nline",
        "größe",
        "列",
        "#",
        "",
    ]
)
FUNCTIONS = st.sampled_from(["numpy.add", "aten.mm", "numpy.add.reduce", "<lambda>", "my func", 'odd"]('])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=8),
    st.complex_numbers(allow_subnormal=False),
)  # fmt: skip


def sizes(symbols: bool = True) -> st.SearchStrategy[Dim]:
    """A dim: mostly small numbers, 0 and 1 among them, or a symbol."""
    numbers: st.SearchStrategy[Dim] = st.sampled_from([0, 1, 2, 3, 4])
    return st.one_of(numbers, st.sampled_from([symbol(name) for name in SIZE_NAMES])) if symbols else numbers


def expressions(names: tuple[str, ...] = ("N", "M", "i", "j"), depth: int = 4) -> st.SearchStrategy[Dim]:
    """An integer expression built by the algebra's own operators; divisors are positive numbers."""
    atoms: st.SearchStrategy[Dim] = st.one_of(st.integers(-5, 9), st.sampled_from([symbol(name) for name in names]))

    def grow(inner: st.SearchStrategy[Dim]) -> st.SearchStrategy[Dim]:
        divisor = st.integers(1, 6)
        return st.one_of(
            st.builds(lambda a, b: a + b, inner, inner),
            st.builds(lambda a, b: a - b, inner, inner),
            st.builds(lambda a, b: a * b, inner, atoms),
            st.builds(floordiv, inner, divisor),
            st.builds(mod, inner, divisor),
            st.builds(minimum, inner, inner),
            st.builds(maximum, inner, inner),
        )

    return st.recursive(atoms, grow, max_leaves=2 * depth)


@st.composite
def array_types(draw: st.DrawFn, dtypes: tuple[str, ...] = DTYPES, max_rank: int = 3) -> ArrayType:
    """An array whose first axis is often symbolic."""
    rank = draw(st.integers(0, max_rank))
    dims = [draw(sizes(symbols=k == 0)) for k in range(rank)]
    return ArrayType(draw(st.sampled_from(dtypes)), tuple(dims))


@st.composite
def table_types(draw: st.DrawFn) -> TableType:
    """A table with odd column names, nulls and families."""
    names = draw(st.lists(NAMES, max_size=4, unique=True))
    width = st.one_of(st.none(), st.none(), sizes())
    fields = [Field(name, draw(st.sampled_from(DTYPES)), draw(st.booleans()), draw(width)) for name in names]
    return TableType(tuple(fields), draw(sizes()))


@st.composite
def programs(draw: st.DrawFn, max_ops: int = 12) -> Program:
    """1–3 parameters, then up to `max_ops` ops that the type rules accept; a few values are returned."""
    names = draw(st.lists(NAMES.filter(bool), min_size=1, max_size=3, unique=True))
    deciding = st.sampled_from(
        [
            ArrayType("bool", (symbol("N"),)),
            ArrayType("i64", (3,)),
            ArrayType("i32", (symbol("M"),)),
            ArrayType("bool"),
            ArrayType("u8"),
        ]
    )
    types = st.one_of(array_types(), array_types(NUMBERS), table_types(), deciding)
    sources = st.one_of(st.none(), NAMES)
    values: list[Value] = [Param(name, draw(types), draw(sources), draw(st.booleans())) for name in names]
    ops: list[Op] = []
    for number in range(draw(st.integers(1, max_ops))):
        make = draw(st.sampled_from(_MAKERS))
        op = make(draw, values, number)
        if op is not None:
            ops.append(op)
            if not op.definition.effect:
                values.append(op.result)
    returns = draw(st.lists(st.sampled_from(values), max_size=3))
    params = tuple(value for value in values if isinstance(value, Param))
    return Program(draw(NAMES), params, tuple(ops), tuple(returns))


# -- one op -----------------------------------------------------------------------------------------------------------

_Maker = Callable[[st.DrawFn, list[Value], int], "Op | None"]


def _op(draw: st.DrawFn, definition: Any, operands: list[Value], attrs: dict[str, Any], **rest: Any) -> Op | None:
    location = draw(st.sampled_from([None, Location("prep.py", 12, "prep"), Location('odd "name".py', 3)]))
    try:
        return Op(definition, operands, attrs, location=location, **rest)
    except TypeRuleError:
        return None


def _array(draw: st.DrawFn, values: list[Value], dtype: str = "", min_rank: int = 0) -> Value | None:
    fitting = [
        v for v in values if isinstance(v.type, ArrayType) and v.type.dtype.startswith(dtype) and v.rank >= min_rank
    ]
    return draw(st.sampled_from(fitting)) if fitting else None


def _table(draw: st.DrawFn, values: list[Value]) -> Value | None:
    fitting = [v for v in values if isinstance(v.type, TableType)]
    return draw(st.sampled_from(fitting)) if fitting else None


def _constant(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    arrays = st.sampled_from(
        [np.arange(3), np.zeros((0, 2), np.float32), np.array("2020-01-01", "M8[D]"), np.array(["a"])]
    )
    return _op(draw, constant, [], {"value": draw(st.one_of(SCALARS, arrays))})


def _iota(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    (size, *_) = (*draw(st.sampled_from(values)).type.dims, 4)
    return _op(draw, iota, [], {"size": size}, dtype=draw(st.sampled_from([None, "i32"])))


def _elementwise(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    operands = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    attrs: dict[str, Any] = draw(st.sampled_from([{}, {"control": (0,)}, {"decimals": 2}]))
    dtype = draw(st.sampled_from(DTYPES))
    return _op(draw, elementwise, operands, dict(attrs), payload=draw(FUNCTIONS), dtype=dtype)


def _one_hot(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    rows, columns = _array(draw, values, min_rank=1), _array(draw, values, min_rank=1)
    if rows is None or columns is None or rows.rank != 1 or columns.rank != 1:
        return None
    attrs: dict[str, Any] = {"spread": ((0,), (1,))}
    if draw(st.booleans()):
        attrs["family"] = draw(NAMES)
    dtype = draw(st.sampled_from(["u8", "bool"]))
    return _op(draw, elementwise, [rows, columns], attrs, payload="table.equal", dtype=dtype)


def _broadcast(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    x = _array(draw, values)
    if x is None:
        return None
    shape = tuple(draw(sizes(False)) if dim == 1 else dim for dim in x.type.dims)
    return _op(draw, broadcast, [x], {"shape": (*draw(st.lists(sizes(False), max_size=2)), *shape)})


def _reshape(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    x = _array(draw, values)
    if x is None:
        return None
    parts: list[Dim] = []
    for dim in draw(st.permutations(list(x.type.dims))):
        split = isinstance(dim, int) and dim == 4 and draw(st.booleans())
        merge = parts and draw(st.booleans())
        if split:
            parts.extend((2, 2))
        elif merge:
            parts[-1] = parts[-1] * dim
        else:
            parts.append(dim)
    return _op(draw, reshape, [x], {"shape": (*parts, *draw(st.lists(st.just(1), max_size=1)))})


def _transpose(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    x = _array(draw, values)
    return x and _op(draw, transpose, [x], {"axes": tuple(draw(st.permutations(range(x.rank))))})


def _slice(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    x = _array(draw, values)
    if x is None:
        return None
    bound = st.one_of(st.none(), st.integers(-5, 5))
    item = st.one_of(st.tuples(bound, bound, st.sampled_from([None, 1, 2, -1, -2])), st.none(), st.integers(-2, 2))
    return _op(draw, slice, [x], {"index": tuple(draw(st.lists(item, max_size=x.rank)))})


def _columns(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    table = _table(draw, values)
    if table is None or not table.type.fields:
        return None
    names = [field.name for field in table.type.fields]
    if draw(st.booleans()):
        return _op(draw, slice, [table], {"column": draw(st.sampled_from(names))})
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    return _op(draw, slice, [table], {"columns": tuple(chosen)})


def _gather(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    x, index = draw(st.sampled_from(values)), _array(draw, values, "i")
    if index is None:
        return None
    attrs: dict[str, Any] = {"axis": draw(st.integers(0, max(x.rank - 1, 0)))}
    if draw(st.integers(0, 3)) == 0:
        attrs["along"] = True
    return _op(draw, gather, [x, index], attrs)


def _filter(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    mask = _array(draw, values, "bool")
    return mask and _op(draw, filter, [mask], {"size": symbol(f"K{number}")})


def _sort(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    keys = _array(draw, values, min_rank=1)
    if keys is None:
        return None
    more = [v for v in values if isinstance(v.type, ArrayType) and v.type.dims == keys.type.dims]
    others = draw(st.lists(st.sampled_from(more), max_size=1))
    return _op(draw, sort, [keys, *others], {"axis": draw(st.integers(0, keys.rank - 1))})


def _concat(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    first = draw(st.sampled_from(values))
    k = draw(st.integers(0, max(first.rank - 1, 0)))
    fitting = [v for v in values if type(v.type) is type(first.type) and v.rank == first.rank]
    others = draw(st.lists(st.sampled_from(fitting), max_size=2))
    dtype = first.type.dtype if isinstance(first.type, ArrayType) else None
    return _op(draw, concat, [first, *others], {"axis": k}, dtype=dtype)


def _with_columns(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    table, column = _table(draw, values), _array(draw, values, min_rank=1)
    if table is None or column is None:
        return None
    return _op(draw, concat, [table, column], {"axis": 1, "names": (f"c{number}",)}, payload="table.with_columns")


def _reduce(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    x = draw(st.sampled_from(values))
    attrs: dict[str, Any] = {"axes": tuple(draw(st.lists(st.integers(0, max(x.rank - 1, 0)), max_size=2, unique=True)))}
    attrs.update(draw(st.sampled_from([{}, {}, {"keepdims": True}, {"size": symbol(f"V{number}")}, {"ddof": 1}])))
    return _op(draw, reduce, [x], attrs, payload=draw(FUNCTIONS), dtype=draw(st.sampled_from(DTYPES)))


def _scan(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    x = _array(draw, values, min_rank=1)
    return x and _op(draw, scan, [x], {"axis": draw(st.integers(0, x.rank - 1))}, payload=draw(FUNCTIONS))


def _contract(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    a, b = _array(draw, values), _array(draw, values)
    if a is None or b is None:
        return None
    left = "abc"[: a.rank]
    right = "".join(draw(st.sampled_from("abcde")) for _ in range(b.rank))
    letters = sorted(set(left + right))
    kept = draw(st.lists(st.sampled_from(letters), unique=True)) if letters else []
    spec = f"{left},{right}->{''.join(kept)}"
    return _op(draw, contract, [a, b], {"spec": spec}, payload="numpy.einsum", dtype="f64")


def _opaque(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    x = draw(st.sampled_from(values))
    shape = x.type.dims[: draw(st.integers(0, x.rank))]
    own = (*axes(len(shape)), *[Full()] * (x.rank - len(shape)))
    kind = draw(st.sampled_from(Kind))
    rules = [None, GivenMap(()), GivenMap((GivenRead(0, own, kind),)), GivenMap((GivenRead(0, (Full(),) * x.rank),))]
    return _op(
        draw, opaque, [x], {"shape": shape}, payload=draw(FUNCTIONS), dtype="f64", rule=draw(st.sampled_from(rules))
    )


def _body(draw: st.DrawFn, name: str, types: list[Type], wanted: list[Type], more: int = 0) -> Program:
    """A few ops over parameters of some types; it gives values of wanted types, and up to `more` others."""
    names = draw(st.lists(NAMES.filter(bool), min_size=len(types), max_size=len(types), unique=True))
    values: list[Value] = [Param(each, type) for each, type in zip(names, types, strict=True)]
    ops: list[Op] = []
    for number in range(draw(st.integers(0, 3)) if values else 0):
        op = draw(st.sampled_from([maker for maker in _MAKERS if maker is not _record]))(draw, values, 100 + number)
        if op is not None:
            ops.append(op)
            values.append(op.result)
    for type in wanted:
        if all(value.type != type for value in values):
            ops.append(Op(constant, (), {"value": True}))  # a condition that nothing else gives
            values.append(ops[-1].result)
    given = [draw(st.sampled_from([value for value in values if value.type == type])) for type in wanted]
    known = {dim for type in types for dim in type.dims}
    plain = [
        v
        for v in values
        if isinstance(v.type, ArrayType) and {d for d in v.type.dims if not isinstance(d, int)} <= known
    ]
    given += draw(st.lists(st.sampled_from(plain), max_size=more)) if plain else []
    return Program(name, tuple(v for v in values if isinstance(v, Param)), tuple(ops), tuple(given))


def _branch(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    which = next((v for v in values if v.rank == 0 and v.type.dtype[0] in "biu"), None)
    operands = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    if which is None:
        return None
    types = [value.type for value in operands]
    wanted = [draw(st.sampled_from(types))]
    bodies = [_body(draw, name, types, wanted) for name in draw(st.sampled_from([("no", "yes"), ("a", "a", "b")]))]
    return _op(draw, branch, [which, *operands], {}, payload=draw(FUNCTIONS), regions=bodies)


def _loop(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    constants = draw(st.lists(st.sampled_from(values), max_size=1))
    carries = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2))
    counted = draw(st.booleans())
    long = [v for v in values if isinstance(v.type, ArrayType) and v.rank and isinstance(v.type.dims[0], int)]
    series = draw(st.lists(st.sampled_from(long), max_size=2)) if long and counted else []
    length = series[0].type.dims[0] if series else draw(st.integers(0, 9))
    series = [v for v in series if v.type.dims[0] == length]
    rows = [ArrayType(v.type.dtype, v.type.dims[1:]) for v in series]
    types = [*(value.type for value in (*constants, *carries)), *rows]
    body = _body(draw, "body", types, [value.type for value in carries], 2 if counted else 0)
    attrs: dict[str, Any] = {"constants": len(constants), "carries": len(carries)}
    regions = [body]
    if counted:
        attrs |= {"length": length, "reverse": draw(st.booleans())}
    else:
        regions = [_body(draw, "condition", types, [ArrayType("bool", ())]), body]
    attrs["result"] = draw(st.integers(0, len(body.returns) - 1))
    return _op(draw, loop, [*constants, *carries, *series], attrs, payload=draw(FUNCTIONS), regions=regions)


def _record(draw: st.DrawFn, values: list[Value], number: int) -> Op | None:
    return _op(draw, record, [draw(st.sampled_from(values))], {"slot": number})


_MAKERS: tuple[_Maker, ...] = (
    _constant, _iota, _elementwise, _elementwise, _one_hot, _broadcast, _reshape, _transpose, _slice, _slice, _columns,
    _gather, _filter, _sort, _concat, _with_columns, _reduce, _scan, _contract, _opaque, _record,
    _branch, _loop,
)  # fmt: skip


# -- concrete cells ---------------------------------------------------------------------------------------------------


def labelled(type: ArrayType | TableType, sizes: dict[str, int]) -> np.ndarray:
    """An array of the type's shape whose cells are all different: each cell holds its own row-major position."""
    shape = tuple(int(evaluate(dim, sizes)) for dim in type.dims)
    return np.arange(math.prod(shape)).reshape(shape)
