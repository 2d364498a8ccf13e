"""Whose each gradient in blocks is, in sources and rows, beside the epoch, step and loss that it was logged with."""

from __future__ import annotations

from typing import Any

import numpy as np

from traceprop.stores import GradientBlocks
from traceprop.training.owners import Owners


def with_owners(blocks: GradientBlocks, owners: Owners) -> Any:
    """A polars DataFrame of the gradients and the rows behind their samples; see `GradientStore.columns`."""
    import polars as pl

    told = blocks.columns()
    logged = pl.DataFrame({name: np.ascontiguousarray(told[name]) for name in ("sample", "epoch", "step", "loss")})
    behind = [
        pl.DataFrame({"sample": samples, "row": rows}).with_columns(source=pl.lit(name, dtype=pl.String))
        for name, (samples, rows) in owners.pairs.items()
    ]
    found = logged.with_row_index("gradient").join(pl.concat(behind), on="sample", how="left")
    order = pl.col("source").replace_strict({name: place for place, name in enumerate(owners.pairs)}, default=0)
    return found.select(pl.col("gradient").cast(pl.Int64), "source", "row", "sample", "epoch", "step", "loss").sort(
        "gradient", order, "row"
    )
