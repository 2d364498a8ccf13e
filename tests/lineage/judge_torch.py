"""The judge, for functions of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.lineage.case import Case
from tests.lineage.judge import Verdict, World, judge

DRAWS = 30


def _plain(value: Any) -> np.ndarray:
    return value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


TORCH = World(torch.tensor, _plain, 1e-9)


def judge_tensors(case: Case) -> Verdict:
    """The verdict on a case whose function takes and gives tensors."""
    return judge(case, TORCH, DRAWS)
