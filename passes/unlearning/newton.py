"""Removal by damped Newton steps on the objective of the rows that stay."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from traceprop.passes.attribution.curvature import Curvature, smallest_curvature
from traceprop.passes.attribution.losses import Floats, Terms
from traceprop.passes.attribution.objective import LinearObjective, unflat
from traceprop.passes.unlearning.tracked import TrackedHessian

RELATIVE_TOLERANCE = 1e-10
MAX_STEPS = 60


@dataclass(frozen=True, eq=False)
class NewtonRun:
    """Where the steps led, and how far that can be from the minimum.

    Attributes
    ----------
    theta
        float64 (d, k).
    gradient_norms
        |grad F| / m over the m rows that stay: before the first step, and after each.
    tolerance
        The gradient norm at which the steps were to stop.
    left
        float64 (d, k): the Newton step that was not taken any more.
    bound
        An upper bound on |theta - theta*|, theta* the nearest minimum; infinite where there is none to give.
    """

    theta: Floats
    gradient_norms: tuple[float, ...]
    tolerance: float
    left: Floats
    bound: float

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return len(self.gradient_norms) - 1

    @property
    def converged(self) -> bool:
        """Whether the gradient norm reached the tolerance."""
        return self.gradient_norms[-1] <= self.tolerance


def minimise(
    objective: LinearObjective,
    start: Floats,
    max_steps: int = MAX_STEPS,
    tracked: TrackedHessian | None = None,
) -> NewtonRun:
    """Minimise by Newton steps with a backtracking line search, from `start` (d, k).

    From the parameters of a full fit, with the objective of the rows that stay, this is removal: the first step is the
    one of Guo et al. 2020 ("Certified data removal"), and steps follow until the gradient is rounding error. It stops
    at a gradient norm of 1e-10 of the mean norm of the rows' gradients; a step that no longer lessens anything ends it.

    The Hessian is tracked: rows are counted anew where their curvature drifted. `tracked`, where it is known, is that of the
    full fit at `start`, on the same features; the rows that went then cost no more than themselves.

    The objective must be convex in the logits. Where its minimum is at infinity, `converged` is False or the last
    step still large; nothing raises.
    """
    theta = np.array(start, dtype=np.float64)
    rows = max(objective.count, 1)
    terms = objective.row_terms(theta)
    value, gradient = objective.first_order(theta, terms)
    if tracked is None:
        tracked = TrackedHessian(objective, terms)
    else:
        tracked.follow(objective, terms)
    norms = [float(np.linalg.norm(gradient)) / rows]
    size = np.sqrt((terms.gradient**2).sum(axis=1)) @ objective.row_norms / rows
    tolerance = RELATIVE_TOLERANCE * max(float(size), np.finfo(np.float64).tiny)
    while True:
        curvature = Curvature.of(tracked.matrix)
        step = unflat(curvature.solve(gradient), objective.classes)
        if norms[-1] <= tolerance or len(norms) > max_steps or not np.isfinite(step).all():
            break
        found = _line_search(objective, theta, value, gradient, step, norms[-1] * rows)
        if found is None:
            break
        theta, value, gradient, terms = found
        tracked.follow(objective, terms)
        norms.append(float(np.linalg.norm(gradient)) / rows)
    least, flat = smallest_curvature(tracked.matrix)
    bound = bound_of(objective, float(np.linalg.norm(gradient)), tracked.least(least, terms), flat)
    return NewtonRun(theta, tuple(norms), tolerance, step, bound)


def distance_bound(objective: LinearObjective, gradient_norm: float, hessian: Floats) -> float:
    """Bound |theta - theta*| by the gradient norm (of the sum form) and the Hessian at theta.

    Let m be the least curvature and R = r max_i |a_i|, r the loss's self-concordance: along a segment of length s the
    curvature falls by at most exp(-R s). Integrating it from theta to theta* gives m (1 - exp(-R s)) / R <= |grad F|,
    so s <= -log(1 - R |grad F| / m) / R, about |grad F| / m when that is small, and exactly that for a quadratic
    (r = 0). Infinite where R |grad F| >= m, and for losses of unknown r. (After Bach 2010, proposition 1.)

    Directions along which H is flat up to rounding are left out if no logit changes along them, as then F is flat all
    along: the bound is to the nearest minimum. If one does change, there is no bound.
    """
    return bound_of(objective, gradient_norm, *smallest_curvature(hessian))


def bound_of(objective: LinearObjective, gradient_norm: float, least: float, flat: Floats) -> float:
    """The same, given the least curvature (or less) and the flat directions (q, d * k)."""
    r = objective.loss.self_concordance
    if r is None or least <= 0 or not math.isfinite(gradient_norm) or not _never_bends(objective, flat):
        return math.inf
    reach = r * float(objective.row_norms[objective.kept].max(initial=0.0))
    if reach == 0:
        return gradient_norm / least
    used = reach * gradient_norm / least
    return -math.log1p(-used) / reach if used < 1 else math.inf


def _line_search(
    objective: LinearObjective, theta: Floats, value: float, gradient: Floats, step: Floats, norm: float
) -> tuple[Floats, float, Floats, Terms] | None:
    """Halve the step until the objective falls as it should, or, within rounding of it, until the gradient does."""
    slope = float(gradient @ step.T.ravel())
    noise = 64 * np.finfo(np.float64).eps * max(abs(value), 1.0)
    size = 1.0
    for _ in range(40):
        moved = theta - size * step
        terms = objective.row_terms(moved)
        new_value, new_gradient = objective.first_order(moved, terms)
        if np.isfinite(new_value):
            falls = new_value <= value - 1e-4 * size * slope and size * slope > noise
            quieter = new_value <= value + noise and float(np.linalg.norm(new_gradient)) < norm
            if falls or quieter:
                return moved, new_value, new_gradient, terms
        size /= 2
    return None


def _never_bends(objective: LinearObjective, directions: Floats) -> bool:
    """Whether no kept row's loss changes along directions (q, d * k): no logit does, or for softmax all do alike."""
    if not len(directions):
        return True
    features = objective.features[objective.kept]
    for direction in directions:
        moved = features @ unflat(direction, objective.classes)
        if objective.classes > 1 and objective.loss.cross_entropy:
            moved = moved - moved.mean(axis=1, keepdims=True)
        if np.abs(moved).max(initial=0.0) > 1e-7 * np.abs(features).max(initial=1.0):
            return False
    return True
