"""What a column can be asked beside arithmetic and comparison: missing cells, membership, text and dates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
        return emit(elementwise, [self], {"words": tuple(map(_plain, values))}, "table.isin", "bool")

    def is_between(self, low: Any, high: Any) -> Any:
        """Where a cell is at least `low` and at most `high`; a missing one is not: bool."""
        return np.logical_and(np.greater_equal(self, low), np.less_equal(self, high))

    def map(self, meanings: Mapping[Any, Any]) -> Any:
        """Each cell replaced by what it means, `{"yes": 1, "no": 0}`: text, or numbers as f64; missing where it is not listed.

        Raises `TraceError` for anything but a dictionary of plain values: a function would have to run row by row.
        """
        if not isinstance(meanings, Mapping) or not meanings:
            raise TraceError(
                f"map at {user_location() or 'an unknown line'} takes a dictionary of cells and what they mean; for a function "
                "of numbers call it on the column itself (np.log1p(t['pay']))"
            )
        kept = {_plain(word): _plain(meaning) for word, meaning in meanings.items() if word is not None}
        text = all(isinstance(meaning, str) for meaning in kept.values())
        if not text and not all(isinstance(meaning, bool | int | float) for meaning in kept.values()):
            raise TraceError(f"map at {user_location() or 'an unknown line'} gives text or numbers, not both or others")
        attrs = {"words": tuple(kept), "meanings": tuple(kept.values())}
        return emit(elementwise, [self], attrs, "table.mapped", "str" if text else "f64")

    @property
    def str(self) -> Text:
        """Text methods: `t["job"].str.upper()`. Raises `TraceError` for a column that is no text."""
        _check(self, "str", ("str",))
        return Text(self)

    @property
    def dt(self) -> Dates:
        """Parts of dates, and lengths of time: `t["born"].dt.year()`, `(t["left"] - t["came"]).dt.total_days()`.

        Raises `TraceError` for a column that holds neither. Dates are subtracted, compared and moved by operators:
        `t["left"] - t["came"]`, `t["born"] < datetime.date(1990, 1, 1)`, `t["due"] + np.timedelta64(30, "D")`.
        """
        _check(self, "dt", ("date", "datetime", "days", "duration"))
        return Spans(self) if self.type.dtype in ("days", "duration") else Dates(self)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _check(column: Any, accessor: str, dtypes: tuple[str, ...]) -> None:
    if column.type.dtype not in dtypes:
        raise TraceError(
            f".{accessor} at {user_location() or 'an unknown line'} is of {' and '.join(dtypes)} columns, and this one is "
            f"{column.type.dtype}; cast the column first: t.cast({{name: {dtypes[0]!r}}})"
        )


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


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

    def title(self) -> Any:
        """A capital letter at the beginning of each word."""
        return self._cells("title")

    def strip(self, characters: str | None = None) -> Any:
        """Without blanks, or any of `characters`, at both ends."""
        return self._cells("strip", **_given(characters=characters))

    def strip_start(self, characters: str | None = None) -> Any:
        """Without blanks, or any of `characters`, at the beginning."""
        return self._cells("strip_start", **_given(characters=characters))

    def strip_end(self, characters: str | None = None) -> Any:
        """Without blanks, or any of `characters`, at the end."""
        return self._cells("strip_end", **_given(characters=characters))

    def split(self, by: str, part: int) -> Any:
        """The part with this number between separators, from 0, or from the end; null where there are fewer."""
        return self._cells("split", by=by, part=part)

    def extract(self, pattern: str, group: int = 1) -> Any:
        """What a group of a regular expression matches first; null where it does not."""
        return self._cells("extract", pattern=pattern, group_index=group)

    def pad_start(self, width: int, character: str = " ") -> Any:
        """At least `width` characters, filled at the beginning."""
        return self._cells("pad_start", length=width, fill_char=character)

    def pad_end(self, width: int, character: str = " ") -> Any:
        """At least `width` characters, filled at the end."""
        return self._cells("pad_end", length=width, fill_char=character)

    def zfill(self, width: int) -> Any:
        """At least `width` characters, filled with zeros behind a sign."""
        return self._cells("zfill", length=width)

    def count(self, part: str, regex: bool = False) -> Any:
        """How often `part` occurs: f64, NaN for a null."""
        return self._cells("count", "f64", pattern=part, literal=not regex)

    def find(self, part: str, regex: bool = False) -> Any:
        """Where `part` occurs first, in bytes from 0: f64, NaN where it does not."""
        return self._cells("find", "f64", pattern=part, literal=not regex)

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

    def to_date(self, format: str | None = None, strict: bool = True) -> Any:
        """Read as dates, in ISO form or as chrono's `format` says (`"%d.%m.%Y"`); null stays missing.

        A cell that is no date is an `ExecutionError` that names its row; not `strict`, it is missing.
        """
        return self._cells("to_date", "date", format=format, strict=strict)

    def to_datetime(self, format: str | None = None, strict: bool = True) -> Any:
        """Read as points in time (microseconds, no time zone), as `to_date` reads dates."""
        return self._cells("to_datetime", "datetime", format=format, strict=strict)

    def _cells(self, name: str, dtype: str = "str", **options: Any) -> Any:
        return emit(elementwise, [self._column], options, f"table.text_{name}", dtype)


class Dates:
    """What a column of dates can be asked. Parts are f64, with NaN where there is no date.

    `year()`, `month()` and `day()` from 1, `week()` as ISO counts it, `weekday()` with Monday 1, `ordinal_day()` of the year,
    `quarter()`, `days_in_month()`, `is_leap_year()` (1 or 0); of a `datetime` also `hour()`, `minute()`, `second()`.
    """

    def __init__(self, column: Any) -> None:
        self._column = column

    def date(self) -> Any:
        """The day of a point in time, without the hour."""
        return self._column.astype("datetime64[D]")

    def truncate(self, every: str) -> Any:
        """The beginning of the hour, day, week, month, quarter or year: `"1h"`, `"1d"`, `"1w"`, `"1mo"`, `"1q"`, `"1y"`."""
        return self._moved("truncate", every=every)

    def offset_by(self, by: str) -> Any:
        """Moved by calendar units, as in `"1mo"`, `"-1y"`, `"2w"`; the 31st of a short month is its last day."""
        return self._moved("offset_by", by=by)

    def format(self, format: str) -> Any:
        """Written as text, as chrono's `format` says: `"%Y-%m"`; missing stays null."""
        return emit(elementwise, [self._column], {"format": format}, "table.date_format", "str")

    def _moved(self, name: str, **options: str) -> Any:
        return emit(elementwise, [self._column], options, f"table.date_{name}", self._column.type.dtype)


