"""Types without data: programs can be looked at, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import SourceError, TraceError
from traceprop.sources import DeclaredSource, declared_type


def source(text: str) -> DeclaredSource:
    return DeclaredSource(declared_type(text), "x")


@pytest.mark.parametrize("text", ["f64[N, 4]", "str[N]", "table<age: i64?, job: str>[N]"])
def test_the_program_is_that_of_the_type(text):
    function = tp.trace(lambda x: x)
    assert str(function.ir(source(text)).params[0].type).replace(" ", "") == text.replace(" ", "")


def test_a_symbol_stays_one():
    program = tp.trace(lambda x: x - x.mean(axis=0)).ir(source("f64[N,4]"))
    assert [str(op.result.type) for op in program.ops] == ["f64[4]", "f64[N,4]"]


def test_a_number_of_rows_that_is_not_known_cannot_be_written_in():
    with pytest.raises(TraceError, match="needs the number behind N"):
        tp.trace(lambda x: x * len(x)).ir(source("f64[N,4]"))
    assert tp.trace(lambda x: x * len(x)).ir(source("f64[6,4]")).params[0].type.dims == (6, 4)


def test_there_is_nothing_to_run():
    with pytest.raises(SourceError, match=r"'x' is declared as f64\[N,4\] and holds no data"):
        np.asarray(tp.trace(lambda x: x * 2)(source("f64[N,4]")))


@pytest.mark.parametrize("text", ["", "f64", "f65[N]", "f64[N", "table<>", 'f64[N] { } "'])
def test_what_is_no_type(text):
    with pytest.raises(SourceError, match="is no type such as"):
        declared_type(text)


def test_other_libraries_need_numbers():
    jax = pytest.importorskip("jax")
    with pytest.raises(TraceError, match=r"declared without a number of rows, and jax traces with one: f64\[100,4\]"):
        tp.trace(lambda x: jax.numpy.sin(x)).ir(source("f64[N,4]"))
    assert tp.trace(lambda x: jax.numpy.sin(x)).ir(source("f64[5,4]")).returns[0].type.dims == (5, 4)


def test_torch_keeps_a_symbol():
    torch = pytest.importorskip("torch")
    program = tp.trace(lambda x: torch.sin(x)).ir(source("f64[5,4]"))
    assert str(program.returns[0].type) == "f64[N,4]"
