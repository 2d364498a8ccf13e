"""A nearest-neighbour game between the training rows of a store and validation rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.valuation import AbstractDistances, AbstractHits, OuterProducts, Points, SameDirection, SameLabel
from traceprop.training.adapter import GRADIENT_BYTES, AbstractGradientAdapter, AbstractLinearAdapter
from traceprop.training.data import check_finite, check_lengths, plain_array, plain_features
from traceprop.training.owners import Owners
from traceprop.training.store import GradientStore


@dataclass(frozen=True, eq=False)
class NeighbourGame:
    """Who is near whom, and who is right; of the training rows that were not forgotten.

    Attributes
    ----------
    kept
        Their positions, int64.
    hits
        None where the targets are numbers; then `targets` are those of the training and the validation rows.
    classes
        How many labels there are.
    meaning
        What "near" and "right" mean, in a few words.
    """

    owners: Owners
    kept: np.ndarray
    distances: AbstractDistances
    hits: AbstractHits | None
    targets: tuple[np.ndarray, np.ndarray] | None
    classes: int
    space: str
    meaning: str

    @classmethod
    def of(cls, store: GradientStore, val_gradients: Any, X_val: Any, y_val: Any, space: str) -> NeighbourGame:
        """Set the game up. Raises ModelError where arguments are missing, too many, or don't fit together."""
        kept = np.arange(len(store)) if store.objective is None else np.flatnonzero(store.objective.kept)
        if not len(kept):
            raise ModelError("no training row is left to value")
        if val_gradients is not None and X_val is not None:
            raise ModelError("give X_val or val_gradients, not both: they say the same")
        if val_gradients is None and X_val is None:
            raise ModelError("validation rows are needed: X_val= and y_val=, or val_gradients=")
        if val_gradients is not None:
            space, distances = "gradients", _between_gradients(store, val_gradients, kept)
        elif y_val is None:
            raise ModelError("y_val is missing: what the validation rows' labels are")
        else:
            X, y = plain_features(X_val, "X_val"), plain_array(y_val, "y_val")
            check_lengths(X, y, ("X_val", "y_val"))
            y_val = y
            distances = (_between_features if space == "features" else _between_factors)(store, X, y, kept)
        near = "the distance of features" if space == "features" else "the distance of gradients"
        if y_val is None:
            hits = SameDirection(distances)
            meaning = f"{near} and the sign of their products"
            return cls(store.owners, kept, distances, hits, None, 2, space, meaning)
        y = plain_array(y_val, "y_val")
        if y.ndim != 1 or len(y) != distances.m:
            raise ModelError(f"y_val has shape {y.shape}, and there are {distances.m} validation rows")
        check_finite(y, "y_val")
        train = _training_targets(store)
        if train.ndim != 1:
            raise ModelError(f"y_train has shape {train.shape}; one label or number per row is needed")
        if _numbers(store, train):
            if y.dtype.kind not in "biuf":
                raise ModelError(f"y_val holds {y.dtype}, and the training targets are numbers")
            both = train[kept].astype(np.float64), y.astype(np.float64)
            return cls(store.owners, kept, distances, None, both, 0, space, f"{near} and squared error")
        hits, classes = _labels(train, y, kept)
        return cls(store.owners, kept, distances, hits, None, classes, space, f"{near} and equal labels")

    def of_all_samples(self, values: np.ndarray) -> np.ndarray:
        """Give the values of all training rows: float64 (n,), 0 for those that were forgotten."""
        if len(values) == self.owners.n:
            return values
        every = np.zeros(self.owners.n)
        every[self.kept] = values
        return every


def _between_features(store: GradientStore, X: np.ndarray, y: np.ndarray, kept: np.ndarray) -> Points:
    if store.X is None:
        raise ModelError(
            "space='features' needs the training data, and these gradients were logged without; give val_gradients"
        )
    if X.shape[1:] != store.X.shape[1:]:
        raise ModelError(f"X_val has rows of shape {X.shape[1:]}, and the training data {store.X.shape[1:]}")
    return _points(_flat(store.X, kept), X.reshape(len(X), -1))


