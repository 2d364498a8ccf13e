"""All pairs of test rows and training rows at once: one product of matrices in float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.losses import Floats

SMALL = 1 << 18
"""Numbers of training rows' gradients up to which they stay as factors, in float64: there is no time to be won."""
CELLS = 1 << 23
"""Numbers of training rows' gradients that are there at a time, about: 32 MB."""
NEAR = 1 << 18
"""Those that are turned at a time: 2 MB, near caches."""


def pair_products(
    tests: Floats, features: Floats, gradients: Floats, root: Floats | None = None
) -> NDArray[np.float32]:
    """Give <test_t, gradient_i> of test rows' vectors (t, k * d), class-major, and training rows' gradients: float32 (t, n).

    Gradients of a linear model are outer products of logit gradients (n, k) and features (n, d). They are written out in
    float32, some rows at a time, and multiplied by BLAS: a product's error is a few 1e-7 of its two vectors' lengths.

    Parameters
    ----------
    root
        R (q, k * d): the products are <R test_t, R gradient_i>, of vectors that are multiplied before they are rounded.
    """
    n = len(gradients)
    if small(features, gradients) and root is None:
        return _in_double(tests, features, gradients)
    left = (tests if root is None else tests @ root.T).astype(np.float32)
    out = np.empty((len(tests), n), dtype=np.float32)
    step = max(1, CELLS // max(tests.shape[1], 1))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        right = _written_out(features[rows], gradients[rows], root)
        np.matmul(left, right.T, out=out[:, rows])
    return out


def small(features: Floats, gradients: Floats) -> bool:
    """Whether products stay in float64."""
    return bool(features.size * gradients.shape[1] <= SMALL)


def _written_out(features: Floats, gradients: Floats, root: Floats | None) -> NDArray[np.float32]:
    """The rows' gradients, times R where there is one: float32 (m, q)."""
    (m, d), classes = features.shape, gradients.shape[1]
    if root is None:
        out = np.empty((m, classes, d), dtype=np.float32)
        np.multiply(gradients[:, :, None], features[:, None, :], out=out, casting="same_kind")
        return out.reshape(m, classes * d)
    out = np.empty((m, len(root)), dtype=np.float32)
    step = max(1, NEAR // max(len(root), 1))
    for start in range(0, m, step):
        rows = slice(start, start + step)
        turned = features[rows] @ root[:, :d].T
        turned *= gradients[rows, :1]
        for label in range(1, classes):
            turned += gradients[rows, label, None] * (features[rows] @ root[:, label * d : (label + 1) * d].T)
        out[rows] = turned
    return out


def _in_double(tests: Floats, features: Floats, gradients: Floats) -> NDArray[np.float32]:
    by_class = tests.reshape(len(tests), gradients.shape[1], features.shape[1])
    total: Floats = (by_class[:, 0] @ features.T) * gradients[:, 0]
    for label in range(1, gradients.shape[1]):
        total += (by_class[:, label] @ features.T) * gradients[:, label]
    return total.astype(np.float32)
