"""Tables: the methods of tables and columns in their options, beside the same in polars."""

from __future__ import annotations

from benchmarks.surfaces.finding import Finding


def functions() -> dict[str, list[str]]:
    from tests.lineage.table_cases import FAMILIES

    return {family: list(cases) for family, cases in FAMILIES.items()}


def found(family: str, name: str) -> Finding:
    from tests.lineage.judge_tables import judge_tables
    from tests.lineage.table_cases import FAMILIES

    verdict = judge_tables(FAMILIES[family][name])
    return Finding(verdict.outcome, verdict.why, int(verdict.outcome == "exact"), 1)


def left_out() -> dict[str, str]:
    return {
        "pivot": "its columns are the data's: group_by(…).agg(…) and one_hot say the same with columns that are known"
    }
