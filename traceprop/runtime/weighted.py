"""The payloads `weighted.…`: cells with the weights of their rows. A cell of weight 0 is as if it had never been there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def scaled(cells: Any, weight: np.ndarray) -> np.ndarray:
    """Cells times weights, in the cells' dtype if it holds fractions; 0 where the weight is 0."""
    values = np.asarray(cells)
    kind = values.dtype if values.dtype.kind in "fc" else np.dtype(np.float64)
    with np.errstate(invalid="ignore"):
        product = np.multiply(values, weight, dtype=kind, casting="unsafe")
    absent = np.broadcast_to(weight == 0, product.shape)
    if absent.any() and not np.isfinite(product).all():
        product[absent] = 0
    return product


def scaled_present(cells: Any, weight: np.ndarray) -> np.ndarray:
    """As `scaled`, and 0 where a cell is missing."""
    product = scaled(cells, weight)
    return np.where(np.isnan(product), product.dtype.type(0), product)


def of_present(cells: Any, weight: np.ndarray) -> np.ndarray:
    """The weights of the cells that are not missing, 0 elsewhere."""
    if not isinstance(cells, np.ndarray) and hasattr(cells, "is_null"):
        return np.where(cells.is_null().to_numpy(), 0.0, weight)
    values = np.asarray(cells)
    if values.dtype.kind not in "fc":
        return np.broadcast_to(np.asarray(weight, np.float64), values.shape)
    return np.where(np.isnan(values), 0, weight).astype(values.dtype)


def nonzero(cells: np.ndarray) -> np.ndarray:
    """1.0 where a cell is not zero."""
    return (np.asarray(cells) != 0).astype(np.float64)


def one(cells: Any) -> np.ndarray:
    """1.0 for every cell."""
    return np.ones(np.shape(cells))


def ratio(sums: Any, counts: Any) -> np.ndarray:
    """Sums over counts; of nothing it is NaN, silently, for a group may have lost all its rows."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.true_divide(sums, counts, dtype=np.asarray(sums).dtype, casting="unsafe"))


def less(counts: np.ndarray, fewer: float) -> np.ndarray:
    """Degrees of freedom; of too few rows they are 0, so that the variance is missing."""
    return np.maximum(counts - fewer, 0.0)


def log_absent(weight: np.ndarray) -> np.ndarray:
    """log(1 - w): what is summed to say that none of several rows is there; -inf for a row that is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.abs(1.0 - weight))


def from_log_absent(total: np.ndarray) -> np.ndarray:
    """1 - exp(sum of logs): 1 while a row is there, 0 where all are gone."""
    return 1.0 - np.exp(total)


def _or(neutral: Callable[[np.dtype], Any]) -> Callable[[Any, np.ndarray], np.ndarray]:
    def keep(cells: Any, weight: np.ndarray) -> np.ndarray:
        values = np.asarray(cells)
        return np.where(weight == 0, values.dtype.type(neutral(values.dtype)), values)

    keep.__doc__ = "The cells, and in place of those of weight 0 what changes no fold."
    return keep


def _limit(largest: bool) -> Callable[[np.dtype], Any]:
    def of(dtype: np.dtype) -> Any:
        if dtype.kind in "fc":
            return np.inf if largest else -np.inf
        if dtype.kind == "b":
            return largest
        return np.iinfo(dtype).max if largest else np.iinfo(dtype).min

    return of


PAYLOADS: dict[str, Callable[..., Any]] = {
    **{
        f.__name__: f
        for f in (scaled, scaled_present, of_present, nonzero, one, ratio, less, log_absent, from_log_absent)
    },
    "or_zero": _or(lambda dtype: 0),
    "or_one": _or(lambda dtype: 1),
    "or_true": _or(lambda dtype: 1),
    "or_false": _or(lambda dtype: 0),
    "or_nan": _or(lambda dtype: np.nan),
    "or_largest": _or(_limit(True)),
    "or_smallest": _or(_limit(False)),
}
