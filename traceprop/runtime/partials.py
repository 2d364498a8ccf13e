"""Folds over rows that come in parts: what a part gives, how two of these are made one, and what it is in the end.

The forms are those that `passes/optimize/part_forms.py` names. States are combined in the order of the parts, two neighbours at
a time, so that first and last rows stay what they are and sums are as exact as a tree makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from traceprop.ir import ArrayType, Op, Param, Program
from traceprop.ir.expr import evaluate
from traceprop.ir.types import numpy_dtype
from traceprop.passes.optimize.partition import Statistic
from traceprop.runtime.executable import Executable
from traceprop.runtime.table import _polars, _series, array, present, vocabulary
from traceprop.runtime.table_groups import _CODE
from traceprop.runtime.table_rows import key_frame

State = Any


class Form(NamedTuple):
    """`partial(op, operands)`, `combine(one, other)` and `finish(op, state)`, of operands that have rows."""

    partial: Callable[[Op, Sequence[Any]], State]
    combine: Callable[[State, State], State]
    finish: Callable[[Op, State], Any]


class Fold:
    """One statistic over the parts of one run, which come in order: `add` each, then `result()`."""

    def __init__(self, statistic: Statistic) -> None:
        self.statistic = statistic
        self._levels: list[tuple[int, State]] = []
        self._empty: Sequence[Any] | None = None

    def add(self, operands: Sequence[Any], sizes: Mapping[str, int]) -> None:
        """What a part's operands give goes in."""
        self.add_state(*partial(self.statistic, operands, sizes))

    def add_state(self, rows: bool, state: State) -> None:
        """What `partial` gave for the next part goes in."""
        if not rows:
            self._empty = self._empty or state
            return
        level = 0
        while self._levels and self._levels[-1][0] == level:
            state = combine(self.statistic, self._levels.pop()[1], state)
            level += 1
        self._levels.append((level, state))

    def result(self) -> Any:
        """The statistic. Raises `ExecutionError` where it is one of no rows and has no value."""
        if not self._levels:
            return of_no_rows(self.statistic, self._empty or ())
        *others, (_, state) = self._levels
        for _, earlier in reversed(others):
            state = combine(self.statistic, earlier, state)
        return finish(self.statistic, state)


def partial(statistic: Statistic, operands: Sequence[Any], sizes: Mapping[str, int]) -> tuple[bool, State]:
    """Whether a part has rows, and its state; of a part without any, the operands as they are.

    `sizes`: what the size symbols stand for in this part's run.
    """
    if statistic.form == "total":
        return True, FORMS["total"].partial(_op(statistic), operands)
    if not np.shape(operands[0])[statistic.axis]:
        return False, _with_sizes(statistic, operands, sizes)
    if statistic.form == "rows":
        return True, [operands[0]]
    given = _with_sizes(statistic, operands, sizes)
    with np.errstate(all="ignore"):
        return True, FORMS[statistic.form].partial(_op(statistic), given)


def combine(statistic: Statistic, one: State, other: State) -> State:
    """The state of two neighbouring stretches of rows, `one` the earlier."""
    if statistic.form == "rows":
        return [*one, *other]
    with np.errstate(all="ignore"):
        return FORMS[statistic.form].combine(one, other)


def finish(statistic: Statistic, state: State) -> Any:
    """The statistic of all rows."""
    if statistic.form == "rows":
        return stacked(state, statistic.axis)
    with np.errstate(all="ignore"):
        return FORMS[statistic.form].finish(_op(statistic), state)


def of_no_rows(statistic: Statistic, operands: Sequence[Any]) -> Any:
    """What the op gives for no rows, as it would untraced."""
    if statistic.form == "rows":
        return operands[0]
    if statistic.form == "splitters":
        return present(operands[0]).drop_nulls()
    if statistic.form == "keys":
        return _known_keys(_op(statistic), key_frame(operands[0]).unique())
    op = _op(statistic)
    if statistic.form.startswith("group_"):
        *operands, groups = operands
    params = {value: Param(f"operand_{k}", value.type) for k, value in enumerate(dict.fromkeys(op.operands))}
    again = op.with_operands([params[value] for value in op.operands])
    program = Program("of_no_rows", tuple(params.values()), (again,), (again.result,))
    if "groups" in op.attrs:
        return FORMS[statistic.form].finish(op, FORMS[statistic.form].partial(op, (*operands, groups)))
    return Executable(program, record=False).run(list(operands)[: len(params)]).results[0]


