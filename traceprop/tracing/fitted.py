"""A pipeline with its statistics fixed, applied to new raw rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from traceprop.errors import SourceError, TraceError
from traceprop.ir import Param, Program
from traceprop.passes.optimize.free_rows import FreeRows
from traceprop.sources import Source
from traceprop.sources.conform import conformed, empty_like
from traceprop.tracing.call import Call
from traceprop.tracing.inputs import as_input, rows_of
from traceprop.tracing.lazy import Lazy


class Fitted:
    """`p = f.fit(*args)`: `p(new)` applies the fitted pipeline to new raw rows, lazily.

    `.program`: the frozen program; its `fitted` parameters hold the statistics of the fitting run. In the lineage of a
    result the new row is `direct`, and the rows behind the statistics are `aggregate`.
    """

    def __init__(
        self,
        name: str,
        program: Program,
        fitting: Call,
        statistics: Mapping[str, Lazy],
        wrap: Callable[[Program, Call], Any],
    ) -> None:
        self.__name__ = name
        self._kept = {
            param.name: given
            for param, given in zip(fitting.program.params, fitting.inputs, strict=True)
            if param.name.startswith("captured_")
        }
        self._one_size: TraceError | None = None
        try:
            program = FreeRows(tuple(p.name for p in program.params if not p.fitted and p.name not in self._kept))(
                program
            )
        except TraceError as error:
            self._one_size = error
        self.program = program
        self.statistics = {param.name: statistics[param.name] for param in program.params if param.fitted}
        self._fitting = fitting
        self._wrap = wrap

    def __repr__(self) -> str:
        return f"<fitted pipeline {self.__name__}({', '.join(param.name for param in self._open)})>"

    @property
    def _open(self) -> list[Param]:
        return [param for param in self.program.params if not param.fitted and param.name not in self._kept]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """New rows for the first parameter, or by name; sources not given are empty.

        Columns are brought to the types of the fitting run by name; an unseen category gives zeros and a warning. Raises
        `SourceError` for new rows whose source has the id of the fitting run's: they need another `source_id=`.
        """
        names = [param.name for param in self._open]
        if not args and not kwargs:
            raise TraceError(f"{self.__name__} takes new rows for {' or '.join(names)}")
        unknown = set(kwargs) - set(names)
        if unknown or len(args) > len(names):
            raise TraceError(f"{self.__name__} takes {', '.join(names)}; not {', '.join(sorted(unknown)) or 'more'}")
        given = dict(zip(names, args, strict=False)) | kwargs
        inputs = [self._input(param, given) for param in self.program.params]
        self._check_ids(inputs)
        return self._wrap(self.program, Call(self.program, inputs, self._fitting.executor, self._fitting.options))

    def _check_ids(self, inputs: list[Any]) -> None:
        """New rows are another source than those of the fitting run, or that source itself: answers speak in ids."""
        fitted_to = {source.id: source for lazy in self.statistics.values() for source in lazy.sources()}
        for source in (given for given in inputs if isinstance(given, Source)):
            if fitted_to.get(source.id, source) is not source:
                raise SourceError(
                    f"the new rows of {self.__name__} come from a source called {source.id!r}, as do the rows that it was "
                    f"fitted to, and answers could not tell them apart: give the new ones another id, source_id="
                    f"{'new ' + source.id!r}"
                )

    def _input(self, param: Param, given: Mapping[str, Any]) -> Any:
        if param.fitted:
            return self.statistics[param.name]
        if param.name in self._kept:
            return self._kept[param.name]
        if param.name in given:
            value = as_input(f"new {param.name}", given[param.name])
            value = conformed(value, param.type) if isinstance(value, Source) else value
        else:
            value = empty_like(param.type, f"{param.name} (no new rows)")
        if self._one_size is not None and rows_of(value) != param.type.dims[0]:
            raise TraceError(f"{self.__name__} takes {param.type.dims[0]} new rows for {param.name}: {self._one_size}")
        return value
