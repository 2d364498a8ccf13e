"""What worker processes import: traced functions at the top level of a module, and a data set that calls them."""

from __future__ import annotations

import numpy as np

import traceprop as tp

X = np.random.default_rng(0).normal(size=(40, 4))


@tp.trace
def standardised(x):
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8)


@tp.trace
def positive(x):
    """The data decides which rows are left, so lineage is recorded."""
    return x[x[:, 0] > 0]


def _doubled(x):
    return x * 2


doubled = tp.trace(_doubled)


class Batches:
    """A data set whose items are computed by traced functions, in whichever process asks for them."""

    def __init__(self, x: np.ndarray, prepare: tp.TracedFunction = standardised) -> None:
        self.x = x
        self.prepare = prepare

    def __len__(self) -> int:
        return 4

    def __getitem__(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        batch = self.prepare(self.x[10 * k : 10 * k + 10])
        rows = tp.provenance(positive(self.x[10 * k : 10 * k + 10])).rows(slice(None))["x"]
        return np.asarray(batch), np.asarray(rows)