def _part(name: str, timed: bool) -> Callable[[Dates], Any]:
    def part(self: Dates) -> Any:
        if timed:
            _check(self._column, f"dt.{name}", ("datetime",))
        return emit(elementwise, [self._column], {}, f"table.date_{name}", "f64")

    part.__name__ = name
    part.__doc__ = f"The {name.replace('_', ' ')}: f64, NaN where there is no date."
    return part


for _name in "year month day week weekday ordinal_day quarter days_in_month is_leap_year hour minute second".split():
    setattr(Dates, _name, _part(_name, _name in ("hour", "minute", "second")))


class Spans:
    """Lengths of time in a unit, with fractions: `total_days()`, `total_hours()`, `total_minutes()`, `total_seconds()`.

    Each is f64, with NaN where a span is missing.
    """

    def __init__(self, column: Any) -> None:
        self._column = column


def _total(name: str, unit: np.timedelta64) -> Callable[[Spans], Any]:
    def total(self: Spans) -> Any:
        return np.true_divide(self._column, unit)

    total.__name__ = f"total_{name}"
    total.__doc__ = f"The {name} of a span, with fractions: f64, NaN where it is missing."
    return total


for _name, _unit in {"days": "D", "hours": "h", "minutes": "m", "seconds": "s"}.items():
    setattr(Spans, f"total_{_name}", _total(_name, np.timedelta64(1, _unit)))  # type: ignore[call-overload]


class TableText:
    """`t.str.upper("job")`: the text method of a column, by name. What follows the name goes to the method."""

    accessor = "str"

    def __init__(self, table: Any) -> None:
        self._table = table

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(column: str, *args: Any, **options: Any) -> Any:
            return getattr(getattr(self._table[column], self.accessor), name)(*args, **options)

        known = (Text,) if self.accessor == "str" else (Dates, Spans)
        if name.startswith("_") or not any(hasattr(one, name) for one in known):
            raise AttributeError(f"there is no .{self.accessor}.{name}")
        return method


class TableDates(TableText):
    """`t.dt.year("born")`: a part of the dates of a column, or `t.dt.total_days("stay")` of its spans, by name."""

    accessor = "dt"
