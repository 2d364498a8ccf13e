"""Random numbers that a traced function may draw: of a seed, and so the same in each run."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir.location import user_location
from traceprop.ir.opset import gather
from traceprop.ir.opset import random as random_op
from traceprop.tracing.lazy import Lazy, emit


class Random:
    """`rng = tp.random(seed)`: draws that are part of the program.

    Like `np.random.default_rng(seed)`, but every draw has a stream of its own (the seed's n-th child), so that it is the
    same in every run, and in the plain function as in the traced one. Make the generator inside the function.
    Numbers of a given shape are constants of the program. Rows are drawn by their number, so that each keeps its lineage:
    `permutation(x)` and `choice(x, size)` take an array or a table, lazy or plain.
    """

    def __init__(self, seed: int) -> None:
        if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
            raise TraceError(f"a seed is an integer from 0 up, not {seed!r}, at {user_location() or 'an unknown line'}")
        self.seed = int(seed)
        self._draws = itertools.count()

    def __repr__(self) -> str:
        return f"tp.random({self.seed})"

    def _child(self) -> int:
        """The seed of the next draw."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(next(self._draws),))
        return int(sequence.generate_state(1, np.uint32)[0])

    def _generator(self) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(self._child()))

    def normal(self, loc: float = 0.0, scale: float = 1.0, size: Any = None) -> Any:
        """float64 of shape `size` from the normal distribution."""
        return self._generator().normal(loc, scale, size)

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = None) -> Any:
        """float64 of shape `size` from low (included) to high."""
        return self._generator().uniform(low, high, size)

    def integers(self, low: int, high: int | None = None, size: Any = None) -> Any:
        """int64 of shape `size` from low (included) to high, or from 0 to low."""
        return self._generator().integers(low, high, size)

    def permutation(self, x: Any) -> Any:
        """The rows of an array or a table in random order; with a number, its positions: int64 (x,)."""
        if not isinstance(x, Lazy):
            return self._rows(x, x if isinstance(x, (int, np.integer)) else len(x))
        return self._taken(x, x.type.dims[0])

    def choice(self, x: Any, size: int) -> Any:
        """`size` different rows of an array or a table, in the order in which they are drawn."""
        return self._taken(x, int(size)) if isinstance(x, Lazy) else self._rows(x, int(size))

    def _taken(self, x: Lazy, count: Any) -> Any:
        if not x.value.rank:
            raise TraceError(f"a single number has no rows to draw from, at {user_location() or 'an unknown line'}")
        positions = emit(random_op, [x], {"count": count, "seed": self._child()})
        return emit(
            gather, [x, positions], {"axis": 0}, "table.take" if x.type.dims and hasattr(x, "columns") else None
        )

    def _rows(self, x: Any, count: int) -> Any:
        """As the op draws them."""
        total = x if isinstance(x, (int, np.integer)) else len(x)
        positions = self._generator().choice(total, count, replace=False).astype(np.int64)
        return positions if isinstance(x, (int, np.integer)) else x[positions]


def random(seed: int) -> Random:
    """A seeded generator for traced functions, instead of `np.random`: the same numbers in every run.

    @tp.trace
    def augmented(x):
        rng = tp.random(7)
        return rng.permutation(x) + rng.normal(scale=0.1, size=3)
    """
    return Random(seed)
