"""Every ufunc of NumPy in every way in which it can be called, each with arrays to try it on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.lineage.case import Case, Draw, dates, few_complex, masks, mixed, texts, times, wholes

KINDS: dict[str, Callable[..., Draw]] = {
    "numbers": mixed,
    "whole numbers": wholes,
    "booleans": masks,
    "complex numbers": few_complex,
    "texts": texts,
    "dates": dates,
    "times": times,
}
FROM_ZERO = "left_shift right_shift power ldexp".split()
TIES = "equal not_equal heaviside isinf".split()
BLIND = {f"copysign.{method}": "of those in the middle the sign is lost again" for method in ("reduce", "accumulate")}
METHODS = "reduce accumulate outer reduceat".split()


def ufuncs(module: Any = np) -> dict[str, np.ufunc]:
    """The ufuncs of a module, under the name that each calls itself; aliases are the same function."""
    found = {name: value for name in dir(module) if isinstance(value := getattr(module, name), np.ufunc)}
    return {
        name: value for name, value in found.items() if name == value.__name__.strip("_") or value not in found.values()
    }


def _tried(apply: Callable[..., Any], draws: tuple[Draw, ...]) -> bool:
    """Whether NumPy itself takes such arrays, and gives for others something else."""
    rng = np.random.default_rng(0)
    try:
        with np.errstate(all="ignore"):
            tries = [apply(*(draw(rng) for draw in draws)) for _ in range(12)]
    except (TypeError, ValueError, AttributeError, np.exceptions.DTypePromotionError):
        return False
    results = [[np.asarray(each) for each in (found if isinstance(found, tuple) else (found,))] for found in tries]
    if any(each.dtype == object for found in results for each in found):
        return False
    return all(len({str(found[k].tolist()) for found in results}) > 1 for k in range(len(results[0])))


def _draw(name: str, kind: str, *shape: int) -> Draw:
    if kind == "whole numbers" and name in FROM_ZERO:
        return wholes(*shape, low=0, high=5)
    if name in TIES and kind == "numbers":
        return lambda rng: rng.choice([0.0, 1.0, -1.0, np.inf], size=shape)
    if name.startswith("logical"):  # what is true or false: zeros are common
        return (
            (lambda rng: rng.choice([0.0, 0.0, 0.0, 1.0, -1.0], size=shape))
            if kind == "numbers"
            else KINDS[kind](*shape)
        )
    return KINDS[kind](*shape)


def _kinds_of(name: str, func: np.ufunc) -> list[str]:
    """The kinds of arrays that the function takes: the first of all, and those that go another way besides."""
    able = [kind for kind in KINDS if _tried(func, tuple(_draw(name, kind, 3, 2) for _ in range(func.nin)))]
    if name.startswith("logical"):
        return [kind for kind in able if kind in ("numbers", "booleans")]
    more = () if name == "modf" else ("whole numbers", "complex numbers", "dates", "texts")
    return [*able[:1], *(kind for kind in more if kind in able[1:])]


def calls() -> dict[str, dict[str, Case]]:
    """By function, and for its methods by `function.method`: cases."""
    found: dict[str, dict[str, Case]] = {}
    for name, func in ufuncs().items():
        if func.signature:
            continue
        kinds = _kinds_of(name, func)
        found[name] = {kind: Case(func, tuple(_draw(name, kind, 3, 2) for _ in range(func.nin))) for kind in kinds}
        if len(kinds) and func.nout == 1:
            draws = tuple(_draw(name, kinds[0], 3, 2) for _ in range(func.nin))
            found[f"{name} where="] = {"": Case(_where(func, draws), (*draws, masks(3, 2)))}
        if func.nin != 2 or func.nout != 1:
            continue
        for method in METHODS:
            for kind in kinds:
                case = _of_method(func, method, kind, name)
                if case is not None:
                    found.setdefault(f"{name}.{method}", {})[kind] = case
    return found


def _where(func: np.ufunc, draws: tuple[Draw, ...]) -> Callable[..., Any]:
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        dtype = func(*(draw(rng) for draw in draws)).dtype

    def apply(*given: Any) -> Any:
        *arrays, mask = given
        return func(*arrays, out=np.zeros_like(arrays[0], dtype=dtype), where=mask)

    return apply


def _of_method(func: np.ufunc, method: str, kind: str, name: str) -> Case | None:
    whole = _draw(name, kind, 3, 2)
    if method == "outer":
        apply: Callable[..., Any] = func.outer
        draws: tuple[Draw, ...] = (_draw(name, kind, 3), _draw(name, kind, 2))
    elif method == "reduceat":
        draws, apply = (whole,), lambda a: func.reduceat(a, [0, 2, 1], axis=0)
    else:
        draws, apply = (whole,), lambda a: getattr(func, method)(a, axis=0)
    return Case(apply, draws, BLIND.get(f"{name}.{method}", "")) if _tried(apply, draws) else None
