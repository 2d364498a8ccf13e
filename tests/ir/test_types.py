"""Types that cannot exist, and operands that ops refuse."""

import re

import numpy as np
import pytest

from traceprop.errors import DimMismatchError, TypeRuleError
from traceprop.ir import OPSET, ArrayType, Field, Op, Param, TableType, symbol
from traceprop.ir.types import dtype_name, numpy_dtype

N, M = symbol("N"), symbol("M")
TABLE = TableType((Field("age", "i64", True), Field("job", "str")), N)


def f64(*dims):
    return ArrayType("f64", dims)


def made(name, types, attrs, dtype=None):
    operands = [Param(f"p{k}", type) for k, type in enumerate(types)]
    return Op(OPSET[name], operands, attrs, "numpy.f" if OPSET[name].payload == "needed" else None, dtype).result.type


ACCEPTED = [
    ("elementwise", [f64(N, 4), f64(4)], {}, "f64[N,4]"),
    ("elementwise", [f64(N, 1), f64(1, 3)], {}, "f64[N,3]"),
    ("elementwise", [f64(N), f64(3)], {"spread": ((0,), (1,))}, "f64[N,3]"),
    ("elementwise", [f64(N), f64(3)], {"spread": ((0,), (1,)), "family": "job"}, "table<job: u8[3]>[N]"),
    ("broadcast", [f64(1)], {"shape": (N, 4)}, "f64[N,4]"),
    ("reshape", [f64(N, 28, 28)], {"shape": (N, 784)}, "f64[N,784]"),
    ("transpose", [f64(2, N)], {"axes": (1, 0)}, "f64[N,2]"),
    ("slice", [f64(N, 4)], {"index": ((None, -1, None), 0)}, "f64[max(N-1, 0)]"),
    ("slice", [f64(5)], {"index": ((None, None, -2), None)}, "f64[3,1]"),
    ("slice", [TABLE], {"column": "age"}, "f64[N]"),
    ("slice", [TABLE], {"columns": ("job",)}, "table<job: str>[N]"),
    ("gather", [f64(N, 4), ArrayType("i64", (M, 2))], {"axis": 0}, "f64[M,2,4]"),
    ("gather", [TABLE, ArrayType("i64", (M,))], {"non_null": True}, "table<age: i64, job: str>[M]"),
    ("gather", [f64(N, 4), ArrayType("i64", (N, 2))], {"axis": 1, "along": True}, "f64[N,2]"),
    ("filter", [ArrayType("bool", (N,))], {"size": symbol("K")}, "i64[K]"),
    ("sort", [f64(N), ArrayType("str", (N,))], {"axis": 0}, "i64[N]"),
    ("concat", [f64(N, 4), f64(M, 4)], {"axis": 0}, "f64[M+N,4]"),
    ("concat", [TABLE, f64(N)], {"axis": 1, "names": ("pay",)}, "table<age: i64?, job: str, pay: f64>[N]"),
    ("sort", [f64(N)], {"axis": 0}, "i64[N]"),
    ("reduce", [f64(N, 4)], {"axes": (0,)}, "f64[4]"),
    ("reduce", [f64(N, 4)], {"axes": (0,), "keepdims": True}, "f64[1,4]"),
    ("reduce", [f64(N)], {"axes": (0,), "size": symbol("V")}, "f64[V]"),
    ("scan", [f64(N)], {"axis": 0}, "f64[N]"),
    ("contract", [f64(N, 4), f64(4, 2)], {"spec": "ab,bc->ac"}, "f64[N,2]"),
    ("iota", [], {"size": N}, "i64[N]"),
    ("constant", [], {"value": 1}, "i64[]"),
    ("constant", [], {"value": "x"}, "str[]"),
    ("constant", [], {"value": np.zeros((2, 0), "f4")}, "f32[2,0]"),
]


@pytest.mark.parametrize("name, types, attrs, expected", ACCEPTED, ids=lambda x: x if isinstance(x, str) else "")
def test_type_rules(name, types, attrs, expected):
    assert str(made(name, types, attrs, "u8" if "family" in attrs else None)) == expected


