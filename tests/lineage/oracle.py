"""What a function of arrays is held to: values as plain, text that reads back, and lineage as perturbation shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import traceprop as tp
from tests.lineage.test_exact import Cells, dependence
from traceprop.ir import constants_of


def reported(result: Any, names: list[str]) -> list[dict[tuple[int, ...], Cells]]:
    """Per source and result cell, the source cells that lineage names."""
    view = tp.provenance(result)
    assert view.exact
    cells = {place: view.cells(place) for place in np.ndindex(np.asarray(result).shape)}
    return [
        {place: set(map(tuple, found[name].tolist())) for place, found in cells.items() if name in found}
        for name in names
    ]


def check(function: Callable[..., Any], *sources: np.ndarray, exactly: bool = True) -> None:
    """Every result of `function`. `exactly`: no cell is reported that perturbation does not show."""
    names = list(function.__code__.co_varnames[: len(sources)])
    traced = tp.trace(function)
    program = traced.ir(*sources)
    assert tp.ir.parse(str(program), constants_of(program)) == program
    wanted, found = _leaves(function(*sources)), _leaves(traced(*sources))
    assert len(wanted) == len(found)
    for k, (want, got) in enumerate(zip(wanted, found, strict=True)):
        plain = np.asarray(got)
        np.testing.assert_array_equal(plain, want)
        assert plain.dtype == np.asarray(want).dtype
        shown = dependence(lambda *given, k=k: _leaves(function(*given))[k], sources, sources[0].dtype == bool)
        for told, seen in zip(reported(got, names), shown, strict=True):
            for place, cells in seen.items():
                assert cells <= told.get(place, set()), place
            if exactly:
                assert {p: c for p, c in told.items() if c} == {p: c for p, c in seen.items() if c}


def _leaves(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]
