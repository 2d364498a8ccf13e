"""Training and test data as plain arrays, or one clear error."""

from __future__ import annotations

from typing import Any

import numpy as np

from traceprop.errors import ModelError


def plain_array(value: Any, name: str) -> np.ndarray:
    """Compute a lazy value, or read anything array-like: torch tensors, data frames, lists.

    Raises
    ------
    ModelError
        It is sparse, or not an array at all.
    """
    if hasattr(value, "tocsr"):
        raise ModelError(f"{name} is a sparse matrix; give a dense one: {name}.toarray()")
    if type(value).__module__.split(".")[0] == "torch":
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.dtype == object:
        array = _typed(array)
    if array.dtype == object:
        raise ModelError(f"{name} is {type(value).__name__} of mixed or ragged values, which is no array of one dtype")
    return array


def plain_features(value: Any, name: str) -> np.ndarray:
    """Give features as a numeric array of at least two axes, without NaN or infinity.

    Raises
    ------
    ModelError
        Names the first row and column that is not a finite number.
    """
    array = plain_array(value, name)
    if array.dtype.kind not in "biuf":
        raise ModelError(f"{name} holds {array.dtype}, and a model needs numbers; encode text first, e.g. one-hot")
    if array.ndim < 2:
        raise ModelError(f"{name} has shape {array.shape}; rows and columns are needed, (n, d)")
    check_finite(array, name)
    return array


def check_finite(array: np.ndarray, name: str) -> None:
    """Raise ModelError for the first NaN or infinity."""
    if array.dtype.kind != "f" or np.isfinite(array.sum(dtype=np.float64)) or np.isfinite(array).all():
        return
    bad = ~np.isfinite(array)
    row, *column = (int(i) for i in np.argwhere(bad)[0])
    at = f"row {row}" + (f", column {', '.join(map(str, column))}" if column else "")
    raise ModelError(
        f"{name} has {np.count_nonzero(bad)} values that are NaN or infinite, the first at {at} "
        f"({array[(row, *column)]}); gradients need finite numbers: fill or drop those rows first"
    )


def check_lengths(X: np.ndarray, y: np.ndarray, names: tuple[str, str]) -> None:
    """Raise ModelError unless there is one target per row, and a row at all."""
    if y.ndim == 0 or len(X) != len(y):
        length = "is a single value" if y.ndim == 0 else f"has {len(y)}"
        raise ModelError(f"{names[0]} has {len(X)} rows but {names[1]} {length}; each row needs one target")
    if not len(X):
        raise ModelError(f"{names[0]} has no rows: a filter may have dropped all of them")


def test_data(X_test: Any, y_test: Any) -> tuple[np.ndarray, np.ndarray]:
    """Give test rows and their labels as plain arrays of one length. Raises ModelError where they are not."""
    X, y = plain_features(X_test, "X_test"), plain_array(y_test, "y_test")
    check_lengths(X, y, ("X_test", "y_test"))
    check_finite(y, "y_test")
    return X, y


def _typed(array: np.ndarray) -> np.ndarray:
    """Give an array of Python objects the dtype that all of them have, as a data frame's text column; else as it is."""
    try:
        typed = np.array(array.tolist())
        return typed if typed.shape == array.shape and (typed.astype(object) == array).all() else array
    except ValueError:
        return array
