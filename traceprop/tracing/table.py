"""Lazy tables: columns by name, rows with identity; a dataframe engine runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import MissingExtraError, SourceError, TraceError
from traceprop.ir import Expr, TableType
from traceprop.ir.location import user_location
from traceprop.ir.opset import concat, elementwise, gather, reduce, slice, sort
from traceprop.ir.types import dtype_name, numpy_dtype
from traceprop.tracing import indexing
from traceprop.tracing.lazy import Lazy, emit, fresh_symbol
from traceprop.tracing.trace import Size

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


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
        names = [cols] if isinstance(cols, str) else list(cols)
        self._known(names)
        return emit(slice, [self], {"columns": tuple(names)})

    def drop(self, cols: Sequence[str]) -> Table:
        """All columns but these."""
        names = [cols] if isinstance(cols, str) else list(cols)
        self._known(names)
        return self.select([field.name for field in self.type.fields if field.name not in names])

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
        """With more columns, or others under old names: arrays of one axis, one cell per row."""
        old = [field.name for field in self.type.fields if field.name not in columns]
        kept = self if len(old) == len(self.type.fields) else self.select(old)
        arrays = [value if isinstance(value, Lazy) else np.asarray(value) for value in columns.values()]
        return emit(concat, [kept, *arrays], {"axis": 1, "names": tuple(columns)}, "table.with_columns")

    def sort(self, by: str) -> Table:
        """The rows in ascending order of a column; equal ones stay in order, nulls come last."""
        return emit(gather, [self, emit(sort, [self[by]], {"axis": 0}, "table.argsort")], {"axis": 0}, "table.take")

    def one_hot(self, cols: Sequence[str]) -> Table:
        """Each of these columns replaced, at the end, by one 0/1 column per value that it takes (in sorted order).

        The values are part of the fitted state: in `f.fit(…)` they are those of the fitting rows, and a value that was
        not among them gives zeros and a warning. A null gives zeros.
        """
        names = [cols] if isinstance(cols, str) else list(cols)
        self._known(names)
        rest = [field.name for field in self.type.fields if field.name not in names]
        blocks: list[Any] = [self.select(rest)] if rest else []
        for name in names:
            column = self[name]
            attrs = {"axes": (0,), "size": fresh_symbol("V")}
            vocabulary = emit(reduce, [column], attrs, "table.vocabulary", column.type.dtype)
            spread = {"spread": ((0,), (1,)), "family": name}
            blocks.append(emit(elementwise, [column, vocabulary], spread, "table.one_hot", "u8"))
        return blocks[0] if len(blocks) == 1 else emit(concat, blocks, {"axis": 1}, "table.with_columns")

    def to_numpy(self, dtype: Any = None) -> Any:
        """All columns as one array (rows, columns), of `dtype` or of one that holds them all; nulls become NaN."""
        fields = self.type.fields
        for field in fields:
            if field.dtype in ("str", "date", "datetime", "object"):
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
        plain = self.compute().to_numpy()
        return plain if dtype is None else plain.astype(dtype)

    def _known(self, names: Sequence[str]) -> None:
        have = [field.name for field in self.type.fields]
        for name in names:
            if name not in have:
                raise KeyError(
                    f"there is no column {name!r} at {user_location() or 'an unknown line'}; the table has {', '.join(have)}"
                )


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
