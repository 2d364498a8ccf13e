"""Random programs stay what they are behind every pass there is, and behind random pipelines of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lineage.programs import ANY, FINITE, programs
from tests.lineage.test_values import same, traced
from tests.passes.behind import PASSES, check_lineage, check_values

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")

EACH = pytest.mark.parametrize("name", sorted(PASSES))
PIPELINES = st.lists(st.sampled_from(sorted(PASSES)), min_size=2, max_size=6)


def call_of(program: Any) -> Any:
    return traced(program)[0].call()


def bitwise(got: Any, want: Any) -> None:
    same(got, np.asarray(want))


def test_the_passes_are_all_there():
    assert {"fold", "cse", "dce"} <= set(PASSES)


@EACH
def test_a_pass_keeps_values(name):
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(programs(ANY))
    def check(program):
        check_values(call_of(program), [PASSES[name]], bitwise)

    check()


@EACH
def test_a_pass_keeps_lineage(name):
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(programs(FINITE, max_steps=8, max_cells=40))
    def check(program):
        check_lineage(call_of(program), [PASSES[name]])

    check()


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(programs(ANY), PIPELINES)
def test_pipelines_keep_values(program, names):
    check_values(call_of(program), [PASSES[name] for name in names], bitwise)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(programs(FINITE, max_steps=8, max_cells=40), PIPELINES)
def test_pipelines_keep_lineage(program, names):
    check_lineage(call_of(program), [PASSES[name] for name in names])