REFUSED = [
    ("elementwise", [f64(N, 4), f64(3)], {}, "cannot broadcast 4 against 3"),
    ("elementwise", [f64(N), f64(M)], {}, "cannot broadcast N against M"),
    ("elementwise", [f64(N)], {"spread": ((1,),)}, "leaves out a result axis"),
    ("elementwise", [f64(N)], {"spread": ((0, 1),)}, "one result axis for each axis"),
    ("elementwise", [f64(N), f64(M)], {"spread": ((0,), (0,))}, "both N and M"),
    ("elementwise", [f64(N)], {"family": "x"}, "two axes, not 1"),
    ("elementwise", [f64(N)], {"control": (1,)}, "not positions of operands"),
    ("elementwise", [TABLE], {}, "dtype must be given"),
    ("broadcast", [f64(3)], {"shape": (4,)}, "cannot broadcast"),
    ("broadcast", [TABLE], {"shape": (N, 2)}, "takes an array"),
    ("reshape", [f64(N, 4)], {"shape": (N, 3)}, "cannot reshape f64[N,4] to (N, 3)"),
    ("transpose", [f64(2, 3)], {"axes": (0, 0)}, "no permutation"),
    ("slice", [f64(3)], {"index": (3,)}, "out of bounds"),
    ("slice", [f64(3)], {"index": ((None, None, 0),)}, "step cannot be zero"),
    ("slice", [f64(3)], {"index": (0, 0)}, "too many indices"),
    ("slice", [f64(N)], {"index": ((1, None, -1),)}, "needs the number of rows"),
    ("slice", [TABLE], {"column": "pay"}, "no column 'pay'; the table has age, job"),
    ("gather", [f64(N), f64(3)], {"axis": 0}, "must be an integer array"),
    ("gather", [f64(N), ArrayType("i64", ())], {"axis": 1}, "no axis 1"),
    ("gather", [TABLE, ArrayType("i64", (M, 2))], {"axis": 0}, "one-dimensional index"),
    ("gather", [f64(N, 4), ArrayType("i64", (N,))], {"axis": 1, "along": True}, "does not lie along axis 1"),
    ("filter", [f64(N)], {"size": M}, "boolean array"),
    ("sort", [], {"axis": 0}, "nothing to sort by"),
    ("sort", [f64(N), f64(M)], {"axis": 0}, "cannot sort f64[M]"),
    ("concat", [], {"axis": 0}, "nothing to put together"),
    ("concat", [f64(N, 4), f64(M, 3)], {"axis": 0}, "axis 1 is 4 in one array and 3 in another"),
    ("concat", [f64(N), f64(N, 1)], {"axis": 0}, "same number of axes"),
    ("concat", [f64(N)], {"axis": 1}, "no axis 1"),
    ("concat", [f64(N), ArrayType("i64", (N,))], {"axis": 0}, "dtype must be given"),
    ("concat", [TABLE, f64(N)], {"axis": 0}, "under one another"),
    ("concat", [TABLE, f64(N)], {"axis": 1}, "needs a name"),
    ("concat", [TABLE, f64(N)], {"axis": 1, "names": ("age",)}, "two columns are called 'age'"),
    ("concat", [TABLE, f64(M)], {"axis": 1, "names": ("pay",)}, "columns of N and of M rows"),
    ("concat", [TABLE, TableType((Field("age", "i64"), Field("job", "i64")), M)], {"axis": 0}, "'job' is str in one"),
    ("sort", [f64()], {"axis": 0}, "cannot sort"),
    ("reduce", [f64(N)], {"axes": (1,)}, "are not axes"),
    ("reduce", [TABLE], {"axes": (0,)}, "dtype must be given"),
    ("scan", [f64(N)], {"axis": 1}, "cannot scan"),
    ("contract", [f64(N, 4), f64(3, 2)], {"spec": "ab,bc->ac"}, "sizes 4 and 3"),
    ("contract", [f64(N, 4)], {"spec": "ab,bc->ac"}, "2 terms for 1 operands"),
    ("contract", [f64(N, 4)], {"spec": "ab->abc"}, "name each of its axes once"),
    ("contract", [f64(N)], {"spec": "a->aa"}, "name each of its axes once"),
    ("contract", [f64(N)], {"spec": "a"}, "is not like"),
    ("opaque", [f64(N)], {"shape": (N,)}, "dtype must be given"),
]


@pytest.mark.parametrize("name, types, attrs, message", REFUSED, ids=lambda x: x if isinstance(x, str) else "")
def test_refusals_name_the_op_and_its_operands(name, types, attrs, message):
    with pytest.raises(TypeRuleError, match=re.escape(message)) as refused:
        made(name, types, attrs)
    assert str(refused.value).startswith(name)
    assert ", ".join(map(str, types)) in str(refused.value)


def test_unequal_dims_are_handed_back():
    with pytest.raises(DimMismatchError) as refused:
        made("elementwise", [f64(N), f64(M)], {})
    assert {refused.value.left, refused.value.right} == {N, M}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ArrayType("float", ()), "no dtype 'float'"),
        (lambda: f64(-1), "below zero"),
        (lambda: Field("a", "float"), "unknown dtype"),
        (lambda: TableType((Field("a", "i64"), Field("a", "str")), N), "two columns named 'a'"),
        (lambda: dtype_name("V8"), "cannot be traced"),
    ],
)
def test_wrong_types_cannot_exist(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", "f2", "f8", "c16", ">f4", "M8[D]", "M8[us]"])
def test_dtypes_have_one_name(dtype):
    assert numpy_dtype(dtype_name(dtype)) == np.dtype(dtype).newbyteorder("=")


def test_families_count_their_columns():
    table = TableType((Field("a", "i64"), Field("job", "u8", width=symbol("V"))), N)
    assert table.dims == (N, symbol("V") + 1)
    assert str(table) == "table<a: i64, job: u8[V]>[N]"
