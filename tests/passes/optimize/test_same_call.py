"""Native calls are merged where they are the same function of the same arguments, and only there."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import traceprop as tp
from traceprop.ir import Look, Members, parse
from traceprop.passes.optimize.instrument import FIXED
from traceprop.passes.optimize.same_call import Unlike, key_of, same_call

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def computed(function: Any, x: Any) -> list[str]:
    program = tp.trace(function).ir(x, stage="cse")
    return [op.label for op in program.ops if not op.definition.effect]


def test_jax_calls_are_merged():
    def twice(x: Any) -> Any:
        return jnp.tanh(x) + jnp.tanh(x), jnp.sort(x, 0), jnp.sort(x, 0) * 2, x.reshape(-1)[:2], x.reshape(-1)[:2] * 3

    x = jnp.asarray(X)
    labels = computed(twice, x)
    assert labels.count("elementwise[jax.tanh]") == labels.count("sort[jax.sort]") == 1
    assert labels.count("slice") == labels.count("reshape") == 1
    for ours, own in zip(tp.trace(twice)(x), twice(x), strict=True):
        np.testing.assert_array_equal(ours, own)


def test_jax_calls_of_other_arguments_are_not():
    def differ(x: Any) -> Any:
        return x**2, x**3, jax.lax.cumsum(x, 0), jax.lax.cumsum(x, 1), jnp.argmax(x, 0), jnp.argmin(x, 0)

    assert len(computed(differ, jnp.asarray(X))) == 6


@pytest.mark.filterwarnings("ignore:.*has no lineage rule")
def test_calls_with_an_effect_stay_as_many_as_there_were():
    seen = []

    def count(x: Any) -> Any:
        seen.append(1)
        return np.asarray(x)

    def called(x: Any) -> Any:
        like = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.experimental.io_callback(count, like, x) + jax.experimental.io_callback(count, like, x)

    x = jnp.asarray(X)
    assert computed(called, x).count("opaque[jax.io_callback]") == 2
    np.testing.assert_array_equal(tp.trace(called)(x), 2 * X)
    assert len(seen) == 2


def test_torch_calls_are_merged():
    def twice(x: torch.Tensor) -> Any:
        return torch.tanh(x) + torch.tanh(x), x.reshape(-1) * 2, x.reshape(-1) * 3, torch.clamp(x, 0, 1), x.clamp(0, 2)

    x = torch.from_numpy(X)
    labels = computed(twice, x)
    assert labels.count("elementwise[aten.tanh]") == labels.count("reshape") == 1
    assert labels.count("elementwise[aten.clamp]") == 2
    for ours, own in zip(tp.trace(twice)(x), twice(x), strict=True):
        np.testing.assert_array_equal(ours, own)


def test_a_draw_that_is_switched_off_stays():
    def twice(x: torch.Tensor) -> Any:
        return torch.dropout(x, 0.5, False) + torch.nn.functional.dropout(x, 0.5, False)

    x = torch.from_numpy(X)
    np.testing.assert_array_equal(tp.trace(twice)(x), 2 * X)


def test_a_function_of_someone_elses_is_its_own():
    def theirs(x: Any) -> Any:
        return x

    assert same_call(theirs, theirs)
    assert not same_call(functools.partial(theirs, 1), functools.partial(theirs, 1))
    with pytest.raises(Unlike):
        key_of([1, {"given": theirs}])


def test_keys_tell_numbers_apart_that_compare_equal():
    numbers = [1, 1.0, True, 0.0, -0.0, np.float32(1), np.int64(1), "1", None, np.array([1.0]), np.array([1])]
    assert len({key_of(number) for number in numbers}) == len(numbers)
    assert same_call(functools.partial(np.clip, a_min=0), functools.partial(np.clip, a_min=0))
    assert not same_call(functools.partial(np.clip, a_min=0), functools.partial(np.clip, a_min=0.0))


def test_ops_with_a_fixed_map_look_nothing_up():
    """The maps that `instrument` does not make, on the program of docs/ir.md that has every op."""
    page = (Path(__file__).parents[3] / "docs" / "ir.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```text\n(func @ops.*?)```", page, re.DOTALL)
    fixed = [op for op in parse(text).ops if op.definition in FIXED]
    assert {op.definition for op in fixed} == FIXED
    assert not any(isinstance(at, (Look, Members)) for op in fixed for read in op.reads for at in read.axes)
