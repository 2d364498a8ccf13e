"""A method of a library: what it is called, which models it is for, and how its scores are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.given import Given

NETWORKS = ("mlp", "cnn", "text")
EVERY = ("linear", *NETWORKS)


class Work(NamedTuple):
    """What is timed: `fit()` once, and `scores(fitted, setting)` for each setting, (t, n), positive where a row helps."""

    scores: Callable[[Any, Any], np.ndarray]
    fit: Callable[[], Any] = lambda: None


@dataclass(frozen=True)
class Method:
    """A row of the table, or one for each setting.

    Attributes
    ----------
    prepare
        Imports the library and loads the model, which no clock runs for, and returns the work.
    settings
        By the words that describe them. The first one is the library's default, or what its documentation advises.
    kinds
        The architectures that it is for; for others there is no row.
    quick
        Whether it belongs to a quick look.
    apart
        Whether its settings are methods of their own, that share what `fit` gives.
    """

    name: str
    prepare: Callable[[Given], Work]
    settings: dict[str, Any]
    kinds: tuple[str, ...] = EVERY
    quick: bool = False
    apart: bool = False
