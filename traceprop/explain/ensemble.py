"""Several stores that are asked as one: models trained independently on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.stores import GradientBlocks
from traceprop.training.saved import opened
from traceprop.training.store import GradientStore


def members(given: Any) -> list[GradientStore]:
    """The stores that `attribution_engine` was given, one or a sequence of them.

    Raises
    ------
    ModelError
        Something else; no store; stores that are of no networks, or that differ in rows, sources, data or projection, or in
        what they forgot. The error names the store by its place, and what differs.
    """
    several = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    stores = [_store(one) for one in (given if several else [given])]
    if not stores:
        raise ModelError("gradient_store is an empty sequence: an ensemble has at least one store")
    for place, store in enumerate(stores if len(stores) > 1 else []):
        _check_network(store, place)
        _check_alike(stores[0], store, place)
    return stores


def _store(given: Any) -> GradientStore:
    if isinstance(given, GradientBlocks):
        given = opened(given)
    if not isinstance(given, GradientStore):
        raise ModelError(
            f"gradient_store is a training context's ctx.gradient_store, or a sequence of them, not {type(given).__name__}"
        )
    return given


def _check_network(store: GradientStore, place: int) -> None:
    if store.objective is not None:
        raise ModelError(
            f"store {place} is of a linear model, whose minimum is one whatever it started from: there is nothing to average"
        )
    if not store.checkpoints:
        raise ModelError(
            f"store {place} holds gradients without their model; an ensemble asks the models about test rows"
        )


def _check_alike(first: GradientStore, store: GradientStore, place: int) -> None:
    def differ(what: str, theirs: Any, mine: Any) -> ModelError:
        return ModelError(
            f"the stores of an ensemble are of models trained on the same rows: store {place} {what} {theirs}, and "
            f"store 0 {mine}"
        )

    if len(store) != len(first):
        raise differ("has", f"{len(store):,} training rows", f"{len(first):,}")
    if store.owners.source_ids != first.owners.source_ids:
        raise differ("is of the sources", ", ".join(store.owners.source_ids), ", ".join(first.owners.source_ids))
    for source_id in first.owners.source_ids:
        if not all(map(np.array_equal, store.owners.pairs[source_id], first.owners.pairs[source_id])):
            raise differ("was trained on", f"other rows of {source_id!r}", "on its own, or in another order")
    for name, mine, theirs in (("features", first.X, store.X), ("labels", first.y, store.y)):
        assert mine is not None
        assert theirs is not None
        if mine.shape != theirs.shape:
            raise differ(f"has {name} of shape", theirs.shape, mine.shape)
        if not np.array_equal(mine, theirs):
            same = (mine == theirs).reshape(len(mine), -1).all(axis=1)
            raise differ(f"has other {name}, first in", f"training row {int(np.argmin(same))}", "its own")
    if not np.array_equal(store.forgotten, first.forgotten):
        raise differ("forgot", f"{len(store.forgotten)} rows", f"{len(first.forgotten)}, or others")
    mine, theirs = (one.checkpoints[-1].adapter.projected_as for one in (first, store))
    if mine != theirs:
        raise differ("has", theirs, mine)
