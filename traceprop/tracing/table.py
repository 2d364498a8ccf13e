"""Lazy tables: columns by name, rows with identity; a dataframe engine runs them."""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import MissingExtraError, SourceError, TraceError
from traceprop.ir import Expr, TableType
from traceprop.ir.forks import check
from traceprop.ir.location import user_location
from traceprop.ir.opset import concat, elementwise, gather, reduce, slice
from traceprop.ir.types import dtype_name, numpy_dtype
from traceprop.tracing import indexing, table_columns, table_rows
from traceprop.tracing.column import TableDates, TableText
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.trace import Size

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


_ELSEWHERE = {
    "dropna": ".drop_nulls()",
    "fillna": ".fill_nulls(value)",
    "isna": "t['c'].is_null()",
    "astype": ".cast({column: type})",
    "sort_values": ".sort(by)",
    "merge": ".join(other, on=…)",
    "drop_duplicates": ".unique(columns)",
    "groupby": ".group_by(keys).agg(…)",
    "get_dummies": ".one_hot(columns)",
    "value_counts": ".group_by(column).agg(n='len')",
    "loc": "t[mask], t[columns]",
    "iloc": "t.filter(mask), or index the array: t.to_numpy()[rows]",
    "query": "t[mask]",
    "apply": "functions of whole columns: t.assign(new=np.log1p(t['c']))",
    "pipe": "f(t)",
    "append": "tp.concat([t, other])",
    "values": ".to_numpy()",
    "head": ".filter(mask), or t.to_numpy()[:n]",
    "with_columns": ".assign(name=column)",
    "pivot": ".one_hot(column) and .group_by(keys).agg(…); pivots are not traced",
}
"""What those who come from pandas or polars look for, and what it is called here."""


