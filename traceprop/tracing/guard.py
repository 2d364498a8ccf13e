"""Whether a call is like an earlier one, found out by identities before anything is looked at in depth.

A function is traced again when its arguments are of other types, or when what it closes over has changed. The full key
of that costs tens of microseconds; a guard remembers the objects behind it and asks only whether they are the same ones.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.ir import Expr, Param
from traceprop.sources import ArraySource, Source
from traceprop.tracing.inputs import array_of_world, as_input
from traceprop.tracing.lazy import Lazy
from traceprop.tracing.purity import global_names, is_helper, owner_of
from traceprop.tracing.watched import Watch
from traceprop.tracing.worlds import mode_of, world_of_value

_FIXED = (bool, int, float, complex, str, bytes, type(None), type, types.ModuleType, types.BuiltinFunctionType)


class Surroundings:
    """What a function and the helpers that it calls close over: which objects, and what those that can change hold."""

    __slots__ = ("_cells", "_contents", "_scopes")

    def __init__(self, function: Callable[..., Any]) -> None:
        self._cells: list[tuple[types.CellType, Any]] = []
        self._scopes: list[tuple[Callable[[str], Any], tuple[str, ...], tuple[Any, ...]]] = []
        self._contents: list[Watch] = []
        owner = owner_of(function)
        if owner is not None:
            self._contents.append(Watch(owner))
        self._look(function, set())

    def _look(self, function: Any, seen: set[int]) -> None:
        function = getattr(function, "__wrapped__", function)
        code = getattr(function, "__code__", None)
        if code is None or id(function) in seen:
            return
        seen.add(id(function))
        cells = [(cell, _held(cell)) for cell in function.__closure__ or ()]
        scope, names = function.__globals__, tuple(dict.fromkeys(global_names(code)))
        values = tuple(map(scope.get, names))
        self._cells += cells
        self._scopes.append((scope.get, names, values))
        for value in (*(value for _, value in cells), *values):
            if is_helper(value):
                if value.__module__ == function.__module__:
                    self._look(value, seen)
            elif not isinstance(value, _FIXED):
                self._contents.append(Watch(value))

    def same_objects(self) -> bool:
        """Whether every name still stands for the same object."""
        for cell, value in self._cells:
            if _held(cell) is not value:
                return False
        for look_up, names, values in self._scopes:
            for name, value in zip(names, values):  # noqa: B905 (as long as each other; this runs on every call)
                if look_up(name) is not value:
                    return False
        return True

    def same_contents(self) -> bool:
        """Whether what can be written to in place holds what it held."""
        for watch in self._contents:  # noqa: SIM110 (most functions have none, and a generator costs more)
            if not watch.same():
                return False
        return True


def _held(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


class Guard:
    """The surroundings and argument types of one call by position with sources; `accepts` says whether another is like it."""

    __slots__ = ("_apart", "_counts", "_equal", "_free", "_mode", "_signatures", "_smallest", "surroundings", "world")

    def __init__(
        self, sources: Sequence[Source], params: Sequence[Param], smallest: int, surroundings: Surroundings, world: str
    ) -> None:
        self.surroundings = surroundings
        self.world = world
        self._mode = mode_of(world)
        self._smallest = smallest
        self._signatures = [source.signature for source in sources]
        self._apart = len({source.id for source in sources}) == len(sources)
        dims = [param.type.dims[0] if param.rank else None for param in params[: len(sources)]]
        self._counts = [(k, dim) for k, dim in enumerate(dims) if isinstance(dim, int)]
        self._free = [k for k, dim in enumerate(dims) if smallest and isinstance(dim, Expr)]
        self._equal = [(dims.index(dim), k) for k, dim in enumerate(dims) if dim is not None and dims.index(dim) < k]

    def accepts(self, sources: Sequence[Source]) -> bool:
        """Whether the trace of this guard serves as many sources, as far as types, sizes and identities tell."""
        for source, signature in zip(sources, self._signatures):  # noqa: B905
            if source.signature is not signature and source.signature != signature:
                return False
        for k, count in self._counts:
            if sources[k].n_rows != count:
                return False
        for k, other in self._equal:
            if sources[k].n_rows != sources[other].n_rows:
                return False
        for k in self._free:
            if sources[k].n_rows < self._smallest:
                return False
        if self._mode is not None and self._mode != mode_of(self.world):
            return False
        return self.surroundings.same_objects()

    def tells_apart(self, sources: Sequence[Source]) -> bool:
        """Whether sources that it accepts have ids that differ, those behind them included."""
        for source in sources:
            if source.lineage is not None:
                return False
        return self._apart


def sources_of(names: Sequence[str], args: Sequence[Any]) -> list[Source] | None:
    """The sources that the arguments are, if all are: sources, lazy values of them, or arrays, which become one each."""
    if len(args) != len(names):
        return None
    found = []
    for name, value in zip(names, args):  # noqa: B905 (as long as each other; this runs on every call)
        if type(value) is np.ndarray:
            found.append(ArraySource(value, name, name))
            continue
        if isinstance(value, Lazy):
            source = value.source
        elif world_of_value(value) == "torch":
            source = array_of_world(value, name, name)
        else:
            known = isinstance(value, np.ndarray) or world_of_value(value) != "numpy"
            source = as_input(name, value) if known else value
            source = source if isinstance(source, Source) else None
        if source is None:
            return None
        found.append(source)
    return found
