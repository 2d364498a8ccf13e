"""PyTorch: the core ATen set, modules, writes in place, views, and sizes that the data decides."""

from __future__ import annotations

from benchmarks.surfaces.finding import Finding


def functions() -> dict[str, list[str]]:
    from tests.lineage.torch_cases import FAMILIES

    return {family: list(cases) for family, cases in FAMILIES.items()}


def found(family: str, name: str) -> Finding:
    import torch

    from tests.lineage.judge_torch import judge_tensors
    from tests.lineage.torch_cases import FAMILIES

    torch.set_num_threads(1)
    verdict = judge_tensors(FAMILIES[family][name])
    return Finding(verdict.outcome, verdict.why, int(verdict.outcome == "exact"), 1)


def left_out() -> dict[str, str]:
    from tests.lineage.torch_cases import LEFT_OUT

    return dict(LEFT_OUT)
