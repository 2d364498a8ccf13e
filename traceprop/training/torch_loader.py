"""PyTorch's `DataLoader`, handed whole batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from traceprop.training.batched import Dataset


@dataclass(frozen=True, eq=False)
class _WholeBatches:
    """A data set whose items come as the batch that they make."""

    rows: Dataset

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Any:
        return self.rows[position]

    def __getitems__(self, positions: Sequence[int]) -> Any:
        return self.rows.batch(positions)


@dataclass(frozen=True, eq=False)
class _Augmented:
    """Makes a batch of a batch."""

    augment: Callable[[Any, Any], tuple[Any, Any]] | None

    def __call__(self, batch: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        if self.augment is None:
            return batch
        x, y, rows = batch
        return *self.augment(x, y), rows


class RowLoader(DataLoader):  # type: ignore[type-arg]
    """A `DataLoader` that tells its data set of every pass that it has finished."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()
        self.dataset.rows.epoch += 1  # type: ignore[attr-defined]


def row_loader(
    rows: Dataset,
    batch_size: int,
    shuffle: bool,
    seed: int | None,
    augment: Callable[[Any, Any], tuple[Any, Any]] | None,
    **options: Any,
) -> RowLoader:
    """See `Dataset.loader`."""
    if shuffle and seed is not None and options.get("generator") is None:
        options["generator"] = torch.Generator().manual_seed(seed)
    if options.get("sampler") is not None or options.get("batch_sampler") is not None:
        shuffle = False
    if options.get("batch_sampler") is None:
        options["batch_size"] = batch_size
    return RowLoader(
        _WholeBatches(rows),  # type: ignore[arg-type]
        shuffle=shuffle,
        collate_fn=_Augmented(augment),
        **options,
    )
