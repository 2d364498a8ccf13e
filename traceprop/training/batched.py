"""Training data as batches that know which rows they are: for PyTorch's `DataLoader`, and for loops in NumPy and JAX."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.tracing.lazy import is_lazy
from traceprop.tracing.worlds import WORLDS, to_world, world_of_value
from traceprop.training.data import check_lengths, plain_array
from traceprop.training.owners import Owners, row_owners

AT_ONCE, AT_ONCE_ROWS = 4, 4096


def dataset(X: Any, y: Any, source_id: str | None = None, world: str | None = None) -> Dataset:
    """Training data whose batches carry their rows, whatever order they are fed in.

        data = tp.dataset(X, y)
        for xb, yb, rows in torch.utils.data.DataLoader(data, batch_size=64, shuffle=True, num_workers=2): ...
        for xb, yb, rows in data.loader(64, shuffle=True, num_workers=2, augment=flip): ...     # whole batches: faster
        for xb, yb, rows in data.batches(64, shuffle=True): ...                                # NumPy and JAX loops

    `rows` are positions in X, int64 (b,). `tp.training_context(model, data=data, loss=loss)` trains on it, and
    `data.rows_of(i)` says which source rows position i is made of.

    Parameters
    ----------
    X, y
        The features (n, …) and targets (n, …): lazy values, arrays or tensors. Lazy values are computed here, once, so
        that no worker runs their pipeline again. Features keep their dtype.
    source_id
        What a plain array's rows are called; "X_train" by default. Lazy values bring their sources.
    world
        What `batches` yields: "numpy", "jax" or "torch"; None for what X is of.

    Raises
    ------
    ModelError
        The lengths differ, there are no rows, or the values are no arrays of one type of numbers.
    """
    if world is not None and world not in WORLDS:
        raise ModelError(f"world is one of {', '.join(map(repr, WORLDS))}, not {world!r}")
    return Dataset(X, y, source_id, world or (X.world if is_lazy(X) else world_of_value(X)))


class Dataset:
    """See `dataset`. It is pickled by its arrays, in shared memory where PyTorch does the pickling, and without lineage.

    Attributes
    ----------
    X, y
        The data as they were given. In a worker: the plain arrays.
    arrays
        The same as plain arrays.
    epoch
        How many passes `batches` and `loader` have finished.
    """

    def __init__(self, X: Any, y: Any, source_id: str | None, world: str) -> None:
        features, targets = _numbers(X, "X"), _numbers(y, "y")
        check_lengths(features, targets, ("X", "y"))
        self.X, self.y = X, y
        self.source_id, self.world = source_id, world
        self.arrays = features, targets
        self.epoch = 0
        self._worker = False

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __repr__(self) -> str:
        features, targets = self.arrays
        return f"<Dataset of {len(self)} rows: {features.dtype} {features.shape}, {targets.dtype} {targets.shape}>"

    # -- PyTorch's protocol -------------------------------------------------------------------------------------------

    def __getitem__(self, position: int) -> tuple[Any, Any, int]:
        """One sample (x, y, row), as tensors."""
        row = range(len(self))[position]
        x, y = self.tensors
        return x[row], y[row], row

    def __getitems__(self, positions: Sequence[int]) -> list[tuple[Any, Any, int]]:
        """Samples as a `DataLoader` asks for them; what they are cut from is read at once."""
        x, y, rows = self.batch(positions)
        return list(zip(x.unbind(0), y.unbind(0), rows.tolist(), strict=True))

    def batch(self, positions: Any) -> tuple[Any, Any, Any]:
        """Whole samples (xb, yb, rows) as tensors, rows int64 (b,)."""
        import torch

        rows = torch.as_tensor(positions, dtype=torch.int64)
        x, y = self.tensors
        return x.index_select(0, rows), y.index_select(0, rows), rows

    @cached_property
    def tensors(self) -> tuple[Any, Any]:
        """The data as tensors that share the arrays' memory; an array that may not be written to is copied."""
        features, targets = self.arrays
        return to_world(features, "torch"), to_world(targets, "torch")

    def loader(
        self,
        batch_size: int = 64,
        shuffle: bool = False,
        seed: int | None = 0,
        num_workers: int = 0,
        augment: Callable[[Any, Any], tuple[Any, Any]] | None = None,
        **options: Any,
    ) -> Any:
        """A `DataLoader` of (xb, yb, rows) that takes whole batches out of the arrays.

        `augment(xb, yb)` changes a batch, in the worker where there are workers. `seed` decides the order, another one in
        each pass. Workers are forked unless `multiprocessing_context=` says otherwise, or JAX is in this process, whose
        threads a fork may leave stuck: then they are spawned. Other `options` are the `DataLoader`'s own.
        """
        from traceprop.training.torch_loader import row_loader

        if num_workers and "jax" in sys.modules:
            options.setdefault("multiprocessing_context", "spawn")
        return row_loader(self, batch_size, shuffle, seed, augment, num_workers=num_workers, **options)

    # -- loops in NumPy and JAX ---------------------------------------------------------------------------------------

    def batches(
        self,
        batch_size: int,
        shuffle: bool = False,
        seed: int | None = 0,
        drop_last: bool = False,
        world: str | None = None,
    ) -> Iterator[tuple[Any, Any, np.ndarray]]:
        """Yield (xb, yb, rows) once over the data, rows int64 (b,).

        `seed` decides the order where `shuffle` is set, another one in each pass; None draws it. The last batch may be
        smaller, or is left out. `world` as in `dataset`.
        """
        order = None
        if shuffle:
            order = np.random.default_rng(None if seed is None else (seed, self.epoch)).permutation(len(self))
        kind = world or self.world
        if kind == "torch":
            yield from cut(*self.tensors, batch_size, order, drop_last)
        else:
            for xb, yb, rows in cut(*self.arrays, batch_size, order, drop_last):
                yield to_world(xb, kind), to_world(yb, kind), rows
        self.epoch += 1

    # -- rows of files ------------------------------------------------------------------------------------------------

    @cached_property
    def owners(self) -> Owners:
        """The source rows behind every position. Raises ModelError in a worker, which has the numbers alone."""
        if self._worker:
            raise ModelError(
                "this copy of the data set is a worker's, and the lineage stayed behind; ask the data set that was pickled, "
                "by the rows that the batches carry"
            )
        return row_owners(self.X, self.y, len(self), self.source_id)

    def rows_of(self, position: int) -> list[tuple[str, int]]:
        """The (source id, row) pairs that a position is made of."""
        return self.owners.rows_of(range(len(self))[position])

    def __getstate__(self) -> dict[str, Any]:
        """Arrays alone, as tensors where PyTorch is in use: its own pickler puts those into shared memory, once."""
        given = self.tensors if "torch" in sys.modules else self.arrays
        return {"values": given, "source_id": self.source_id, "world": self.world, "epoch": self.epoch}

    def __setstate__(self, state: dict[str, Any]) -> None:
        features, targets = state["values"]
        if world_of_value(features) == "torch":
            self.tensors = features, targets
            features, targets = features.numpy(), targets.numpy()
        self.arrays = self.X, self.y = features, targets
        self.source_id, self.world, self.epoch = state["source_id"], state["world"], state["epoch"]
        self._worker = True