def _op(statistic: Statistic) -> Op:
    assert statistic.op is not None or statistic.form == "keys"  # whose op is none: it only looks at the keys
    return statistic.op  # type: ignore[return-value]


def _with_sizes(statistic: Statistic, operands: Sequence[Any], sizes: Mapping[str, int]) -> Sequence[Any]:
    if statistic.op is None or "groups" not in statistic.op.attrs or statistic.form == "keys":
        return operands
    return (*operands, int(evaluate(statistic.op.attrs["groups"], dict(sizes))))


def stacked(pieces: Sequence[Any], axis: int = 0) -> Any:
    """Rows under one another, as the engine holds them: tables, text columns or arrays."""
    pl = _polars()
    if len(pieces) == 1:
        return pieces[0]
    if isinstance(pieces[0], (pl.DataFrame, pl.Series)):
        return pl.concat(pieces, rechunk=True)
    return np.concatenate(pieces, axis=axis)


# -- reductions of arrays -----------------------------------------------------------------------------------------------


def _axes(op: Op) -> tuple[int, ...]:
    return tuple(op.attrs["axes"])


def _typed(op: Op, found: Any) -> Any:
    """In the dtype that the op's result has; a scalar as NumPy gives one."""
    assert isinstance(op.result.type, ArrayType)
    dtype = numpy_dtype(op.result.type.dtype)
    cells = np.asarray(found)
    return (cells if cells.dtype == dtype else cells.astype(dtype))[()]


def _dropped(op: Op, found: Any) -> Any:
    """Without the folded axes, unless they are to stay."""
    return found if op.attrs.get("keepdims") else np.squeeze(found, axis=_axes(op))


def _wide(cells: Any) -> np.ndarray:
    """Numbers in a dtype in which adding many up loses little."""
    x = np.asarray(cells)
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64, copy=False)


def _summed(op: Op, x: np.ndarray) -> np.ndarray:
    """A sum as the op would have it: of whole numbers in its own dtype, of others in the widest."""
    assert isinstance(op.result.type, ArrayType)
    dtype = numpy_dtype(op.result.type.dtype)
    if dtype.kind in "fc":
        dtype = np.result_type(dtype, np.float64)
    return np.asarray(np.sum(x, axis=_axes(op), dtype=dtype, keepdims=True))


def _sum(op: Op, operands: Sequence[Any]) -> np.ndarray:
    return _summed(op, np.asarray(operands[0]))


def _nansum(op: Op, operands: Sequence[Any]) -> np.ndarray:
    return _summed(op, _without_nan(np.asarray(operands[0]), 0))


def _without_nan(x: np.ndarray, instead: Any) -> np.ndarray:
    return np.where(np.isnan(x), np.asarray(instead, x.dtype), x) if x.dtype.kind in "fc" else x


def _prod(skip: bool) -> Callable[[Op, Sequence[Any]], np.ndarray]:
    def partial(op: Op, operands: Sequence[Any]) -> np.ndarray:
        assert isinstance(op.result.type, ArrayType)
        x = np.asarray(operands[0])
        x = _without_nan(x, 1) if skip else x
        return np.asarray(np.prod(x, axis=_axes(op), dtype=numpy_dtype(op.result.type.dtype), keepdims=True))

    return partial


def _ufunc(function: np.ufunc) -> Callable[[Op, Sequence[Any]], np.ndarray]:
    return lambda op, operands: np.asarray(function.reduce(np.asarray(operands[0]), axis=_axes(op), keepdims=True))


def _count_nonzero(op: Op, operands: Sequence[Any]) -> np.ndarray:
    return np.asarray(np.count_nonzero(np.asarray(operands[0]), axis=_axes(op), keepdims=True))


def _array_finish(op: Op, state: Any) -> Any:
    return _typed(op, _dropped(op, state))


class Moments(NamedTuple):
    """How many cells, their sum, and the sum of squares of what they are away from their mean."""

    count: Any
    total: Any
    squares: Any

    @property
    def mean(self) -> Any:
        return self.total / np.maximum(self.count, 1)


