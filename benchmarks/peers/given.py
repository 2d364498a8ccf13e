"""A trained model and its data, as a file goes from one environment to another. NumPy alone; torch where a model is built."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Weights = dict[str, np.ndarray]
ARRAYS = ("X", "y", "X_test", "y_test")


@dataclass(frozen=True, eq=False)
class Given:
    """What a library is asked about: training rows, test rows, the trained weights and those at moments before.

    Attributes
    ----------
    architecture
        What `benchmarks.tasks.architectures.build` makes a module of; `"kind"` is `"linear"`, `"mlp"`, `"cnn"` or `"text"`.
    checkpoints
        Weights in the order of training; the last ones are `weights`.
    training
        Optimizer, rate, batch and epochs of a network.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    architecture: dict[str, Any]
    weights: Weights
    checkpoints: list[Weights]
    training: dict[str, Any]

    def __post_init__(self) -> None:
        for x, y in (("X", "y"), ("X_test", "y_test")):
            rows, labels = getattr(self, x), getattr(self, y)
            if labels.ndim != 1 or rows.ndim < 2 or len(rows) != len(labels) or not len(labels):
                raise ValueError(f"{self.name}: {x} {rows.shape} and {y} {labels.shape} are not rows and their labels")
        if self.X.shape[1:] != self.X_test.shape[1:]:
            raise ValueError(f"{self.name}: rows of X {self.X.shape} and X_test {self.X_test.shape} differ in shape")
        if not self.checkpoints:
            raise ValueError(f"{self.name}: there is no checkpoint")
        shapes = {name: np.shape(value) for name, value in self.weights.items()}
        for number, checkpoint in enumerate(self.checkpoints):
            if {name: np.shape(value) for name, value in checkpoint.items()} != shapes:
                raise ValueError(f"{self.name}: checkpoint {number} and the weights differ in names or shapes")

    @property
    def kind(self) -> str:
        return str(self.architecture["kind"])

    @property
    def penalty(self) -> float:
        """Half of it times the squared weights is added to the sum of losses."""
        return 1.0 / self.architecture["C"] if "C" in self.architecture else 0.0

    def module(self) -> Any:
        """A torch module with the trained weights, in float32 and evaluation mode."""
        module = self.untrained()
        module.load_state_dict(self.state(self.weights))
        return module.eval()

    def untrained(self) -> Any:
        """A torch module whose layers have names: libraries look for layers below the module that they are given."""
        from benchmarks.tasks.architectures import build

        if self.kind == "linear":
            return build({"kind": "mlp", "layers": [self.architecture["features"], 1]})
        return build(self.architecture)

    def state(self, weights: Weights) -> dict[str, Any]:
        """Weights as float32 tensors, by the names of `module`'s parameters."""
        import torch

        within = "0." if self.kind == "linear" else ""
        return {within + name: torch.tensor(np.asarray(each), dtype=torch.float32) for name, each in weights.items()}

    def train_rows(self) -> tuple[Any, Any]:
        """Tensors of the training rows and labels."""
        return _rows(self.X, self.y)

    def test_rows(self) -> tuple[Any, Any]:
        """Tensors of the test rows and labels."""
        return _rows(self.X_test, self.y_test)

    def trained(self, seed: int) -> Any:
        """Another network, trained as this one was from another beginning."""
        import torch

        torch.manual_seed(seed)
        module, (X, y) = self.untrained(), self.train_rows()
        rate = self.training["rate"]
        optimizer: Any = (
            torch.optim.Adam(module.parameters(), lr=rate)
            if self.training["optimizer"] == "adam"
            else torch.optim.SGD(module.parameters(), lr=rate, momentum=0.9)
        )
        for _ in range(self.training["epochs"]):
            for at in torch.randperm(len(X)).split(self.training["batch"]):
                optimizer.zero_grad()
                losses(module(X[at]), y[at]).mean().backward()
                optimizer.step()
        return module.eval()


def _rows(X: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
    import torch

    return torch.from_numpy(X.astype(np.float32) if X.dtype.kind == "f" else X), torch.from_numpy(y)


def losses(out: Any, y: Any) -> Any:
    """Of one logit or of classes, with their labels: the loss of each row (n,)."""
    from torch.nn import functional

    if out.shape[-1] == 1:
        return functional.binary_cross_entropy_with_logits(out.squeeze(-1), y.to(out.dtype), reduction="none")
    return functional.cross_entropy(out, y, reduction="none")


def margins(out: Any, y: Any) -> Any:
    """log p_y / (1 - p_y) of each row (n,)."""
    import torch

    if out.shape[-1] == 1:
        return out.squeeze(-1) * (2 * y - 1).to(out.dtype)
    own = torch.arange(out.shape[-1]) == y.unsqueeze(-1)  # one_hot looks at the values, which vmap forbids
    return (out * own).sum(dim=-1) - out.masked_fill(own, -torch.inf).logsumexp(dim=-1)


def by_rows(function: Callable[[Any, Any], Any], reduction: str) -> Callable[[Any, Any], Any]:
    """Return `losses` or `margins` as a loss function of torch: reduced, and saying how."""

    def reduced(out: Any, y: Any) -> Any:
        values = function(out, y)
        return values if reduction == "none" else getattr(values, reduction)()

    reduced.reduction = reduction  # type: ignore[attr-defined]
    return reduced


def write(path: Path, task: Any) -> None:
    """Write a task (anything with `Given`'s fields) where `read` finds it. Raises ValueError where shapes do not fit."""
    given = task if isinstance(task, Given) else Given(**{name: getattr(task, name) for name in Given.__annotations__})
    words = {name: getattr(given, name) for name in ("name", "architecture", "training")}
    arrays = {name: getattr(given, name) for name in ARRAYS}
    arrays |= {f"weights/{name}": value for name, value in given.weights.items()}
    for number, checkpoint in enumerate(given.checkpoints):
        arrays |= {f"checkpoint/{number}/{name}": value for name, value in checkpoint.items()}
    np.savez(path, words=np.array(json.dumps(words, sort_keys=True)), **arrays)


def read(path: Path) -> Given:
    """Read what `write` wrote; nothing is unpickled."""
    weights: Weights = {}
    checkpoints: dict[int, Weights] = {}
    with np.load(path, allow_pickle=False) as stored:
        for key in stored.files:
            part, _, name = key.partition("/")
            if part == "weights":
                weights[name] = stored[key]
            elif part == "checkpoint":
                number, _, parameter = name.partition("/")
                checkpoints.setdefault(int(number), {})[parameter] = stored[key]
        words = json.loads(str(stored["words"]))
        return Given(
            **words,
            **{name: stored[name] for name in ARRAYS},
            weights=weights,
            checkpoints=[checkpoints[number] for number in sorted(checkpoints)],
        )
