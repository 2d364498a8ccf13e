"""JAX: all of jax.numpy, jax.nn, jax.lax and the transformations, and the primitives that they lower to."""

from __future__ import annotations

from typing import Any

from benchmarks.surfaces.finding import Finding, worst

PRIMITIVES = "primitives that occur"
NARROW = "in 32 bits"
"""A family of its own: functions of others again, without 64-bit numbers."""


def _families() -> dict[str, Any]:
    from tests.lineage.jax_surface import FAMILIES

    again = {name: cases for family in ("folds", "jax.nn") for name, cases in list(FAMILIES[family].items())[::2]}
    return {**FAMILIES, NARROW: again}


def functions() -> dict[str, list[str]]:
    return {PRIMITIVES: [], **{family: list(cases) for family, cases in _families().items()}}


def found(family: str, name: str) -> Finding:
    from tests.lineage.judge_jax import judge_arrays

    verdicts, parts = [], {}
    for case, given in _families()[family][name].items():
        verdict, primitives = judge_arrays(given, wide=family != NARROW)
        verdicts.append((case, verdict.outcome, verdict.why))
        for primitive, why in primitives.items():
            parts[primitive] = why or parts.get(primitive, "")
    return worst(verdicts, parts)


def merged(families: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The families, with the primitives that occur in their functions as one more: exact where they are in all of them."""
    seen: dict[str, list[str]] = {}
    for functions in families.values():
        for each in functions.values():
            for primitive, why in each.pop("parts", {}).items():
                seen.setdefault(primitive, []).append(why)
    primitives = {
        name: Finding("inexact" if any(whys) else "exact", max(whys, key=len), whys.count(""), len(whys)).as_dict()
        for name, whys in sorted(seen.items())
    }
    return {PRIMITIVES: primitives, **{family: each for family, each in families.items() if family != PRIMITIVES}}


def left_out() -> dict[str, str]:
    from tests.lineage.jax_surface import LEFT_OUT

    return dict(LEFT_OUT)
