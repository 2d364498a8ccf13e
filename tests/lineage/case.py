"""A function with sources to try it on, and the ways in which arrays for it are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Draw = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A function, and for each source how an array for it is drawn. `blind`: why draws do not see all that is read."""

    apply: Callable[..., Any]
    draws: tuple[Draw, ...]
    blind: str = ""


def floats(*shape: int) -> Draw:
    return lambda rng: rng.normal(size=shape)


def few(*shape: int) -> Draw:
    """Few different numbers, so that ties and equal keys are common."""
    return lambda rng: rng.choice([-1.0, 0.0, 0.5, 1.0, 2.0], size=shape)


def counts(*shape: int, high: int = 4) -> Draw:
    return lambda rng: rng.integers(0, high, size=shape)


def masks(*shape: int) -> Draw:
    return lambda rng: rng.random(shape) < 0.5


def gaps(*shape: int) -> Draw:
    return lambda rng: np.where(rng.random(shape) < 0.3, np.nan, rng.normal(size=shape))


def complexes(*shape: int) -> Draw:
    return lambda rng: rng.normal(size=shape) + 1j * rng.normal(size=shape)


def texts(*shape: int) -> Draw:
    return lambda rng: rng.choice(["a", "b ", "Ab", "C", " ", " d"], size=shape)


def dates(*shape: int) -> Draw:
    return lambda rng: np.datetime64("2020-01-01") + rng.integers(0, 60, size=shape).astype("m8[D]")


def times(*shape: int) -> Draw:
    return lambda rng: (
        np.datetime64("2020-01-01T00:00:00.000000") + rng.integers(0, 10**12, size=shape).astype("m8[us]")
    )


def mixed(*shape: int) -> Draw:
    """Numbers near and far, of both signs, and now and then one that is special: 0, 1, -1, infinite or missing."""

    def drawn(rng: np.random.Generator) -> np.ndarray:
        numbers = rng.normal(size=shape) * rng.choice([0.3, 1.0, 5.0], size=shape)
        special = rng.choice([0.0, 1.0, -1.0, 0.5, np.inf, np.nan], p=[0.3, 0.2, 0.1, 0.2, 0.1, 0.1], size=shape)
        return np.asarray(np.where(rng.random(shape) < 0.4, special, numbers))

    return drawn


def wholes(*shape: int, low: int = -5, high: int = 6) -> Draw:
    return lambda rng: rng.integers(low, high, size=shape)


def few_complex(*shape: int) -> Draw:
    return lambda rng: rng.choice([0, 1, -1, 1j, 0.5 + 1j, -2 - 1j, np.nan], size=shape)
