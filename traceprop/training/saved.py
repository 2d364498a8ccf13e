"""Whose the gradients in a folder are, saved beside them, and the store that another process makes of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from traceprop.errors import CorruptError, ModelError
from traceprop.stores import GradientBlocks, ParquetStore
from traceprop.stores.gradient_block import sealed, unsealed
from traceprop.training.owners import Owners, owners_of, plain_owners

if TYPE_CHECKING:
    from traceprop.training.store import GradientStore

FEATURES, LABELS = "features", "labels"


def save_owners(blocks: GradientBlocks, owners: Owners | None, source_id: str | None) -> None:
    """Save the lineage of the training data beside the blocks; `owners` None: samples are rows of `source_id`.

    Raises
    ------
    ModelError
        The folder holds gradients of other training data.
    """
    assert blocks.path is not None
    if (blocks.path / "owners.json").exists():
        known = load_owners(blocks)
        given = plain_owners(known.n, source_id) if owners is None else owners
        if known.n != given.n or (known.view is None) != (given.view is None) or not _same_pairs(known, given):
            raise ModelError(f"{blocks.place} are of other training data; give another folder")
        return
    views = {}
    if owners is not None:
        views = {
            name: view for name, view in ((FEATURES, owners.view), (LABELS, owners.label_view)) if view is not None
        }
    lineage = ParquetStore(blocks.path / "lineage")
    runs = {name: lineage.save(view, name).id for name, view in views.items()}
    entry = {"samples": None if owners is None else owners.n, "source_id": source_id or "X_train", "lineage": runs}
    blocks.attach("owners.json", sealed(entry))


def load_owners(blocks: GradientBlocks) -> Owners:
    """Whose the gradients are: what was saved beside them, else sample i is row i of "X_train"."""
    seen = int(blocks.columns()["sample"].max(initial=-1)) + 1
    place = None if blocks.path is None else blocks.path / "owners.json"
    if place is None or not place.exists():
        return plain_owners(seen, None)
    what = f"{blocks.place}: whose they are"
    entry = unsealed(place, what)
    try:
        n, source_id, runs = entry["samples"], entry["source_id"], dict(entry["lineage"])
        if n is not None and int(n) < seen:
            raise ValueError(f"a gradient is of sample {seen - 1}, but there are {n} samples")
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"{what} is damaged: {error}") from None
    if FEATURES not in runs:
        return plain_owners(seen if n is None else int(n), source_id)
    lineage = ParquetStore(place.parent / "lineage")
    views = {name: lineage.load(name, run) for name, run in runs.items()}
    return owners_of(views[FEATURES], views.get(LABELS), int(n))


def opened(blocks: GradientBlocks) -> GradientStore:
    """The gradient store of blocks that some process has written. Raises ModelError where they are none."""
    from traceprop.training.store import GradientStore

    if not len(blocks):
        raise ModelError(f"{blocks.place} hold no gradients (yet)")
    if blocks.about.get("of") == "batches":
        raise ModelError(
            f"{blocks.place} are of whole batches, and a row of one is no row of a file; granularity='op' keeps single samples'"
        )
    return GradientStore(load_owners(blocks), blocks=blocks)


def _same_pairs(one: Owners, other: Owners) -> bool:
    return one.source_ids == other.source_ids and all(
        np.array_equal(mine, theirs)
        for name in one.source_ids
        for mine, theirs in zip(one.pairs[name], other.pairs[name], strict=True)
    )
