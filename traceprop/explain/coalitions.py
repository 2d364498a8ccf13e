"""The game of sources: the pipeline run with some of them, and what the result is worth."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.lineage import provenance
from traceprop.tracing.function import TracedFunction
from traceprop.tracing.lazy import is_lazy
from traceprop.tracing.reweighted import ReweightedFunction, Reweighting
from traceprop.tracing.structure import flatten, rebuild
from traceprop.training.store import GradientStore


class AbstractSourceGame(ABC):
    """A pipeline that can be run with any of its sources.

    Attributes
    ----------
    names
        The sources, in order of first use.
    view
        The lineage of its result; None where the pipeline is a plain function.
    held
        The steps that stayed as they are with all sources, and why.
    """

    names: tuple[str, ...]
    view: Any = None
    held: tuple[str, ...] = ()

    @abstractmethod
    def result(self, kept: tuple[str, ...]) -> Any:
        """Run the pipeline with these sources."""

    def worth(self, coalition: int, utility: Callable[[Any], Any], empty: float | None) -> float:
        """Give the utility of a coalition: of the sources whose bits are set in it.

        Raises
        ------
        ModelError
            A utility that is not one finite number, or fails; names the coalition.
        """
        kept = tuple(name for bit, name in enumerate(self.names) if coalition >> bit & 1)
        return float(empty) if not kept and empty is not None else self._one(kept, utility)

    def _one(self, kept: tuple[str, ...], utility: Callable[[Any], Any]) -> float:
        who = f"the coalition of {', '.join(map(repr, kept))}" if kept else "no source at all (empty= sets it)"
        with np.errstate(divide="ignore", invalid="ignore"):
            result = self.result(kept)
        try:
            found = np.asarray(utility(result), dtype=np.float64)
        except Exception as error:
            raise ModelError(f"utility failed for {who}: {type(error).__name__}: {error}") from error
        if found.size != 1 or not np.isfinite(found).all():
            raise ModelError(f"utility gave {found} for {who}; one finite number is needed")
        return float(found.reshape(()))


class LazySources(AbstractSourceGame):
    """Lazy values, run again with weight 0 for the rows of sources that are left out.

    `aligned`: plain arrays among them have the rows of the first lazy value, and lose those that it loses.
    """

    def __init__(self, values: Any, aligned: bool = False) -> None:
        self._values = values
        self._aligned = aligned
        leaves = [leaf for _, leaf in flatten(values, "result", is_lazy) if is_lazy(leaf)]
        self.view = provenance(leaves)
        rows = {name: self.view.source(name).n_rows for name in self.view.sources()}
        self._rows = rows
        self.names = tuple(rows)
        work = Reweighting(_weights(rows, tuple(rows)))
        for leaf in leaves:
            work.call(leaf.call())
        if missing := [name for name in rows if name not in work.vectors()]:
            raise ModelError(
                f"source {missing[0]!r} is behind a saved result and cannot be left out; give the pipeline from it on"
            )
        self.held = tuple(work.held)

    def result(self, kept: tuple[str, ...]) -> Any:
        """See `AbstractSourceGame.result`: arrays of the rows that stay, in the structure of the lazy values."""
        work = Reweighting(_weights(self._rows, kept))
        first: list[np.ndarray] = []

        def again(leaf: Any) -> Any:
            if not is_lazy(leaf):
                return _rows_of(np.asarray(leaf), first[0]) if self._aligned and first else leaf
            value = work.value(leaf).compute()
            rows = work.rows(leaf)
            if rows is None:
                return value
            stay = np.asarray(rows.compute()) != 0
            first.append(stay)
            return _rows_of(value, stay)

        return rebuild(self._values, again, is_lazy)


class CalledSources(AbstractSourceGame):
    """A function of the sources' names, or of their weights."""

    def __init__(self, pipeline: Callable[..., Any], rows: Mapping[str, int | None]) -> None:
        self._pipeline, self._rows = pipeline, dict(rows)
        self.names = tuple(rows)
        self._weighted = "weights" in _parameters(pipeline)
        if self._weighted and (unknown := [name for name, count in rows.items() if count is None]):
            raise ModelError(
                f"pipeline takes weights, and source {unknown[0]!r} has no known number of rows: give "
                "sources={source_id: rows}"
            )

    def result(self, kept: tuple[str, ...]) -> Any:
        """See `AbstractSourceGame.result`."""
        if self._weighted:
            return self._pipeline(weights=_weights(self._rows, kept))
        return self._pipeline(kept)


