"""Small networks that retrain in seconds: how one is trained, whatever it reads."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.tasks.problem import Problem, Weights
from benchmarks.tasks.timing import one_thread


@dataclass(frozen=True)
class AbstractNetworkTask(ABC):
    """A task: features and labels int64 (n,), and how its network is trained.

    `checkpoints`: the passes after which it is looked at.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    optimizer: str
    rate: float
    batch: int
    epochs: int
    checkpoints: tuple[int, ...]

    @property
    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """What `architectures.build` makes the network of."""

    @property
    def recipe(self) -> str:
        """All that decides a training run but rows and seed."""
        return f"{self.architecture} {self.optimizer} {self.rate} {self.batch} {self.epochs}"

    def model(self, seed: int) -> Any:
        """An untrained network."""
        import torch

        from benchmarks.tasks.architectures import build

        torch.manual_seed(seed)
        return build(self.architecture)

    def loss(self, reduction: str = "mean") -> Any:
        """The loss of the network's outputs: of one logit, or of several."""
        import torch
        from torch.nn import functional

        def of(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            if out.shape[-1] > 1:
                return functional.cross_entropy(out, y, reduction=reduction)
            return functional.binary_cross_entropy_with_logits(out.squeeze(-1), y.to(out.dtype), reduction=reduction)

        return of

    def train(self, rows: np.ndarray, seed: int) -> Any:
        """A network trained on some rows."""
        model = self.model(seed)
        for _ in self.passes(model, rows):
            pass
        return model

    def make_optimizer(self, parameters: Any) -> Any:
        """The optimizer of a training run."""
        import torch

        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.rate)
        return torch.optim.SGD(parameters, lr=self.rate, momentum=0.9)

    def passes(self, model: Any, rows: np.ndarray) -> Iterator[int]:
        """Train pass by pass over the rows; yields the number of passes behind."""
        import torch

        optimizer = self.make_optimizer(model.parameters())
        X, y, loss = torch.from_numpy(self.X[rows]), torch.from_numpy(self.y[rows]), self.loss()
        for epoch in range(self.epochs):
            with flushed():
                for at in torch.randperm(len(X)).split(self.batch):
                    optimizer.zero_grad()
                    loss(model(X[at]), y[at]).backward()
                    optimizer.step()
            yield epoch + 1

    def margins(self, model: Any) -> np.ndarray:
        """log p_y / (1 - p_y) of the test rows: float64 (t,)."""
        import torch

        with torch.no_grad():
            out = model(torch.from_numpy(self.X_test)).double().numpy()
        if out.shape[1] == 1:
            return out[:, 0] * (2 * self.y_test - 1)
        own = out[np.arange(len(out)), self.y_test]
        out[np.arange(len(out)), self.y_test] = -np.inf
        top = out.max(axis=1)
        return own - top - np.log(np.exp(out - top[:, None]).sum(axis=1))

    def retrained_margins(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Train on some rows with one thread: the margins of the test rows."""
        with one_thread():
            return self.margins(self.train(rows, seed))

    def recorded(self, seed: int) -> tuple[Any, Problem]:
        """Train on all rows in a context: its gradient store, and the problem as other libraries see it."""
        import traceprop as tp

        everything = np.arange(len(self.y))
        moments: list[Weights] = []
        with one_thread():
            start = time.process_time()
            self.train(everything, seed)
            fit = time.process_time() - start
            model = self.model(seed)
            with tp.training_context(model, self.X, self.y, loss=self.loss("none"), source_id=self.name) as ctx:
                for epoch in self.passes(model, everything):
                    if epoch in self.checkpoints:
                        ctx.checkpoint()
                        moments.append(weights(model))
        training = {"optimizer": self.optimizer, "rate": self.rate, "batch": self.batch, "epochs": self.epochs}
        problem = Problem(
            self.name, self.X, self.y, self.X_test, self.y_test, self.architecture, moments[-1], moments, training, fit
        )
        return ctx.gradient_store, problem


@contextmanager
def flushed() -> Iterator[None]:
    """Subnormal numbers count as 0 meanwhile: what Adam keeps of inputs that are always 0 would slow everything down."""
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def weights(model: Any) -> Weights:
    """A copy of the parameters, by name."""
    return {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}
