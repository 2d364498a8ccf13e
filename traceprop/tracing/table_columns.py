"""Table methods that change columns. A statistic over rows is one op, its application to each row another.

So the fitted pipeline (pass `freeze`) holds the statistic and applies it to new rows.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir import Field
from traceprop.ir.location import user_location
from traceprop.ir.opset import concat, elementwise, gather, match, reduce, segment
from traceprop.ir.types import DTYPES, dtype_name
from traceprop.tracing.lazy import emit, fresh_symbol

if TYPE_CHECKING:
    from traceprop.tracing.table import Table

STATISTICS = ("mean", "median", "mode")
_ALIASES = {"string": "str", "text": "str", "int": "i64", "float": "f64", "boolean": "bool"}


def where() -> str:
    """The user's line, for messages."""
    return str(user_location() or "an unknown line")


def is_number(field: Field) -> bool:
    """Whether a column can be averaged."""
    return field.dtype[0] in "iuf" or field.dtype == "bool"


def replaced(table: Table, blocks: Mapping[str, Any]) -> Table:
    """The table with some columns replaced where they stand by tables of other columns."""
    parts: list[Any] = []
    run: list[str] = []
    for field in table.type.fields:
        if field.name not in blocks:
            run.append(field.name)
            continue
        parts += [table.select(run)] if run else []
        parts.append(blocks[field.name])
        run = []
    parts += [table.select(run)] if run else []
    return parts[0] if len(parts) == 1 else emit(concat, parts, {"axis": 1}, "table.with_columns")


def column_op(payload: str, operands: Sequence[Any], name: str, dtype: str, **attrs: Any) -> Table:
    """An element-wise op whose result is one named column."""
    return emit(elementwise, operands, {"names": (name,), "dtypes": (dtype,), **attrs}, payload)


def fill_nulls(table: Table, value: Any) -> Table:
    """See `Table.fill_nulls`."""
    given = value if isinstance(value, Mapping) else None
    table._known(list(given or ()))
    blocks = {}
    for field in table.type.fields:
        wanted = value if given is None else given.get(field.name)
        if field.width is not None or wanted is None or given is None and not _takes(field, wanted):
            continue
        if given is not None and not _takes(field, wanted):
            raise TraceError(
                f"column {field.name!r} is {field.dtype} and cannot be filled with {wanted!r}, at {where()}"
            )
        one = table.select([field.name])
        if isinstance(wanted, str) and wanted in STATISTICS:
            column = table[field.name]
            averaged = wanted != "mode"
            statistic = emit(
                reduce, [column], {"axes": (0,)}, f"table.{wanted}", "f64" if averaged else column.type.dtype
            )
            dtype = "f64" if averaged and field.dtype[0] in "iub" else field.dtype
            left = field.nullable and not averaged and field.dtype[0] in "iub"  # a column of nulls has no mode
            blocks[field.name] = column_op("table.fill_null", [one, statistic], field.name, dtype + "?" * left)
        else:
            whole = (
                field.dtype[0] in "iu" and isinstance(wanted, (float, np.floating)) and not float(wanted).is_integer()
            )
            constant = wanted if isinstance(wanted, (bool, int, float, str)) else _plain_date(wanted)
            blocks[field.name] = column_op(
                "table.fill_null", [one, constant], field.name, "f64" if whole else field.dtype
            )
    return replaced(table, blocks)