class Table(Lazy):
    """A table of a program that has not run; every method gives a new lazy table or array."""

    __slots__ = ()

    @property
    def type(self) -> TableType:
        assert isinstance(self.value.type, TableType)
        return self.value.type

    @property
    def columns(self) -> list[str]:
        """Column names in order. One-hot columns are known by name only outside a traced function, once they ran."""
        if self.trace is None and any(field.width is not None for field in self.type.fields):
            return list(self.compute().columns)
        return [field.name for field in self.type.fields]

    @property
    def shape(self) -> tuple[Any, Any]:
        """(rows, columns)."""
        if self.trace is None:
            rows, columns = self.concrete_shape()
            return rows, columns
        rows, columns = (Size(dim, self.trace) if isinstance(dim, Expr) else dim for dim in self.type.dims)
        return rows, columns

    def __len__(self) -> int:
        return int(self.shape[0])

    def __repr__(self) -> str:
        if self.trace is not None:
            return f"traced {self.type}"
        return f"Table({self.compute()!r})"

    def __getitem__(self, key: Any) -> Any:
        """`t["c"]`: a column as an array; `t[["a", "b"]]`: some columns; `t[mask]`: some rows."""
        if isinstance(key, str):
            self._known([key])
            return emit(slice, [self], {"column": key})
        if isinstance(key, (list, tuple)) and all(isinstance(name, str) for name in key):
            return self.select(key)
        return self.filter(key)

    def select(self, cols: Sequence[str]) -> Table:
        """The columns of these names, in this order."""
        return emit(slice, [self], {"columns": tuple(self._names(cols))})

    def drop(self, cols: Sequence[str]) -> Table:
        """All columns but these."""
        names = self._names(cols)
        return self.select([field.name for field in self.type.fields if field.name not in names])

    def __getattr__(self, name: builtins.str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)  # protocols that others ask for
        hint = f"write {_ELSEWHERE[name]}" if name in _ELSEWHERE else f"columns are t[{name!r}]"
        raise AttributeError(f"a table has no .{name}, at {user_location() or 'an unknown line'}; {hint}")

    def rename(self, names: Mapping[str, str]) -> Table:
        """Columns under other names, `{old: new}`, where they stand."""
        self._known(list(names))
        wanted = [names.get(name, name) for name in self._field_names()]
        if len(set(wanted)) < len(wanted):
            raise TraceError(
                f"rename at {user_location() or 'an unknown line'} would leave two columns of one name: {wanted}"
            )
        parts = {old: emit_columns([self[old]], [new]) for old, new in names.items()}
        return table_columns.replaced(self, parts)

    def filter(self, mask: Any) -> Table:
        """The rows for which a boolean array is true, in order."""
        if isinstance(mask, Lazy) and not isinstance(mask, Table):
            if getattr(mask.type, "dtype", "") != "bool":
                raise TypeError(f"a table takes a boolean mask or column names, not {mask.type}, at {user_location()}")
            found = indexing.positions(mask)
            indexing.check_mask(self, mask)
            return emit(gather, [self, found], {"axis": 0}, "table.take")
        positions = np.asarray(mask)
        if positions.dtype != bool or positions.ndim != 1:
            raise TypeError(f"a table takes a boolean mask or column names, not {mask!r:.60}, at {user_location()}")
        indexing.check_mask(self, positions)
        return emit(gather, [self, np.flatnonzero(positions)], {"axis": 0}, "table.take")

    def drop_nulls(self, subset: Sequence[str] | None = None) -> Table:
        """The rows without a missing cell (null, or NaN) in any column, or in those of `subset`."""
        tested = self if subset is None else self.select(subset)
        whole = emit(reduce, [tested], {"axes": (1,)}, "table.all_valid", "bool")
        return emit(gather, [self, indexing.positions(whole)], {"axis": 0, "non_null": subset is None}, "table.take")

    def assign(self, **columns: Any) -> Table:
        """With more columns at the end, or others in place of old ones: arrays of one axis, one cell per row."""
        arrays = {name: value if isinstance(value, Lazy) else np.asarray(value) for name, value in columns.items()}
        have = self._field_names()
        old = {name: emit_columns([array], [name]) for name, array in arrays.items() if name in have}
        new = [name for name in arrays if name not in have]
        kept = table_columns.replaced(self, old) if old else self
        return emit_columns([kept, *(arrays[name] for name in new)], new) if new else kept

    def sort(self, by: str | Sequence[str], descending: bool = False) -> Table:
        """The rows in order of some columns, the first before the others; equal ones stay in order, nulls and NaN come last."""
        names = self._names(by)
        if not names:
            raise TraceError(f"sort at {user_location() or 'an unknown line'} needs at least one column")
        return table_rows.sort_rows(self, names, descending)

    def unique(self, cols: str | Sequence[str] | None = None) -> Table:
        """The first row of each distinct combination of `cols` (all columns where not given), in order; null equals null."""
        return table_rows.unique(self, self._names(cols) if cols is not None else self._names(self._field_names()))

    def sample(self, n: int, seed: int = 0) -> Table:
        """`n` different rows, drawn by NumPy's default generator and in the order drawn.

        Raises `ExecutionError` (`TypeRuleError` where it is known before) if there are fewer rows.
        """
        return table_rows.sample(self, n, seed)

    def join(self, other: Table, on: str | Sequence[str], how: str = "inner") -> Table:
        """The rows of this table beside those of `other` with equal keys; every pair, in the order of this table.

        `on`: key columns, which both tables have, of equal types. `how`: `"inner"`; `"left"`, which keeps rows without a
        match and gives them nulls; `"semi"` and `"anti"`, the rows of this table that have a match, or have none. Columns of
        `other` whose names are taken get `_right` behind them. A null key matches nothing.

        In the lineage a row of the result is one row of each table (of this one alone where it had no match); their keys are
        `control`, all keys `order`. Raises `KeyError` for a key that a table lacks, `TypeRuleError` for keys of two types.

            people.join(cities, on="zip", how="left")
        """
        return table_rows.join_tables(self, other, self._list(on), how)

    def group_by(self, keys: str | Sequence[str]) -> table_rows.Grouped:
        """The rows by key; `.agg(…)` folds them: `t.group_by("job").agg(pay=("pay", "mean"), n="len")`."""
        return table_rows.Grouped(self, self._list(keys))

    def fill_nulls(self, value: Any) -> Table:
        """With missing cells (null or NaN) filled: by a value, by `"mean"`, `"median"` or `"mode"`, or `{column: either}`.

        A single value fills the columns that it fits; the mean and the median fill columns of numbers, which become f64, the
        mode (the smallest of the most frequent) all. These statistics are part of the fitted state. A column without any
        value stays as it is. Raises `TraceError` for `{column: value}` that do not fit.

            t.fill_nulls({"age": "median", "job": "unknown"})
        """
        return table_columns.fill_nulls(self, value)

    def cast(self, types: Any) -> Table:
        """With columns of other types: one for all, or `{column: type}`.

        Types are those of the IR (`"f64"`, `"i32"`, `"str"`, `"date"`, `"datetime"`, …), NumPy's, polars' or Python's. Text is
        read as a number, an ISO date or time, or `true`/`false`; a null stays null, a NaN becomes one in a column of whole
        numbers, text or booleans. A cell that has no such value is an `ExecutionError` that names column and row.
        """
        return table_columns.cast(self, types)

    def bin(self, col: str, edges: Sequence[float]) -> Table:
        """With a column of numbers replaced by the number of its bin (i64): how many of the growing `edges` are not above it.

        0: below the first edge; `len(edges)`: at or above the last. A missing cell is null.

            t.bin("age", [18, 30, 65])
        """
        return table_columns.bin_column(self, col, edges)

    def tfidf(self, col: str) -> Table:
        """A text column replaced, at the end, by one f64 column per word: how often it stands in the row, times its rarity.

        count * (log((rows + 1) / (rows with the word + 1)) + 1), each row scaled to length 1, as scikit-learn's
        `TfidfVectorizer` does it: words are two letters or more, in small letters. A null has no words. Vocabulary and rarity
        are part of the fitted state. Raises `TraceError` for a column that is no text.
        """
        return table_columns.tfidf(self, col)

    def target_encode(self, cols: str | Sequence[str], target: Any, smoothing: float = 0.0) -> Table:
        """Each category of some columns replaced by the mean of `target` over its rows, drawn towards the mean of all (f64).

        (sum over the category + smoothing * mean of all) / (rows of the category + smoothing), after Micci-Barreca (2001).
        `target` is a column of numbers, by name or as an array; its missing cells count nowhere. A missing category gets the
        mean of all, and so does one that was not among the fitting rows, with a warning.
        Raises `TraceError` for a target that is no number or a smoothing below zero.

            t.target_encode(["job", "city"], target="defaulted", smoothing=20)
        """
        return table_columns.target_encode(self, self._names(cols), target, smoothing)

    def one_hot(self, cols: str | Sequence[str]) -> Table:
        """Each of these columns replaced, at the end, by one 0/1 column per value that it takes (in sorted order).

        The values are part of the fitted state: in `f.fit(…)` they are those of the fitting rows, and a value that was
        not among them gives zeros and a warning. A null gives zeros.
        """
        return table_columns.one_hot(self, self._names(cols))

    @property
    def str(self) -> TableText:
        """Text methods by column name, each an array: `t.assign(job=t.str.lower("job"))`; also `t["job"].str.lower()`."""
        return TableText(self)

    @property
    def dt(self) -> TableDates:
        """Parts of dates by column name, each an array: `t.dt.year("born")`; also `t["born"].dt.year()`."""
        return TableDates(self)

    def to_numpy(self, dtype: Any = None) -> Any:
        """All columns as one array (rows, columns), of `dtype` or of one that holds them all; nulls become NaN."""
        fields = self.type.fields
        for field in fields:
            if field.dtype in ("str", "date", "datetime", "days", "duration", "object"):
                raise TraceError(
                    f"column {field.name!r} is {field.dtype}, not a number, at {user_location() or 'an unknown line'}: "
                    "select the numeric columns, or one_hot the column first"
                )
        if dtype is None:
            kinds = [
                np.dtype(float) if field.nullable and field.dtype[0] in "iub" else numpy_dtype(field.dtype)
                for field in fields
            ]
            dtype = np.result_type(*kinds) if kinds else np.dtype(float)
        name = dtype_name(dtype)
        return emit(elementwise, [self], {"dtype": name}, "table.to_numpy", name)

    def compute(self) -> pl.DataFrame:
        """Runs what this table needs, once, and gives a polars DataFrame, whose lineage ends there."""
        return self.concrete().clone()

    def to_polars(self) -> pl.DataFrame:
        """The same as `compute()`."""
        return self.compute()

    def to_pandas(self) -> pd.DataFrame:
        """The computed table as a pandas DataFrame (extra `pandas`)."""
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("to_pandas needs pandas: pip install 'traceprop[pandas]'") from None
        return pd.DataFrame({column.name: column.to_numpy() for column in self.compute().get_columns()})

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.trace is not None:
            self._refuse("conversion of a traced table to a plain array", "use .to_numpy(), which stays traced")
        check("polars", "a table as a plain array")
        plain = self.compute().to_numpy()
        return plain if dtype is None else plain.astype(dtype)

    def _field_names(self) -> list[builtins.str]:
        return [field.name for field in self.type.fields]

    @staticmethod
    def _list(names: builtins.str | Sequence[builtins.str]) -> list[builtins.str]:
        return [names] if isinstance(names, builtins.str) else list(names)

    def _names(self, names: builtins.str | Sequence[builtins.str]) -> list[builtins.str]:
        """One name or several as a list. Raises `KeyError` for one that the table has not."""
        listed = self._list(names)
        self._known(listed)
        return listed

    def _known(self, names: Sequence[builtins.str], table: builtins.str = "the table") -> None:
        for name in names:
            if name not in self.type.places:
                have = self._field_names()
                near = difflib.get_close_matches(builtins.str(name), have, 3)
                meant = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
                raise KeyError(
                    f"there is no column {name!r} at {user_location() or 'an unknown line'}; {meant}{table} "
                    f"{f'({self.source_id!r}) ' if self.source_id else ''}has {', '.join(have)}"
                )


def emit_columns(parts: Sequence[Any], names: Sequence[builtins.str]) -> Table:
    """Tables and arrays side by side, as one table; the arrays take `names` in order."""
    return emit(concat, parts, {"axis": 1, "names": tuple(names)}, "table.with_columns")


def concat_tables(values: Sequence[Any]) -> Any:
    """`tp.concat`: tables under one another, or arrays along their first axis."""
    values = list(values)
    if not values:
        raise SourceError("tp.concat needs at least one table or array")
    if all(isinstance(value, Table) for value in values):
        return values[0] if len(values) == 1 else emit(concat, values, {"axis": 0}, "table.concat")
    if any(isinstance(value, Table) for value in values):
        raise TraceError(f"tp.concat takes tables or arrays, not both, at {user_location()}")
    return np.concatenate(values)


Lazy.kinds[TableType] = Table
