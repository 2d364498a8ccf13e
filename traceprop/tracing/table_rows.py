"""Table methods that pick rows, bring rows of two tables together, or fold them by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir.opset import concat, distinct, gather, group, join, pad, random, segment, sort
from traceprop.tracing.lazy import emit, fresh_symbol
from traceprop.tracing.table_columns import is_number, where

if TYPE_CHECKING:
    from traceprop.tracing.table import Table

HOWS = ("inner", "left", "semi", "anti")
FOLDS = ("sum", "mean", "std", "var", "median", "min", "max", "first", "last", "count", "len", "n_unique")
_ARITHMETIC = ("sum", "mean", "std", "var", "median")


def take(table: Table, positions: Any) -> Table:
    """The rows at some positions."""
    return emit(gather, [table, positions], {"axis": 0}, "table.take")


def sort_rows(table: Table, names: list[str], descending: bool) -> Table:
    """See `Table.sort`."""
    attrs = {"axis": 0, "descending": True} if descending else {"axis": 0}
    return take(table, emit(sort, [table[name] for name in names], attrs, "table.argsort"))


def unique(table: Table, names: list[str]) -> Table:
    """See `Table.unique`."""
    return take(table, emit(distinct, [table.select(names)], {"size": fresh_symbol("K")}))


def sample(table: Table, n: int, seed: int) -> Table:
    """See `Table.sample`."""
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 0:
        raise TraceError(f"sample at {where()} draws a whole number of rows, not {n!r}")
    return take(table, emit(random, [table], {"count": int(n), "seed": int(seed)}))


def join_tables(left: Table, right: Any, names: list[str], how: str) -> Table:
    """See `Table.join`."""
    if type(right) is not type(left):
        raise TraceError(f"a table joins a table, not {type(right).__name__}, at {where()}")
    if how not in HOWS:
        raise TraceError(f"how is one of {', '.join(map(repr, HOWS))}, not {how!r}, at {where()}")
    if not names:
        raise TraceError(f"join at {where()} needs at least one key column in on=")
    left._known(names, "the left table")
    right._known(names, "the right table")
    if how == "left":
        right = emit(pad, [right], {"rows": 1})
    attrs = {"how": how, "size": fresh_symbol("K")}
    pairs = emit(join, [left.select(names), right.select(names)], attrs)
    if how in ("semi", "anti"):
        return take(left, pairs)
    kept = take(left, pairs[:, 0])
    others = [field.name for field in right.type.fields if field.name not in names]
    if not others:
        return kept
    brought = renamed(right.select(others), {name: f"{name}_right" for name in others if name in _names(left)})
    return emit(concat, [kept, take(brought, pairs[:, 1])], {"axis": 1}, "table.with_columns")


def _names(table: Table) -> list[str]:
    return [field.name for field in table.type.fields]


def renamed(table: Table, names: Mapping[str, str]) -> Table:
    """The table with some columns under other names."""
    from traceprop.tracing.table_columns import column_op, replaced

    blocks = {}
    for old, new in names.items():
        field = table.type.field(old)
        if field.width is not None:
            raise TraceError(f"both tables have the family of columns {old!r}, at {where()}; drop one of them first")
        dtype = field.dtype + "?" * field.nullable
        blocks[old] = column_op("table.cast", [table.select([old])], new, dtype)
    return replaced(table, blocks) if blocks else table


class Grouped:
    """`t.group_by(keys)`: the rows by key, to be folded by `.agg(…)`."""

    def __init__(self, table: Table, keys: list[str]) -> None:
        if not keys:
            raise TraceError(f"group_by at {where()} needs at least one key column")
        table._known(keys)
        self._table = table
        self._keys = keys

    def agg(self, folds: Mapping[str, str] | None = None, **named: str | tuple[str, str]) -> Table:
        """One row per distinct key, in key order (nulls last): the keys, then a column for each fold.

        `agg(top=("pay", "max"), n="len")`, or `agg({"pay": "mean"})` under the column's own name. Folds are `sum mean std var
        median min max first last count len n_unique`; missing cells (null, NaN) count in `len`, `first` and `last` alone.
        `std` and `var` have n-1 below; a group without a value has NaN. `len` needs no column.

        In the lineage the members of a group are `aggregate`, their keys `control`, all keys `order`.
        Raises `KeyError` for a column that there is not, `TraceError` for a fold that there is not or that text has not.

            spending = t.group_by("job").agg(mean_pay=("pay", "mean"), people="len")
        """
        wanted = {name: (name, fold) for name, fold in (folds or {}).items()}
        for name, fold in named.items():
            wanted[name] = (self._keys[0] if fold == "len" else name, fold) if isinstance(fold, str) else tuple(fold)
        keys = self._table.select(self._keys)
        groups = fresh_symbol("G")
        codes = emit(group, [keys], {"groups": groups})
        heads = emit(segment, [keys, codes], {"groups": groups}, "table.group_keys")
        columns: dict[str, Any] = {}
        for name, (column, fold) in wanted.items():
            if name in self._keys:
                raise TraceError(f"agg at {where()} gives {name!r} twice: it is a key")
            columns[name] = self._folded(column, fold, codes, groups)
        if not columns:
            return heads
        return emit(concat, [heads, *columns.values()], {"axis": 1, "names": tuple(columns)}, "table.with_columns")

    def _folded(self, column: str, fold: str, codes: Any, groups: Any) -> Any:
        self._table._known([column])
        if fold not in FOLDS:
            raise TraceError(f"there is no fold {fold!r} at {where()}; use one of {', '.join(FOLDS)}")
        field = self._table.type.field(column)
        if fold in _ARITHMETIC and not is_number(field):
            raise TraceError(f"column {column!r} is {field.dtype} and has no {fold}, at {where()}")
        if field.width is not None:
            raise TraceError(f"{column!r} is a family of columns, which agg does not fold, at {where()}")
        if fold == "len":
            return emit(segment, [codes, codes], {"groups": groups}, "table.group_len", "i64")
        cells = self._table[column]
        dtype = cells.type.dtype
        if fold == "sum":
            result = "i64" if dtype[0] == "i" or dtype == "bool" else "u64" if dtype[0] == "u" else dtype
        else:
            result = "f64" if fold in _ARITHMETIC else "i64" if fold in ("count", "n_unique") else dtype
        return emit(segment, [cells, codes], {"groups": groups}, f"table.group_{fold}", result)


def name_list(names: str | Sequence[str]) -> list[str]:
    """One name or several, as a list."""
    return [names] if isinstance(names, str) else list(names)