def _moments(skip: bool, squares: bool) -> Callable[[Op, Sequence[Any]], Moments]:
    def partial(op: Op, operands: Sequence[Any]) -> Moments:
        x, axes = _wide(operands[0]), _axes(op)
        there = ~np.isnan(x) if skip and np.isnan(x).any() else None
        if there is None:
            count: Any = np.float64(np.prod([x.shape[k] for k in axes]))
        else:
            count = np.sum(there, axis=axes, keepdims=True, dtype=np.float64)
        total = np.sum(x if there is None else np.where(there, x, 0), axis=axes, keepdims=True)
        if not squares:
            return Moments(count, total, 0.0)
        away = x - total / np.maximum(count, 1)
        power = _power(away if there is None else np.where(there, away, 0))
        return Moments(count, total, np.sum(power, axis=axes, keepdims=True))

    return partial


def _power(x: Any) -> Any:
    return x.real**2 + x.imag**2 if np.iscomplexobj(x) else x * x


def _moments_combined(one: Moments, other: Moments) -> Moments:
    """Chan, Golub and LeVeque (1979), equation 2.1: sums and squares of two samples as those of both."""
    count = one.count + other.count
    between = _power(other.mean - one.mean) * one.count * other.count / np.maximum(count, 1)
    return Moments(count, one.total + other.total, one.squares + other.squares + between)


def _mean_finish(op: Op, state: Moments) -> Any:
    return _typed(op, _dropped(op, np.where(np.asarray(state.count) > 0, state.mean, np.nan)))


def _var_finish(root: bool, skip: bool) -> Callable[[Op, Moments], Any]:
    def finish(op: Op, state: Moments) -> Any:
        free = state.count - op.attrs.get("ddof", op.attrs.get("correction", 0))
        free = np.where(free > 0, free, np.nan) if skip else np.maximum(free, 0)
        found = np.true_divide(state.squares, free)
        return _typed(op, _dropped(op, np.sqrt(found) if root else found))

    return finish


