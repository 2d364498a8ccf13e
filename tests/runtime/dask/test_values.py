"""Random programs on a cluster are the programs on this machine."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import traceprop as tp
from tests.lineage import table_programs
from tests.lineage.programs import FINITE, programs
from tests.lineage.test_values import traced
from tests.runtime.dask.beside import check_call, check_lineage
from traceprop.errors import ExecutionError, TraceError

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")
SOME = settings(max_examples=12, suppress_health_check=list(HealthCheck))


@SOME
@given(programs(FINITE, max_steps=8), st.sampled_from([1, 2, None]))
def test_random_programs(client, program, rows):
    call = traced(program)[0].call()
    check_lineage(call, check_call(call, client, rows))


@SOME
@given(table_programs.programs(), table_programs.frames(9), table_programs.frames(9), st.sampled_from([1, 3, None]))
def test_random_tables(client, program, t, other, rows):
    function = tp.trace(lambda a, b: table_programs.run(program, a, b))
    try:
        call = function.prepare((tp.from_dataframe(t, "a"), tp.from_dataframe(other, "b")), {})[1]
        call.outcome()
    except (TraceError, ExecutionError):
        reject()
    check_lineage(call, check_call(call, client, rows))
