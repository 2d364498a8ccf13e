"""NumPy: every ufunc and its methods, every form of index, and every public function of the array API."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from benchmarks.surfaces.finding import Finding, worst


@lru_cache(maxsize=1)
def _families() -> dict[str, dict[str, dict[str, Any]]]:
    from tests.lineage.numpy_surface import families

    return families()


def functions() -> dict[str, list[str]]:
    return {family: list(each) for family, each in _families().items()}


def found(family: str, name: str) -> Finding:
    from tests.lineage.judge import judge

    verdicts = []
    for case, given in _families()[family][name].items():
        verdict = judge(given)
        verdicts.append((case, verdict.outcome, verdict.why))
    return worst(verdicts)


def left_out() -> dict[str, str]:
    from tests.lineage.numpy_surface import LEFT_OUT

    return dict(LEFT_OUT)
