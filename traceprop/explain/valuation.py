"""What training data are worth, as a user calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.coalitions import AbstractSourceGame, source_game
from traceprop.explain.neighbour_game import NeighbourGame
from traceprop.explain.valued import ValuationResult
from traceprop.passes.kernels.knn import LARGEST_K
from traceprop.passes.valuation import (
    MOST_PLAYERS,
    coalition_shapley,
    knn_regression_shapley,
    knn_shapley,
    neighbour_radius,
    sampled_shapley,
    threshold_shapley,
    weighted_shapley,
)
from traceprop.runtime.progress import progress
from traceprop.training.owners import Owners
from traceprop.training.store import GradientStore

METHODS = ("knn-shapley", "threshold", "weighted", "source-shapley")


def data_valuation(
    gradient_store: GradientStore | None = None,
    val_gradients: Any = None,
    X_val: Any = None,
    y_val: Any = None,
    k: int = 10,
    method: str = "knn-shapley",
    space: str = "features",
    pipeline: Any = None,
    utility: Any = None,
    *,
    radius: float | None = None,
    bits: int = 3,
    sources: Any = None,
    empty: float | None = None,
    rounds: int | None = None,
    seed: int = 0,
) -> ValuationResult:
    """Say what each training row, or each source, is worth: Shapley values of a game that docs/valuation.md defines.

    Parameters
    ----------
    gradient_store
        A training context's `ctx.gradient_store`: the training rows with their owners.
    X_val, y_val
        Validation rows, lazy or plain: features like the training data's, and labels (or numbers, for regression).
    val_gradients
        In place of X_val: (m, p), the gradients of the validation losses in the model's parameters. Without y_val, a
        training row is right where its gradient has a positive product with theirs.
    k
        How many neighbours vote, at least 1.
    method
        "knn-shapley": the k nearest training rows vote (labels), or are averaged (numbers). "threshold": all within
        `radius` vote. "weighted": the k nearest vote with weights; two classes. "source-shapley": whole sources, by
        running `pipeline` on every coalition of them.
    space
        "features": neighbours in the features; "gradients": in the per-sample gradients, projected where the store's are.
    pipeline
        For "source-shapley": lazy values that a traced function gave, alone or in a list, tuple or dict; or a function
        `pipeline(kept)` of a tuple of source ids, or `pipeline(weights=)` of 0/1 weights as `tp.reweight` takes them. None
        for the store's own (X_train, y_train).
    utility
        For "source-shapley": `utility(result)`, a number, larger for better; of lazy values it gets arrays of the rows
        that stay.
    radius
        The distance within which rows vote ("threshold"), or the width of the Gaussian weights ("weighted"); None for
        the median distance from a validation row to its 10 k-th neighbour, or its k-th.
    bits
        "weighted": weights are rounded to 2^bits levels; 1 to 8.
    sources
        For a `pipeline` that is a function: the source ids, or `{source_id: rows}`; None for the store's.
    empty
        What no source at all is worth; None to ask `utility`.
    rounds
        For more than 12 sources, of which not every coalition can be run: how many random orders to estimate from, with
        all their cyclic shifts, at least 2. The intervals are in `.parameters["half_width"]`.
    seed
        Decides those orders.

    Returns
    -------
    ValuationResult

    Raises
    ------
    ModelError
        An unknown method or space; arguments that the method needs, or that it does not take; lengths, widths or labels
        that don't fit; a method that has no exact answer here.
    """
    if method not in METHODS:
        raise ModelError(f"there is no method {method!r}; there are {', '.join(map(repr, METHODS))}")
    if gradient_store is not None and not isinstance(gradient_store, GradientStore):
        raise ModelError(
            f"gradient_store is a training context's ctx.gradient_store, not {type(gradient_store).__name__}"
        )
    if method == "source-shapley":
        _not_given(method, val_gradients=val_gradients, X_val=X_val, y_val=y_val, radius=radius)
        return _sources(source_game(pipeline, gradient_store, sources), _checked(utility), empty, rounds, seed)
    _not_given(method, pipeline=pipeline, utility=utility, sources=sources, empty=empty, rounds=rounds)
    if gradient_store is None:
        raise ModelError(f"method={method!r} needs gradient_store=, a training context's ctx.gradient_store")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ModelError(f"k is how many neighbours vote, a whole number of at least 1, not {k!r}")
    if space not in ("features", "gradients"):
        raise ModelError(f"space is 'features' or 'gradients', not {space!r}")
    if radius is not None and not (np.isfinite(radius) and radius > 0):
        raise ModelError(f"radius is a distance above 0, not {radius!r}")
    if method == "knn-shapley" and radius is not None:
        raise ModelError("radius= is for method='threshold' and 'weighted'; knn-shapley takes the k nearest")
    if bits not in range(1, 9):
        raise ModelError(f"bits is 1 to 8, not {bits!r}")
    game = NeighbourGame.of(gradient_store, val_gradients, X_val, y_val, space)
    return _neighbours(game, method, int(k), radius, int(bits))


def _neighbours(game: NeighbourGame, method: str, k: int, radius: float | None, bits: int) -> ValuationResult:
    distances, hits = game.distances, game.hits
    parameters: dict[str, Any] = {"k": k, "space": game.space, "validation_rows": distances.m}
    if method != "knn-shapley":
        if hits is None:
            raise ModelError(f"method={method!r} is for labels, and y is of numbers; knn-shapley takes both")
        if method == "weighted" and game.classes > 2:
            raise ModelError(
                f"method='weighted' has an exact algorithm for two classes, and there are {game.classes}: the votes of "
                "more have no common count; knn-shapley and threshold take any number"
            )
        if method == "weighted" and k > LARGEST_K:
            raise ModelError(f"method='weighted' counts exactly for k up to {LARGEST_K}, not {k}")
        # One radius for all leaves few neighbours in thin places: the votes of rows around need it wider than weights do.
        rank = 10 * k if method == "threshold" else k
        parameters["radius"] = neighbour_radius(distances, rank) if radius is None else float(radius)
        game_of = f"within {parameters['radius']:.4g}"
    with progress("validation rows", distances.m) as tell:
        if method == "threshold":
            assert hits is not None
            values = threshold_shapley(distances, hits, parameters["radius"], game.classes, progress=tell)
            rule = f"all training rows {game_of} vote"
        elif method == "weighted":
            assert hits is not None
            parameters["bits"] = bits
            values = weighted_shapley(distances, hits, k, parameters["radius"], bits, progress=tell)
            rule = f"the {k} nearest vote, with Gaussian weights rounded to {2**bits} levels"
        elif hits is not None:
            values = knn_shapley(distances, hits, k, progress=tell)
            rule = f"the {k} nearest vote"
        else:
            assert game.targets is not None
            values = knn_regression_shapley(distances, *game.targets, k, progress=tell)
            rule = f"the {k} nearest are averaged"
    why = (
        f"the Shapley values themselves, of the game in which {rule} for each of {distances.m} validation rows, by "
        f"{game.meaning}; what your model would do without a row is another question"
    )
    return ValuationResult(game.of_all_samples(values), "exact", why, game.owners, method, parameters)


def _sources(
    game: AbstractSourceGame, utility: Callable[[Any], Any], empty: float | None, rounds: int | None, seed: int
) -> ValuationResult:
    n = len(game.names)
    if rounds is None and n > MOST_PLAYERS:
        raise ModelError(
            f"method='source-shapley' runs every coalition, of {MOST_PLAYERS} sources at most, and there are {n}: 2^{n} "
            "runs; join some of them into one, or give rounds= for an estimate"
        )
    if rounds is not None and (isinstance(rounds, bool) or not isinstance(rounds, int | np.integer) or rounds < 2):
        raise ModelError(f"rounds is a whole number of at least 2, not {rounds!r}")
    parameters: dict[str, Any] = {"sources": list(game.names)}
    known: dict[int, float] = {}
    with progress("coalitions of sources", 1 << n if rounds is None else int(rounds) * n * (n - 1) + 2) as tell:

        def worth(coalition: int) -> float:
            if coalition not in known:
                known[coalition] = game.worth(coalition, utility, empty)
                tell(1)
            return known[coalition]

        if rounds is None:
            parameters["worth"] = np.array([worth(coalition) for coalition in range(1 << n)])
            values, verdict = coalition_shapley(parameters["worth"]), "exact"
            why = f"every one of the {1 << n} coalitions of {n} sources was run"
        else:
            values, parameters["half_width"] = sampled_shapley(n, worth, int(rounds), seed)
            verdict = "estimated"
            why = (
                f"{len(known)} coalitions of {n} sources were run, in {rounds} rounds of {n} orders; 95 % intervals are "
                f"within {parameters['half_width'].max():.3g} of the values"
            )
    if game.held:
        verdict = "estimated"
        why += f"; what has no weighted form stayed as it is with all sources: {'; '.join(game.held)}"
    every = np.arange(n, dtype=np.int64)
    pairs = {name: (every[i : i + 1], every[:1]) for i, name in enumerate(game.names)}
    return ValuationResult(
        values, verdict, why, Owners(n, pairs, game.view), "source-shapley", parameters, of_sources=True
    )


def _checked(utility: Any) -> Callable[[Any], Any]:
    if not callable(utility):
        raise ModelError(
            "method='source-shapley' needs utility=, a function of the pipeline's result that gives a number"
        )
    found: Callable[[Any], Any] = utility
    return found


def _not_given(method: str, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise ModelError(f"{name}= is not for method={method!r}; leave it out")
