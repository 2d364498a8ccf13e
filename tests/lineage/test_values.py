"""Values of random programs: traced, lazy and optimized alike, bit by bit those of the plain function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings

import traceprop as tp
from tests.lineage.programs import ANY, FINITE, RandomProgram, programs
from traceprop.errors import TracepropError

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")
thorough = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False
)


def same(got: Any, want: np.ndarray) -> None:
    """Equal bit by bit, except that one NaN is as good as another."""
    got = np.asarray(got)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)
    if want.dtype.kind == "f":
        real = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got)[real], np.signbit(want)[real])


def traced(program: RandomProgram) -> tuple[Any, ...]:
    """The program's lazy results as a traced function; drops examples whose sizes cannot be shown equal."""
    function = tp.trace(lambda *given: program(*given))
    try:
        return function(*program.sources)
    except (TracepropError, ValueError, IndexError):
        if program.data_decides_sizes:
            reject()
        raise


def lazily(program: RandomProgram) -> tuple[Any, ...]:
    return program(*(tp.from_numpy(array, source_id=f"s{k}") for k, array in enumerate(program.sources)))


@thorough
@given(programs(ANY))
def test_traced(program):
    for got, want in zip(traced(program), program.plain(), strict=True):
        same(got, want)


@thorough
@given(programs(ANY))
def test_lazy(program):
    for got, want in zip(lazily(program), program.plain(), strict=True):
        same(got, want)


@thorough
@given(programs(FINITE))
def test_fitted_on_the_same_rows(program):
    """A pipeline applied to the rows it was fitted on gives what it gave; without a fitted form it says so."""
    rest = [tp.from_numpy(array, source_id=f"rest{k}") for k, array in enumerate(program.sources[1:])]
    function = tp.trace(lambda given: program(given, *rest))
    try:
        results = function.fit(program.sources[0])(program.sources[0])
    except (TracepropError, ValueError, IndexError):
        reject()
    for got, want in zip(results, program.plain(), strict=True):
        same(got, want)