def cut(
    features: Any, targets: Any, batch_size: int, order: np.ndarray | None, drop_last: bool = False
) -> Iterator[tuple[Any, Any, np.ndarray]]:
    """Yield (xb, yb, rows) of `batch_size` rows each, in `order` or as they stand, of arrays or of tensors.

    Batches are the loop's own: what it writes into one is in no other, and not in the data. A few of them are read at once,
    which costs half of reading each by itself.
    """
    if batch_size < 1:
        raise ModelError(f"batch_size is at least 1, not {batch_size}")
    rows = np.arange(len(features)) if order is None else order
    rows = rows[: len(rows) - len(rows) % batch_size] if drop_last else rows
    tensors = not isinstance(features, np.ndarray)
    together = batch_size * max(1, min(AT_ONCE, AT_ONCE_ROWS // batch_size))
    for first in range(0, len(rows), together):
        chosen = rows[first : first + together]
        if tensors:
            yield from _cut_tensors(features, targets, chosen, batch_size)
            continue
        x, y = features.take(chosen, axis=0, mode="clip"), targets.take(chosen, axis=0, mode="clip")
        for start in range(0, len(chosen), batch_size):
            stop = start + batch_size
            yield x[start:stop], y[start:stop], chosen[start:stop]


def _cut_tensors(x: Any, y: Any, rows: np.ndarray, batch_size: int) -> Iterator[tuple[Any, Any, np.ndarray]]:
    import torch

    chosen = torch.from_numpy(rows)
    parts = (value.index_select(0, chosen).split(batch_size) for value in (x, y))
    for start, (xb, yb) in enumerate(zip(*parts, strict=True)):
        # .data: a write into one batch is none into its neighbours, as far as autograd is concerned
        yield xb.data, yb.data, rows[start * batch_size : (start + 1) * batch_size]


def _numbers(value: Any, name: str) -> np.ndarray:
    array = plain_array(value, name)
    if array.dtype.kind not in "biuf":
        raise ModelError(
            f"{name} holds {array.dtype}, and a training loop needs numbers; encode text first, e.g. one-hot"
        )
    return np.ascontiguousarray(array)