def _ptp(op: Op, operands: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    return _ufunc(np.maximum)(op, operands), _ufunc(np.minimum)(op, operands)


def _ptp_combined(one: Any, other: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.maximum(one[0], other[0]), np.minimum(one[1], other[1])


def _added(one: Any, other: Any) -> Any:
    return np.logical_or(one, other) if np.asarray(one).dtype == bool else np.add(one, other)


def _words(op: Op, operands: Sequence[Any]) -> Any:
    from traceprop.runtime.payloads import resolve

    return resolve(op.payload or "")(operands[0])


def _words_combined(one: Any, other: Any) -> Any:
    return vocabulary(_polars().concat([_series(one), _series(other)]))


# -- folds of groups ----------------------------------------------------------------------------------------------------


def _grouped(*folds: Callable[[Any], Any], raw: bool = False) -> Callable[[Op, Sequence[Any]], Any]:
    """A table of groups that have rows: their numbers, and a column for each fold."""

    def partial(op: Op, operands: Sequence[Any]) -> Any:
        pl = _polars()
        values, codes, groups = operands
        series = _series(values) if raw else present(values)
        frame = pl.DataFrame({_CODE: np.asarray(codes), "0": series}).filter(pl.col(_CODE).is_between(0, groups - 1))
        named = [fold(pl.col("0")).alias(str(k)) for k, fold in enumerate(folds)]
        return frame.group_by(_CODE, maintain_order=True).agg(named), groups

    return partial


def _grouped_again(*folds: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def combine(one: Any, other: Any) -> Any:
        pl = _polars()
        both = pl.concat([one[0], other[0]])
        named = [fold(pl.col(str(k))).alias(str(k)) for k, fold in enumerate(folds)]
        return both.group_by(_CODE, maintain_order=True).agg(named), max(one[1], other[1])

    return combine


def _every_group(state: Any) -> Any:
    """A row per group, in order; nulls for one without rows."""
    frame, groups = state
    return _polars().DataFrame({_CODE: np.arange(groups)}).join(frame, on=_CODE, how="left", maintain_order="left")


def _group_picked(op: Op, state: Any) -> Any:
    return array(_every_group(state).get_column("0"))


def _group_added(op: Op, state: Any) -> Any:
    column = _every_group(state).get_column("0").fill_null(0)
    return _typed(op, column.to_numpy())


def _group_mean(op: Op, state: Any) -> Any:
    pl = _polars()
    every = _every_group(state)
    found = every.select(pl.when(pl.col("1") > 0).then(pl.col("0") / pl.col("1"))).to_series()
    return array(found)


def _group_moments(op: Op, operands: Sequence[Any]) -> Moments:
    pl = _polars()
    cells = lambda cell: cell.cast(pl.Float64)  # noqa: E731
    count, mean, var = (
        lambda cell: cell.count(),
        lambda cell: cells(cell).mean(),
        lambda cell: cells(cell).var(ddof=0),
    )
    every = _every_group(_grouped(count, mean, var)(op, operands)).fill_null(0)
    n, m, v = (every.get_column(str(k)).to_numpy().astype(np.float64) for k in range(3))
    return Moments(n, m * n, v * n)


def _group_spread(root: bool) -> Callable[[Op, Moments], Any]:
    def finish(op: Op, state: Moments) -> Any:
        free = np.where(state.count > 1, state.count - 1, np.nan)
        found = state.squares / free
        return np.sqrt(found) if root else found

    return finish


def _distinct_cells(op: Op, operands: Sequence[Any]) -> Any:
    values, codes, groups = operands
    frame = _polars().DataFrame({_CODE: np.asarray(codes), "0": present(values)})
    return frame.drop_nulls().unique(maintain_order=True), groups


def _distinct_again(one: Any, other: Any) -> Any:
    return _polars().concat([one[0], other[0]]).unique(maintain_order=True), max(one[1], other[1])


def _distinct_counted(op: Op, state: Any) -> Any:
    from traceprop.runtime.payloads import resolve

    frame, groups = state
    return resolve(op.payload or "")(frame.get_column("0"), frame.get_column(_CODE).to_numpy(), groups)


def _first_rows(op: Op, operands: Sequence[Any]) -> Any:
    frame, codes, groups = operands
    coded = frame.with_columns(_polars().Series(_CODE, np.asarray(codes)))
    return coded.unique(_CODE, keep="first", maintain_order=True), groups


def _first_rows_again(one: Any, other: Any) -> Any:
    both = _polars().concat([one[0], other[0]])
    return both.unique(_CODE, keep="first", maintain_order=True), max(one[1], other[1])


def _first_rows_finish(op: Op, state: Any) -> Any:
    return state[0].sort(_CODE).drop(_CODE)


def _keys(op: Op, operands: Sequence[Any]) -> Any:
    return key_frame(operands[0]).unique()


def _known_keys(op: Op, state: Any) -> Any:
    return state.sort(state.columns, nulls_last=True)


def group_codes(keys: Any, known: Any) -> np.ndarray:
    """For every row the number of its key among the known ones, which `group` would number so: int64."""
    frame = key_frame(keys)
    numbered = known.with_row_index(_CODE)
    found = frame.join(numbered, on=frame.columns, how="left", nulls_equal=True, maintain_order="left")
    return found.get_column(_CODE).to_numpy().astype(np.int64)


def _sum_cells(cell: Any) -> Any:
    return cell.sum()


def _sum_wide(cell: Any) -> Any:
    return cell.cast(_polars().Float64).sum()


def _group_sum(op: Op, operands: Sequence[Any]) -> Any:
    pl = _polars()
    values, codes, groups = operands
    series = present(values)
    if series.dtype.is_signed_integer() or series.dtype == pl.Boolean:
        series = series.cast(pl.Int64)
    elif series.dtype.is_unsigned_integer():
        series = series.cast(pl.UInt64)
    else:
        series = series.cast(pl.Float64)
    return _grouped(_sum_cells)(op, (series, codes, groups))


def _count(cell: Any) -> Any:
    return cell.count().cast(_polars().Int64)


def _len(cell: Any) -> Any:
    return _polars().len().cast(_polars().Int64)


_SPREAD = (_moments(False, True), _moments_combined)
_NANSPREAD = (_moments(True, True), _moments_combined)
_COUNTED = (_grouped_again(_sum_cells), _group_added)
FORMS: dict[str, Form] = {
    "sum": Form(_sum, np.add, _array_finish),
    "nansum": Form(_nansum, np.add, _array_finish),
    "prod": Form(_prod(False), np.multiply, _array_finish),
    "nanprod": Form(_prod(True), np.multiply, _array_finish),
    "count_nonzero": Form(_count_nonzero, np.add, _array_finish),
    "any": Form(_ufunc(np.logical_or), np.logical_or, _array_finish),
    "all": Form(_ufunc(np.logical_and), np.logical_and, _array_finish),
    "min": Form(_ufunc(np.minimum), np.minimum, _array_finish),
    "max": Form(_ufunc(np.maximum), np.maximum, _array_finish),
    "nanmin": Form(_ufunc(np.fmin), np.fmin, _array_finish),
    "nanmax": Form(_ufunc(np.fmax), np.fmax, _array_finish),
    "ptp": Form(_ptp, _ptp_combined, lambda op, state: _array_finish(op, np.subtract(*state))),
    "mean": Form(_moments(False, False), _moments_combined, _mean_finish),
    "nanmean": Form(_moments(True, False), _moments_combined, _mean_finish),
    "var": Form(*_SPREAD, _var_finish(False, False)),
    "std": Form(*_SPREAD, _var_finish(True, False)),
    "nanvar": Form(*_NANSPREAD, _var_finish(False, True)),
    "nanstd": Form(*_NANSPREAD, _var_finish(True, True)),
    "total": Form(lambda op, operands: operands[0], _added, lambda op, state: _typed(op, state)),
    "vocabulary": Form(_words, _words_combined, lambda op, state: state),
    "keys": Form(_keys, lambda one, other: _polars().concat([one, other]).unique(), _known_keys),
    "group_sum": Form(_group_sum, *_COUNTED),
    "group_count": Form(_grouped(_count), *_COUNTED),
    "group_len": Form(_grouped(_len, raw=True), *_COUNTED),
    "group_mean": Form(_grouped(_sum_wide, _count), _grouped_again(_sum_cells, _sum_cells), _group_mean),
    "group_var": Form(_group_moments, _moments_combined, _group_spread(False)),
    "group_std": Form(_group_moments, _moments_combined, _group_spread(True)),
    "group_min": Form(_grouped(lambda cell: cell.min()), _grouped_again(lambda cell: cell.min()), _group_picked),
    "group_max": Form(_grouped(lambda cell: cell.max()), _grouped_again(lambda cell: cell.max()), _group_picked),
    "group_first": Form(
        _grouped(lambda cell: cell.first(), raw=True), _grouped_again(lambda cell: cell.first()), _group_picked
    ),
    "group_last": Form(
        _grouped(lambda cell: cell.last(), raw=True), _grouped_again(lambda cell: cell.last()), _group_picked
    ),
    "group_n_unique": Form(_distinct_cells, _distinct_again, _distinct_counted),
    "group_keys": Form(_first_rows, _first_rows_again, _first_rows_finish),
}
SAMPLED = 1 << 16
"""Keys that are looked at to tell where to split rows by their order."""
ROWS_SORTED_AT_ONCE = 1 << 18


class Sample(NamedTuple):
    """Of so many rows some keys: those with the smallest random numbers, which are as likely any rows as others."""

    rows: int
    chances: np.ndarray
    keys: Any


def _sampled(op: Op, operands: Sequence[Any]) -> Sample:
    keys = present(operands[0]).drop_nulls()
    chances = np.random.default_rng(len(keys)).random(len(keys))
    return _fewer(Sample(len(keys), chances, keys))


def _fewer(sample: Sample) -> Sample:
    if len(sample.chances) <= SAMPLED:
        return sample
    chosen = np.argpartition(sample.chances, SAMPLED)[:SAMPLED]
    return Sample(sample.rows, sample.chances[chosen], sample.keys[chosen])


def _sampled_again(one: Sample, other: Sample) -> Sample:
    keys = _polars().concat([one.keys, other.keys])
    return _fewer(Sample(one.rows + other.rows, np.concatenate([one.chances, other.chances]), keys))


def _splitters(op: Op, state: Sample) -> Any:
    """Keys in order, between which there are about `ROWS_SORTED_AT_ONCE` rows each."""
    parts = -(-state.rows // ROWS_SORTED_AT_ONCE)
    at = np.linspace(0, len(state.keys), parts + 1).astype(np.int64)[1:-1]
    return state.keys.sort()[at].unique().sort()


FORMS["splitters"] = Form(_sampled, _sampled_again, _splitters)
PAYLOADS: dict[str, Callable[..., Any]] = {"group_codes": group_codes}