def source_game(pipeline: Any, store: GradientStore | None, sources: Any) -> AbstractSourceGame:
    """Make the game of what a user gave as pipeline. Raises ModelError for what cannot be run with fewer sources."""
    own = pipeline is None
    if own:
        if store is None or store.lazies is None or not is_lazy(store.lazies[0]):
            raise ModelError(
                "method='source-shapley' needs pipeline=: lazy values of a traced function, or a function of source ids"
            )
        pipeline = store.lazies
    if isinstance(pipeline, functools.partial) and isinstance(pipeline.func, TracedFunction):
        pipeline = pipeline()
    elif isinstance(pipeline, functools.partial) and isinstance(pipeline.func, ReweightedFunction):
        pipeline = pipeline.func.traced(*pipeline.args, **pipeline.keywords)
    elif isinstance(pipeline, TracedFunction | ReweightedFunction):
        pipeline = _as_called(pipeline.traced if isinstance(pipeline, ReweightedFunction) else pipeline, store)
    if any(is_lazy(leaf) for _, leaf in flatten(pipeline, "result", is_lazy)):
        if sources is not None:
            raise ModelError("sources= is for a pipeline that is a function; lazy values know their sources")
        game: AbstractSourceGame = LazySources(pipeline, aligned=own)
    elif callable(pipeline):
        game = CalledSources(pipeline, _named(sources, store))
    else:
        raise ModelError(
            f"pipeline is lazy values, or a function of source ids or weights, not {type(pipeline).__name__}"
        )
    if not game.names:
        raise ModelError("there is no source to value")
    return game


def _as_called(function: TracedFunction, store: GradientStore | None) -> Any:
    """Find the call of the function that a store's training data came from; give what it returned."""
    waiting = [] if store is None or store.lazies is None else [value for value in store.lazies if is_lazy(value)]
    while waiting:
        call = waiting.pop(0).call()
        result = function.returned(call)
        if result is not None:
            return result
        waiting += [given for given in call.inputs if is_lazy(given)]
    name = getattr(function, "__name__", "f")
    raise ModelError(f"pipeline is a function of which the sources are not known: call it, pipeline={name}(…)")


def _named(sources: Any, store: GradientStore | None) -> dict[str, int | None]:
    if isinstance(sources, Mapping):
        return {str(name): int(rows) for name, rows in sources.items()}
    if sources is not None:
        names = [str(name) for name in ([sources] if isinstance(sources, str) else sources)]
        if len(set(names)) != len(names):
            raise ModelError(f"a source is named twice in {names}")
        return dict.fromkeys(names)
    if store is None:
        raise ModelError("pipeline is a function: name its sources with sources=[…], or give gradient_store=")
    owners = store.owners
    known = owners.view is not None
    return {name: int(owners.source(name).n_rows) if known else owners.n for name in owners.source_ids}


def _parameters(function: Callable[..., Any]) -> Any:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return ()


def _weights(rows: Mapping[str, int | None], kept: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: np.full(count or 0, float(name in kept)) for name, count in rows.items()}


def _rows_of(value: Any, stay: np.ndarray) -> Any:
    if hasattr(value, "filter") and hasattr(value, "columns"):
        import polars as pl

        return value.filter(pl.Series(stay))
    return value[stay]
