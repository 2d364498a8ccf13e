"""Digits and photographs: borders cut, pooled, scaled per image, gradients' directions counted; principal components."""

from __future__ import annotations

import numpy as np

import traceprop as tp
from tests.pipelines.held import same_rows, same_values


def digits(images, labels):
    """Fours and nines, in NumPy: what both run."""
    kept = (labels == 4) | (labels == 9)
    pixels = images[kept].astype(np.float64) / 255.0
    cut = pixels[:, 2:-2, 2:-2]
    pooled = cut.reshape(-1, 12, 2, 12, 2).max(axis=(2, 4))
    flat = pooled.reshape(-1, 144)
    ink = pooled.sum(axis=(1, 2), keepdims=True)
    rows, columns = np.arange(12.0)[:, None], np.arange(12.0)
    centre = np.stack([(pooled * rows).sum(axis=(1, 2)), (pooled * columns).sum(axis=(1, 2))], axis=1) / ink[:, 0]
    centred = flat - flat.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    components = np.abs(centred @ axes[:, ::-1][:, :10])
    return np.concatenate([components, centre, np.sqrt(ink[:, 0])], axis=1), (labels[kept] == 9).astype(float)


def test_digits_are_what_numpy_makes_and_every_row_is_known(data_dir):
    with np.load(data_dir / "mnist.npz") as stored:
        images, labels = stored["x"][:1_500], stored["y"][:1_500]
    X, nine = tp.trace(digits)(tp.from_numpy(images, "digits"), tp.from_numpy(labels, "labels"))
    plain, label = digits(images, labels)
    same_values(X, plain)
    same_values(nine, label)
    kept = np.flatnonzero((labels == 4) | (labels == 9))
    same_rows(tp.provenance(X), {"digits": kept})
    same_rows(tp.provenance(nine), {"labels": kept})


def photographs(photos):
    """Histograms of oriented gradients, and colours: what both run."""
    colours = photos.astype(np.float64) / 255.0
    grey = colours @ np.array([0.299, 0.587, 0.114])
    across, down = np.diff(grey, axis=2)[:, :-1], np.diff(grey, axis=1)[:, :, :-1]
    length, direction = np.hypot(across, down), np.arctan2(down, across)
    padded = np.pad(length, ((0, 0), (0, 1), (0, 1)))
    sector = np.pad(np.floor((direction + np.pi) / (2 * np.pi) * 7.999), ((0, 0), (0, 1), (0, 1)))
    cells = np.stack(
        [np.where(sector == k, padded, 0.0).reshape(-1, 4, 8, 4, 8).sum(axis=(2, 4)) for k in range(8)], axis=-1
    )
    hog = cells.reshape(-1, 128)
    hog = hog / (np.linalg.norm(hog, axis=1, keepdims=True) + 1e-6)
    mirrored = colours[:, :, ::-1]
    means, spreads = mirrored.mean(axis=(1, 2)), mirrored.std(axis=(1, 2))
    return np.concatenate([hog, means, spreads], axis=1)


def test_photographs_are_what_numpy_makes_and_every_cell_stays_with_its_image(data_dir):
    with np.load(data_dir / "cifar2_catdog_train_part0.npz") as stored:
        photos = stored["x"][:60]
    X = tp.trace(photographs)(tp.from_numpy(photos, "photos"))
    same_values(X, photographs(photos))
    view = tp.provenance(X)
    assert view.exact
    assert view.rows(7, kind="any")["photos"].tolist() == [7]
    assert set(view.cells((7, 0))["photos"][:, 0]) == {7}
    assert view.cells((7, 128))["photos"].shape == (32 * 32, 4)


def test_an_augmented_batch_is_known_by_image(data_dir):
    with np.load(data_dir / "cifar2_catdog_train_part0.npz") as stored:
        photos = stored["x"][:40]

    @tp.trace
    def augment(photos):
        draw = tp.random(3)
        order = draw.permutation(len(photos))
        flipped = np.where(draw.uniform(size=40)[:, None, None, None] < 0.5, photos[:, :, ::-1], photos)
        cut = flipped[order][:16, 4:28, 4:28].astype(np.float64)
        return (cut - cut.mean(axis=(1, 2), keepdims=True)) / (cut.std(axis=(1, 2), keepdims=True) + 1.0)

    batch = augment(tp.from_numpy(photos, "photos"))
    view = tp.provenance(batch)
    found = np.asarray(batch)
    for i in range(16):
        (row,) = view.rows(i)["photos"]
        cut = photos[row, 4:28, 4:28].astype(float), photos[row, 4:28, ::-1][:, 4:28].astype(float)
        made = [(c - c.mean(axis=(0, 1))) / (c.std(axis=(0, 1)) + 1.0) for c in cut]
        assert any(np.allclose(found[i], m) for m in made)
