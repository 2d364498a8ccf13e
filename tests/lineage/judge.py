"""The judge of single functions: values as plain, and lineage that is what changed cells show, over several draws."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import traceprop as tp
from tests.lineage.case import Case
from traceprop.errors import TracepropError
from traceprop.ir import constants_of, parse

Cells = set[tuple[int, ...]]
Place = tuple[int, str, tuple[int, ...]]
DRAWS, ENOUGH, CHANGES = 60, 4, 4
NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class World:
    """The library whose functions are judged: how an array enters it and leaves it, and how far values may differ."""

    given: Callable[[np.ndarray], Any] = lambda array: array
    plain: Callable[[Any], np.ndarray] = np.asarray
    tolerance: float = 0.0
    compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: function


NUMPY = World()


@dataclass(frozen=True)
class Verdict:
    """What was found of a case.

    `outcome`: `"exact"`, `"inexact"` (sound, and says so or names too much), `"refused"`, or `"wrong"`. `why`: in a sentence.
    """

    outcome: str
    why: str = ""


def leaves(result: Any) -> list[Any]:
    """A result's arrays."""
    return list(result) if isinstance(result, (tuple, list)) else [result]


def same(got: Any, want: Any, tolerance: float = 0.0) -> None:
    """Same dtype, and the same cells: to the bit, or to a share of the largest."""
    got, want = np.asarray(got), np.asarray(want)
    texts = got.dtype.kind == want.dtype.kind == "U"  # whose width is that of the longest
    assert texts or got.dtype == want.dtype, f"{got.dtype} where the plain call gives {want.dtype}"
    if not tolerance or want.dtype.kind not in "fc":
        np.testing.assert_array_equal(got, want)
    else:
        atol = tolerance * np.max(np.abs(want[np.isfinite(want)]), initial=1.0)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=atol, equal_nan=True)


def moved(before: np.ndarray, after: np.ndarray) -> Cells:
    """Cells that differ; where sizes do, those that both have are compared, and the others are gone."""
    both = tuple(slice(0, min(n, m)) for n, m in zip(before.shape, after.shape, strict=True))
    gone = np.ones(before.shape, bool)
    left, right = before[both], after[both]
    gone[both] = (left != right) & ~((left != left) & (right != right))
    return set(map(tuple, np.argwhere(gone).tolist()))


def function_of(case: Case) -> Any:
    """The case as a traced function whose parameters, and so the sources, are called a, b and c."""
    parameters = ", ".join(NAMES[: len(case.draws)])
    return tp.trace(eval(f"lambda {parameters}: apply({parameters})", {"apply": case.apply}))


def judge(case: Case, world: World = NUMPY, draws: int = DRAWS) -> Verdict:
    """The verdict on a case, from up to `draws` draws: as many as show every cell that lineage names.

    Raises what the plain function raises: then the case is wrong, and not the library.
    """
    rng = np.random.default_rng(7)
    traced, apply = function_of(case), world.compiled(case.apply)
    told: dict[Place, Cells] = {}
    shown: dict[Place, Cells] = {}
    exact = True
    with warnings.catch_warnings(record=True) as warned, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        for number in range(draws):
            if number >= ENOUGH and (case.blind or named(told) == shown):
                break
            sources = [draw(rng) for draw in case.draws]
            plain = list(map(world.plain, leaves(apply(*map(world.given, sources)))))
            try:
                found = leaves(traced(*map(world.given, sources)))
            except Exception as error:
                return Verdict("refused", first_sentence(error))
            try:
                _hold_values(found, plain, world.tolerance)
            except Exception as error:
                return Verdict("wrong", first_sentence(error))
            for result, got in enumerate(found):
                if hasattr(got, "value"):
                    exact &= _collect(got, result, plain[result].shape, told)
            _perturb(case, apply, world, sources, plain, rng, shown)
    for place, cells in shown.items():
        if not cells <= told.get(place, set()):
            return Verdict(
                "wrong", f"result {place[0]}, cell {place[2]} does not name {sorted(cells - told.get(place, set()))}"
            )
    program = traced.ir(*map(world.given, sources))
    if parse(str(program), constants_of(program)) != program:
        return Verdict("wrong", "its program's text does not read back")
    without_rule = [str(each.message) for each in warned if "no lineage rule" in str(each.message)]
    if without_rule or not exact:
        return Verdict("inexact", without_rule[0].split(":")[0] if without_rule else "view.exact is False")
    if not case.blind and named(told) != shown:
        extra = sum(len(cells - shown.get(place, set())) for place, cells in told.items())
        return Verdict(
            "inexact", f"names {extra} of {sum(map(len, told.values()))} pairs of cells that no draw shows to matter"
        )
    return Verdict("exact")


def named(told: dict[Place, Cells]) -> dict[Place, Cells]:
    """Without the places that name nothing."""
    return {place: cells for place, cells in told.items() if cells}


def first_sentence(error: Exception) -> str:
    """What an error says, on one line; its class too where it is none of ours."""
    kind = "" if isinstance(error, (TracepropError, AssertionError)) else f"{type(error).__name__}: "
    return kind + " ".join(str(error).split())[:300]


def _hold_values(found: list[Any], plain: list[np.ndarray], tolerance: float) -> None:
    assert len(found) == len(plain), f"{len(found)} results where the plain call gives {len(plain)}"
    for got, want in zip(found, plain, strict=True):
        same(got, want, tolerance)


def _collect(lazy: Any, result: int, shape: tuple[int, ...], told: dict[Place, Cells]) -> bool:
    """Adds what lineage names for every cell; gives whether it says it is exact."""
    view = tp.provenance(lazy)
    for cell in np.ndindex(shape):
        for source, cells in view.cells(cell).items():
            told.setdefault((result, source, cell), set()).update(map(tuple, cells.tolist()))
    return bool(view.exact)


def _perturb(
    case: Case,
    apply: Callable[..., Any],
    world: World,
    sources: list[np.ndarray],
    plain: list[np.ndarray],
    rng: np.random.Generator,
    shown: dict[Place, Cells],
) -> None:
    """Adds which result cells some change of a source cell changes; the other values come from the case's own draws."""
    for k, source in enumerate(sources):
        for cell in np.ndindex(source.shape):
            for _ in range(CHANGES):
                again = [array.copy() for array in sources]
                again[k][cell] = case.draws[k](rng)[cell]
                try:
                    changed = leaves(apply(*map(world.given, again)))
                except (ValueError, RuntimeError, IndexError, ZeroDivisionError, np.linalg.LinAlgError):
                    continue  # what the function does not take shows nothing
                for result, after in enumerate(map(world.plain, changed)):
                    for hit in moved(plain[result], after):
                        shown.setdefault((result, NAMES[k], hit), set()).add(cell)
