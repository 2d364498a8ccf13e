"""PyTorch functions and modules, traced, against eager; gradients off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.workloads.functions import COLUMNS, chain, in_hand, on
from benchmarks.workloads.pairs import PAIRS, in_turns


def main(quick: bool) -> list[dict[str, Any]]:
    import torch

    import traceprop as tp

    torch.manual_seed(0)
    found = []
    with torch.no_grad():
        for name, function, x in functions(quick):
            traced = tp.trace(function)
            ways = {"plain": on(function, x), "array": in_hand(traced, x, lambda y: y.compute())}
            torch.testing.assert_close(traced(x).compute(), function(x), rtol=1e-4, atol=1e-5)
            for way, times in in_turns(ways, 3 if quick else PAIRS).items():
                found.append({"function": name, "cells": x.numel(), "way": way, **times})
    return found


def functions(quick: bool) -> list[tuple[str, Callable[[Any], Any], Any]]:
    import torch

    found = []
    for size in (10**3,) if quick else (10**2, 10**4, 10**6, 10**7):
        x = torch.randn(size // COLUMNS, COLUMNS)
        found += [("standardise", standardise, x), ("20-step chain", chain, x)]
    found.append(("MLP 784-256-10, batch 256", mlp(), torch.randn(256, 784)))
    batch = 2 if quick else 16
    found.append((f"ResNet, 8 blocks, batch {batch}", resnet(), torch.randn(batch, 3, 32, 32)))
    return found


def standardise(x: Any) -> Any:
    return (x - x.mean(dim=0)) / (x.std(dim=0) + 1e-8)


def mlp() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)).eval()


def resnet() -> Any:
    """He and others (2016) for images of 32 × 32: three stages of basic blocks of 16, 32 and 64 channels."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.norm, self.other_norm = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
            self.short = nn.Conv2d(before, after, 1, stride, bias=False) if stride > 1 or before != after else None

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.norm(self.first(x)))
            return torch.relu(self.other_norm(self.second(y)) + (x if self.short is None else self.short(x)))

    widths = [(16, 16, 1), (16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1)]
    parts = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *(Block(*each) for each in widths)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()