def _between_factors(store: GradientStore, X: np.ndarray, y: np.ndarray, kept: np.ndarray) -> AbstractDistances:
    """Compare the gradients of losses: of a linear model by their factors."""
    adapter = _adapter(store)
    if isinstance(adapter, AbstractLinearAdapter):
        _, objective, theta = store.linear("space='gradients'")
        features = adapter.features(X)
        slopes = objective.loss.terms(features @ theta, adapter.targets(y)).gradient
        train = objective.features[kept], objective.row_terms(theta).gradient[kept]
        try:
            return OuterProducts(train, (features, slopes))
        except ValueError as error:
            raise ModelError(str(error)) from None
    if isinstance(adapter, AbstractGradientAdapter):
        return _points(_stored(store)[kept], adapter.gradients(X, y)[1])
    raise ModelError("gradients were logged by hand, so those of the validation rows have to be given: val_gradients=")


def _between_gradients(store: GradientStore, given: Any, kept: np.ndarray) -> Points:
    adapter = _adapter(store)
    if isinstance(given, np.ndarray) or type(given).__module__.split(".")[0] == "torch":
        given = plain_array(given, "val_gradients")
        if given.ndim != 2:
            raise ModelError(f"val_gradients has shape {given.shape}; one row per validation row is needed, (m, p)")
    if isinstance(adapter, AbstractLinearAdapter):
        asked = np.array([adapter.class_major(gradient) for gradient in given], dtype=np.float64)
        train = _formed(store)[kept]
    elif isinstance(adapter, AbstractGradientAdapter):
        asked = np.array([adapter.project(gradient) for gradient in given], dtype=np.float64)
        train = _stored(store)[kept]
    else:
        asked, train = plain_array(given, "val_gradients").astype(np.float64), _stored(store)[kept]
    if not len(asked):
        raise ModelError("val_gradients has no rows")
    if asked.ndim != 2 or asked.shape[1] != train.shape[1]:
        raise ModelError(f"val_gradients has shape {asked.shape}, and gradients in the store {train.shape[1]} numbers")
    check_finite(asked, "val_gradients")
    return _points(train, asked)


def _formed(store: GradientStore) -> np.ndarray:
    """Multiply a linear model's gradients out, class-major: (n, k * d)."""
    _, objective, theta = store.linear("val_gradients")
    size = 8 * len(store) * theta.size
    if size > GRADIENT_BYTES:
        raise ModelError(
            f"{len(store)} gradients of {theta.size:,} parameters take {size / 2**30:.1f} GiB; give X_val and y_val with "
            "space='gradients', which compares their factors"
        )
    slopes = objective.row_terms(theta).gradient
    return (slopes[:, :, None] * objective.features[:, None, :]).reshape(len(store), -1)


def _adapter(store: GradientStore) -> Any:
    """Give the adapter of the model as training left it, whose gradients the store's are, whatever became of it since."""
    return store.checkpoints[-1].adapter if store.checkpoints else store.adapter


def _stored(store: GradientStore) -> np.ndarray:
    assert store.gradients is not None
    return store.gradients


def _flat(X: np.ndarray, kept: np.ndarray) -> np.ndarray:
    rows = X if len(kept) == len(X) else X[kept]
    return rows.reshape(len(rows), -1)


def _points(train: np.ndarray, validation: np.ndarray) -> Points:
    try:
        return Points(train, validation)
    except ValueError as error:
        raise ModelError(str(error)) from None


def _training_targets(store: GradientStore) -> np.ndarray:
    if store.y is None:
        raise ModelError("these gradients were logged without labels, so y_val has nothing to be compared with")
    return store.y


def _numbers(store: GradientStore, y: np.ndarray) -> bool:
    """Tell whether targets are numbers rather than labels: a squared loss, or values between the integers."""
    if store.objective is not None and not store.objective.loss.cross_entropy:
        return y.dtype.kind == "f" or type(store.model).__module__.startswith("sklearn.")
    return y.dtype.kind == "f" and bool((y != np.rint(y)).any())


def _labels(train: np.ndarray, validation: np.ndarray, kept: np.ndarray) -> tuple[SameLabel, int]:
    if (train.dtype.kind in "US") != (validation.dtype.kind in "US"):
        raise ModelError(f"y_val holds {validation.dtype} and y_train {train.dtype}: no label can be equal")
    names, codes = np.unique(np.concatenate([train, validation]), return_inverse=True)
    mine, theirs = codes[: len(train)], codes[len(train) :]
    if not np.isin(theirs, mine).any():
        shown = ", ".join(repr(name.item()) for name in names[np.unique(theirs)][:5])
        raise ModelError(f"no label of y_val ({shown}) is among those of the training rows")
    return SameLabel(mine[kept], theirs), len(names)