def _plain_date(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind != "O":
        return array.astype("timedelta64[us]") if array.dtype.kind == "m" else array
    return np.asarray(np.timedelta64(value) if isinstance(value, datetime.timedelta) else np.datetime64(value))


def _takes(field: Field, value: Any) -> bool:
    """Whether a column can be filled with a value."""
    if isinstance(value, str) and value in ("mean", "median"):
        return is_number(field)
    if isinstance(value, str):
        return value == "mode" or field.dtype == "str"
    if isinstance(value, (bool, np.bool_)):
        return field.dtype == "bool"
    if isinstance(value, (int, float, np.integer, np.floating)):
        return field.dtype[0] in "iuf"
    if isinstance(value, (datetime.timedelta, np.timedelta64)):
        return field.dtype in ("days", "duration")
    return field.dtype in ("date", "datetime")


def cast(table: Table, types: Any) -> Table:
    """See `Table.cast`."""
    wanted = dict(types) if isinstance(types, Mapping) else {field.name: types for field in table.type.fields}
    table._known(list(wanted))
    blocks = {}
    for field in table.type.fields:
        if field.name in wanted:
            dtype = ir_dtype(wanted[field.name])
            if field.width is not None:
                raise TraceError(f"{field.name!r} is a family of columns at {where()}; cast it behind to_numpy")
            if dtype != field.dtype:
                nullable = "?" if field.nullable or (field.dtype[0] == "f" and dtype[0] in "iub") else ""
                blocks[field.name] = column_op("table.cast", [table.select([field.name])], field.name, dtype + nullable)
    return replaced(table, blocks)


def ir_dtype(dtype: Any) -> str:
    """The IR's name of a dtype given as its own name, NumPy's, polars' or a Python type. Raises `TraceError` for others."""
    if isinstance(dtype, str):
        name = _ALIASES.get(dtype.lower(), dtype)
        if name in DTYPES:
            return name
    elif dtype in (str, bool, int, float):
        return {str: "str", bool: "bool", int: "i64", float: "f64"}[dtype]
    elif type(dtype).__module__.startswith("polars") or getattr(dtype, "__module__", "").startswith("polars"):
        name = str(dtype).split("(")[0].lower()
        short = {"float": "f", "uint": "u", "int": "i"}
        for long, letter in short.items():
            if name.startswith(long):
                return letter + name.removeprefix(long)
        return {"boolean": "bool"}.get(name, _ALIASES.get(name, name))
    try:
        found = dtype_name(dtype)
    except TypeError:
        found = "object"
    if found == "object":
        raise TraceError(f"{dtype!r} is no column type, at {where()}; use one of {', '.join(DTYPES)}")
    return found


def bin_column(table: Table, col: str, edges: Any) -> Table:
    """See `Table.bin`."""
    table._known([col])
    field = table.type.field(col)
    if not is_number(field) or field.width is not None:
        raise TraceError(f"column {col!r} is {field.dtype} and has no bins, at {where()}; bin a column of numbers")
    plain = np.asarray(edges, dtype=float)
    if plain.ndim != 1 or not len(plain) or (np.diff(plain) <= 0).any() or np.isnan(plain).any():
        raise TraceError(f"edges at {where()} must be numbers that grow, not {edges!r:.80}")
    nullable = "?" if field.nullable or field.dtype[0] == "f" else ""
    cells = [table.select([col])]
    return replaced(table, {col: column_op("table.bin", cells, col, "i64" + nullable, edges=tuple(map(float, plain)))})


def one_hot(table: Table, names: list[str]) -> Table:
    """See `Table.one_hot`."""
    rest = [field.name for field in table.type.fields if field.name not in names]
    blocks: list[Any] = [table.select(rest)] if rest else []
    for name in names:
        column = table[name]
        spread = {"spread": ((0,), (1,)), "family": name}
        blocks.append(emit(elementwise, [column, vocabulary(column)], spread, "table.one_hot", "u8"))
    return blocks[0] if len(blocks) == 1 else emit(concat, blocks, {"axis": 1}, "table.with_columns")


def vocabulary(column: Any) -> Any:
    """The distinct values of a column, sorted: a statistic."""
    return emit(reduce, [column], {"axes": (0,), "size": fresh_symbol("V")}, "table.vocabulary", column.type.dtype)


def target_encode(table: Table, names: list[str], target: Any, smoothing: float) -> Table:
    """See `Table.target_encode`."""
    if isinstance(target, str):
        table._known([target])
        if not is_number(table.type.field(target)):
            raise TraceError(
                f"the target {target!r} is {table.type.field(target).dtype} at {where()}; make it a number first, for example "
                "t.assign(y=(t['y'] == 'yes').astype(float))"
            )
        target = table[target]
    if not smoothing >= 0:
        raise TraceError(f"smoothing at {where()} is a number of rows, at least 0, not {smoothing!r}")
    prior = emit(reduce, [target], {"axes": (0,)}, "table.mean", "f64")
    blocks = {}
    for name in names:
        column = table[name]
        words = vocabulary(column)
        codes = emit(match, [column, words])
        groups = {"groups": words.type.dims[0]}
        dtype = "i64" if target.type.dtype[0] in "ib" else "u64" if target.type.dtype[0] == "u" else target.type.dtype
        sums = emit(segment, [target, codes], groups, "table.group_sum", dtype)
        counts = emit(segment, [target, codes], groups, "table.group_count", "i64")
        means = (sums + smoothing * prior) / np.maximum(counts + smoothing, 1e-300)
        known = np.where(counts + smoothing > 0, means, prior)
        found = emit(gather, [np.concatenate([known, np.reshape(prior, (1,))]), codes], {"axis": 0})
        blocks[name] = column_op("table.encoded", [table.select([name]), found[:, None], prior], name, "f64")
    return replaced(table, blocks)


def tfidf(table: Table, col: str) -> Table:
    """See `Table.tfidf`."""
    table._known([col])
    column = table[col]
    if column.type.dtype != "str":
        raise TraceError(f"column {col!r} is {column.type.dtype} and has no words, at {where()}; cast it to str first")
    words = emit(reduce, [column], {"axes": (0,), "size": fresh_symbol("V")}, "table.terms", "str")
    counts = emit(elementwise, [column, words], {"spread": ((0,), (1,))}, "table.term_counts", "f64")
    rows = np.sum(emit(elementwise, [column], {}, "table.ones", "f64"))
    having = np.sum((counts > 0).astype(np.float64), axis=0)
    weights = counts * (np.log((rows + 1.0) / (having + 1.0)) + 1.0)
    length = np.sqrt(np.sum(weights * weights, axis=1, keepdims=True))
    unit = weights / np.where(length > 0, length, 1.0)
    spread = {"spread": ((0, 1), (1,)), "family": col}
    rest = [field.name for field in table.type.fields if field.name != col]
    block = emit(elementwise, [unit, words], spread, "table.term_columns", "f64")
    return emit(concat, [table.select(rest), block], {"axis": 1}, "table.with_columns") if rest else block
