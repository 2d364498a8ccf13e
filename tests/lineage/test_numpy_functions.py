"""NumPy functions one by one: values as plain, and lineage that is what changed cells show, over several draws."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import traceprop as tp
from tests.lineage.numpy_functions import CASES, Case, floats
from traceprop.errors import TraceError
from traceprop.ir import constants_of

Cells = set[tuple[int, ...]]
DRAWS, ENOUGH, CHANGES = 60, 4, 4
NAMES = ("a", "b", "c")


def _leaves(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def equal(got: Any, want: Any) -> None:
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


def moved(before: np.ndarray, after: np.ndarray) -> Cells:
    """Cells that differ; where sizes do, those that both have are compared, and the others are gone."""
    both = tuple(slice(0, min(n, m)) for n, m in zip(before.shape, after.shape, strict=True))
    gone = np.ones(before.shape, bool)
    left, right = before[both], after[both]
    gone[both] = (left != right) & ~((left != left) & (right != right))
    return set(map(tuple, np.argwhere(gone).tolist()))


def function_of(case: Case) -> Any:
    parameters = ", ".join(NAMES[: len(case.draws)])
    return tp.trace(eval(f"lambda {parameters}: apply({parameters})", {"apply": case.apply}))  # names for the sources


@pytest.mark.parametrize("name", CASES)
def test_function(name):
    case = CASES[name]
    rng = np.random.default_rng(7)
    traced = function_of(case)
    told: dict[tuple[Any, ...], Cells] = {}
    shown: dict[tuple[Any, ...], Cells] = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", UserWarning)
        for draw_number in range(DRAWS):
            if draw_number >= ENOUGH and (case.blind or {p: c for p, c in told.items() if c} == shown):
                break
            sources = [draw(rng) for draw in case.draws]
            wanted = list(map(np.asarray, _leaves(case.apply(*sources))))
            found = _leaves(traced(*sources))
            assert len(found) == len(wanted)
            for result, (got, want) in enumerate(zip(found, wanted, strict=True)):
                equal(got, want)
                if not hasattr(got, "value"):
                    continue
                view = tp.provenance(got)
                assert view.exact
                for cell in np.ndindex(want.shape):
                    for source, cells in view.cells(cell).items():
                        told.setdefault((result, source, cell), set()).update(map(tuple, cells.tolist()))
            for k, source in enumerate(sources):
                for cell in np.ndindex(source.shape):
                    for _ in range(CHANGES):
                        again = [array.copy() for array in sources]
                        again[k][cell] = case.draws[k](rng)[cell]
                        for result, after in enumerate(map(np.asarray, _leaves(case.apply(*again)))):
                            for hit in moved(wanted[result], after):
                                shown.setdefault((result, NAMES[k], hit), set()).add(cell)
    for place, cells in shown.items():
        assert cells <= told.get(place, set()), (place, cells, told.get(place))
    if not case.blind:
        assert {p: c for p, c in told.items() if c} == shown
    program = traced.ir(*sources)
    assert tp.ir.parse(str(program), constants_of(program)) == program


@pytest.mark.parametrize("name", ["copyto", "put", "place", "putmask", "fill_diagonal"])
def test_what_writes_in_place_is_refused(name):
    """NumPy gives None for these, so a trace would lose what they do."""
    more = {"copyto": (0,), "put": ([0], 1.0), "place": (True, [1.0]), "putmask": (True, 1.0), "fill_diagonal": (1.0,)}[
        name
    ]
    with pytest.raises(TraceError, match=rf"in-place write by numpy.{name} at .*test_numpy_functions.py"):
        tp.trace(lambda a: getattr(np, name)(a, *more))(np.ones((2, 2)))


def test_out_that_was_read_before_is_refused():
    """NumPy would change what was read as well."""

    @tp.trace
    def f(a):
        out = np.zeros_like(a)
        first = out[0]
        np.add(a, 1, out=out)
        return first, out

    with pytest.raises(TraceError, match="in-place write"):
        f(np.ones(3))


def test_the_name_behind_out_stands_for_the_result():
    @tp.trace
    def f(a, b):
        out = np.ones_like(a)
        np.divide(a, b, out=out, where=b != 0)
        return out

    result = f(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    np.testing.assert_array_equal(result, [1.0, 0.5])
    assert {s: r.tolist() for s, r in tp.provenance(result).rows(1, "any").items()} == {"a": [1], "b": [1]}


def test_where_without_out_is_refused():
    with pytest.raises(TraceError, match="leaves cells that nothing was written to"):
        tp.trace(lambda a: np.sqrt(a, where=a > 0))(np.ones(3))


def test_an_index_outside_of_an_inner_axis_is_an_error_in_the_run():
    f = tp.trace(lambda a, i: a[i, i])
    with pytest.raises(Exception, match="out of bounds"):
        np.asarray(f(np.ones((5, 3)), np.array([1, 4])))


def test_statistics_of_columns_keep_their_fitted_form():
    """The categories of `np.unique` are part of what a pipeline was fitted on."""
    encode = tp.trace(lambda t: (t[:, None] == np.unique(t)).astype(float))
    fitted = encode.fit(np.array(["b", "a", "c"]))
    np.testing.assert_array_equal(np.asarray(fitted(np.array(["c", "z"]))), [[0, 0, 1], [0, 0, 0]])


def test_rows_stay_rows_through_the_blocks():
    """A batch of matrices, one per row: row i of the inverse is row i of the file."""
    x = tp.from_numpy(floats(4, 2, 2)(np.random.default_rng(0)), source_id="x")
    for result in (np.linalg.inv(x), np.fft.fft(x), np.tril(x), np.linalg.qr(x).Q):
        assert {s: r.tolist() for s, r in tp.provenance(result).rows(2).items()} == {"x": [2]}
