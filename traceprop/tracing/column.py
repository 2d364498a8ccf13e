"""What a column can be asked beside arithmetic and comparison: missing cells, membership, text and dates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir.location import user_location
from traceprop.ir.opset import elementwise
from traceprop.tracing.lazy import Lazy, emit


class ColumnMethods:
    """Mixed into lazy arrays. Every method gives an array of the same shape; cell i depends on cell i alone."""

    __slots__ = ()

    def is_null(self) -> Any:
        """Where a cell is missing (null, NaN or NaT): bool."""
        return emit(elementwise, [self], {}, "table.is_null", "bool")

    def is_not_null(self) -> Any:
        """Where a cell is there: bool."""
        return np.logical_not(self.is_null())

    def isin(self, values: Iterable[Any]) -> Any:
        """Where a cell is one of `values`, which are plain; a missing cell is none: bool.

        Raises `TraceError` for values of a traced function: `t.join(other, on=…, how="semi")` keeps the rows that they hold.
        """
        if isinstance(values, Lazy):
            raise TraceError(
                f"isin at {user_location() or 'an unknown line'} takes plain values, not {values.type}; keep rows whose key "
                'another table has with t.join(other, on=…, how="semi")'
            )
        plain = tuple(value.item() if isinstance(value, np.generic) else value for value in values)
        return emit(elementwise, [self], {"words": plain}, "table.isin", "bool")

    @property
    def str(self) -> Text:
        """Text methods: `t["job"].str.upper()`. Raises `TraceError` for a column that is no text."""
        _check(self, "str", ("str",))
        return Text(self)

    @property
    def dt(self) -> Dates:
        """Parts of dates: `t["born"].dt.year()`. Raises `TraceError` for a column that holds no dates."""
        _check(self, "dt", ("date", "datetime"))
        return Dates(self)


def _check(column: Any, accessor: str, dtypes: tuple[str, ...]) -> None:
    if column.type.dtype not in dtypes:
        raise TraceError(
            f".{accessor} at {user_location() or 'an unknown line'} is of {' and '.join(dtypes)} columns, and this one is "
            f"{column.type.dtype}; cast the column first: t.cast({{name: {dtypes[0]!r}}})"
        )


class Text:
    """Text methods of one column; null stays null, and is False where a method answers yes or no."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def lower(self) -> Any:
        """Small letters."""
        return self._cells("lower")

    def upper(self) -> Any:
        """Capital letters."""
        return self._cells("upper")

    def strip(self) -> Any:
        """Without blanks at both ends."""
        return self._cells("strip")

    def replace(self, old: str, new: str) -> Any:
        """With every `old`, taken literally, replaced by `new`."""
        return self._cells("replace", pattern=old, value=new, literal=True)

    def slice(self, start: int, length: int | None = None) -> Any:
        """Characters from `start` on (a negative one counts from the end), `length` of them."""
        return self._cells("slice", offset=start, length=length)

    def len(self) -> Any:
        """The number of characters: f64, NaN for a null."""
        return self._cells("len", "f64")

    def contains(self, part: str, regex: bool = False) -> Any:
        """Where `part` occurs, literally or as a regular expression: bool."""
        return self._cells("contains", "bool", pattern=part, literal=not regex)

    def starts_with(self, prefix: str) -> Any:
        """Where a cell begins so: bool."""
        return self._cells("starts_with", "bool", prefix=prefix)

    def ends_with(self, suffix: str) -> Any:
        """Where a cell ends so: bool."""
        return self._cells("ends_with", "bool", suffix=suffix)

    def _cells(self, name: str, dtype: str = "str", **options: Any) -> Any:
        return emit(elementwise, [self._column], options, f"table.text_{name}", dtype)


class Dates:
    """Parts of the dates of one column, each f64 with NaN where there is no date.

    `year()`, `month()` and `day()` from 1, `weekday()` with Monday 1, `ordinal_day()` of the year, `quarter()`; of a
    `datetime` also `hour()`, `minute()`, `second()`.
    """

    def __init__(self, column: Any) -> None:
        self._column = column


def _part(name: str, timed: bool) -> Callable[[Dates], Any]:
    def part(self: Dates) -> Any:
        if timed:
            _check(self._column, f"dt.{name}", ("datetime",))
        return emit(elementwise, [self._column], {}, f"table.date_{name}", "f64")

    part.__name__ = name
    part.__doc__ = f"The {name.replace('_', ' ')}: f64, NaN where there is no date."
    return part


for _name in "year month day weekday ordinal_day quarter hour minute second".split():
    setattr(Dates, _name, _part(_name, _name in ("hour", "minute", "second")))


class TableText:
    """`t.str.upper("job")`: the text method of a column, by name. What follows the name goes to the method."""

    accessor = "str"

    def __init__(self, table: Any) -> None:
        self._table = table

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(column: str, *args: Any, **options: Any) -> Any:
            return getattr(getattr(self._table[column], self.accessor), name)(*args, **options)

        if name.startswith("_") or not hasattr(Text if self.accessor == "str" else Dates, name):
            raise AttributeError(f"there is no .{self.accessor}.{name}")
        return method


class TableDates(TableText):
    """`t.dt.year("born")`: a part of the dates of a column, by name."""

    accessor = "dt"
