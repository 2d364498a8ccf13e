"""Networks of the attribution tasks, from descriptions. Imports torch alone: other environments load this file too."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn


def build(architecture: dict[str, Any]) -> nn.Module:
    """An untrained module; outputs are (n, 1), one logit, or (n, classes)."""
    options = {name: value for name, value in architecture.items() if name != "kind"}
    return {"linear": linear, "mlp": mlp, "cnn": cnn, "text": Text}[architecture["kind"]](**options)


def linear(features: int, **_penalty: float) -> nn.Module:
    """Logistic regression."""
    return nn.Linear(features, 1)


def mlp(layers: list[int], activation: str = "ReLU") -> nn.Module:
    """Dense layers with an activation between them."""
    parts: list[nn.Module] = []
    for here, there in pairwise(layers):
        parts += [nn.Linear(here, there), getattr(nn, activation)()]
    return nn.Sequential(*parts[:-1])


def cnn(side: int, channels: list[int], outputs: int = 1) -> nn.Module:
    """Convolutions 3 x 3, each before a ReLU and a maximum over 2 x 2, and a dense layer; images are (n, 3, side, side)."""
    parts: list[nn.Module] = []
    for here, there in pairwise([3, *channels]):
        parts += [nn.Conv2d(here, there, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        side //= 2
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(channels[-1] * side * side, outputs))


class Text(nn.Module):
    """A classifier of word numbers (n, T), 0 for none: embeddings, their mean, a dense layer, a ReLU, a logit."""

    def __init__(self, vocabulary: int, width: int, hidden: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width, padding_idx=0)
        self.widen = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        there = (ids != 0).to(self.words.weight.dtype)[:, :, None]
        mean = (self.words(ids) * there).sum(dim=1) / there.sum(dim=1)
        return self.out(torch.relu(self.widen(mean)))
