"""The generated code: readable, and done with values as early as it can be."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ExecutionError
from traceprop.runtime.payloads import resolve


@tp.trace(backend="numpy")
def prepare(x, y):
    kept = x[y > 0]
    scaled = (kept - kept.mean(axis=0)) / 2
    return np.concatenate([scaled, -scaled]).reshape(-1, 1)


def test_code(golden):
    code = prepare.compile(np.ones((4, 3)), np.ones(4)).code
    assert code == golden


def test_code_without_records():
    with tp.granularity(None):
        assert "captures[" not in prepare.compile(np.ones((4, 3)), np.ones(4)).code


def test_code_runs_on_plain_values():
    x, y = np.arange(12.0).reshape(4, 3), np.array([1, 0, 1, 1.0])
    kept = x[y > 0]
    scaled = (kept - kept.mean(axis=0)) / 2
    executable = prepare.compile(x, y)
    np.testing.assert_array_equal(executable(x, y), np.concatenate([scaled, -scaled]).reshape(-1, 1))
    np.testing.assert_array_equal(executable(x[:2], y[:2]), np.zeros((2, 1)).repeat(3, axis=0))
    assert "1 index arrays are recorded" in executable.explain()


def test_a_name_that_is_no_library_function_is_refused():
    with pytest.raises(ExecutionError, match=r"os\.system"):
        resolve("os.system")
    with pytest.raises(ExecutionError):
        resolve("numpy.load")


def test_parameters_with_odd_names_get_plain_ones():
    x = tp.from_numpy(np.ones(3), source_id="a b/c")
    y = tp.from_numpy(np.ones(3), source_id="class")
    np.testing.assert_array_equal(x + y, [2, 2, 2])


def test_warnings_show_the_users_line():
    pd = pytest.importorskip("pandas")

    @tp.trace
    def coded(table):
        return table.one_hot(["job"]).to_numpy("float64")

    fitted = coded.fit(tp.from_dataframe(pd.DataFrame({"job": ["nurse", "cook"]}), source_id="old"))
    new = fitted(tp.from_dataframe(pd.DataFrame({"job": ["nurse", "pilot"]}), source_id="new"))
    with pytest.warns(UserWarning, match="'pilot' was not among the fitting rows") as caught:
        assert np.asarray(new).sum() == 1
    assert [warning.filename for warning in caught] == [__file__]
