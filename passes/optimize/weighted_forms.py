"""What a reduction over rows is when each row has a weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traceprop.ir.expr import Expr
from traceprop.ir.graph import Op, Value, payload_dtype
from traceprop.ir.opset import concat, constant, elementwise, gather, iota, reduce, segment
from traceprop.ir.types import ArrayType
from traceprop.passes.optimize.row_weights import Builder

_KNOWN = {"axes", "keepdims", "ddof", "correction"}


@dataclass(frozen=True)
class Fold:
    """A reduction with weights at hand: `x` is its operand, `weights` has one vector for each axis that carries rows."""

    op: Op
    x: Value
    weights: Mapping[int, Value]
    build: Builder

    @property
    def dtype(self) -> str:
        """The operand's where it can hold a weighted cell, f64 elsewhere."""
        held = payload_dtype(self.x.type) or "f64"
        return held if held[0] in "fc" else "f64"

    def weight(self) -> Value:
        """The weight of each cell, broadcastable to the operand."""
        parts = [self.build.along(vector, axis, self.x.rank) for axis, vector in self.weights.items()]
        return self.build.product(parts)

    def scaled(self, x: Value, payload: str = "weighted.scaled") -> Value:
        """Cells times weights; what has no weight counts 0, even where it is NaN."""
        return self.build.cells(payload, x, self.weight(), dtype=self.dtype)

    def without(self, neutral: str) -> Value:
        """The cells, and in place of those without weight what changes no fold."""
        return self.build.cells(f"weighted.or_{neutral}", self.x, self.weight(), dtype=payload_dtype(self.x.type))

    def folded(self, x: Value, payload: str = "numpy.sum", keepdims: bool | None = None) -> Value:
        attrs: dict[str, Any] = {"axes": self.op.attrs["axes"]}
        if self.op.attrs.get("keepdims") if keepdims is None else keepdims:
            attrs["keepdims"] = True
        return self.build(reduce, [x], payload, payload_dtype(x.type), **attrs)

    def count(self) -> Value:
        """How many cells each result cell folds, rows by their weights: a number of the operand's dtype."""
        build, total = self.build, None
        for axis in self.op.attrs["axes"]:
            dim = self.x.type.dims[axis]
            if axis in self.weights:
                size = build(reduce, [self.weights[axis]], "numpy.sum", "f64", axes=(0,))
            elif isinstance(dim, Expr):
                each = build.cells("weighted.one", build(iota, [], size=dim), dtype="f64")
                size = build(reduce, [each], "numpy.sum", "f64", axes=(0,))
            elif dim == 1:
                continue
            else:
                size = build(constant, [], value=float(dim))
            total = size if total is None else build.cells("numpy.multiply", total, size)
        assert total is not None
        return (
            total if self.dtype == "f64" else build(elementwise, [total], "numpy.astype", self.dtype, dtype=self.dtype)
        )

    def ratio(self, sums: Value, counts: Value) -> Value:
        return self.build.cells("weighted.ratio", sums, counts, dtype=payload_dtype(sums.type))


Form = Callable[[Fold], Value]


def _sum(fold: Fold) -> Value:
    return fold.folded(fold.scaled(fold.x))


def _mean(fold: Fold, keepdims: bool | None = None) -> Value:
    return fold.ratio(fold.folded(fold.scaled(fold.x), keepdims=keepdims), fold.count())


def _var(fold: Fold) -> Value:
    build = fold.build
    away = build.cells("numpy.subtract", fold.x, _mean(fold, keepdims=True), dtype=fold.dtype)
    squares = build.cells("numpy.multiply", away, away)
    return fold.ratio(fold.folded(fold.scaled(squares)), _less(fold, fold.count()))


def _less(fold: Fold, counts: Value) -> Value:
    ddof = fold.op.attrs.get("ddof", fold.op.attrs.get("correction", 0))
    if not ddof:
        return counts
    return fold.build.cells("numpy.subtract", counts, fold.build(constant, [], value=float(ddof)), dtype=fold.dtype)


def _root(form: Form) -> Form:
    return lambda fold: fold.build.cells("numpy.sqrt", form(fold))


def _squares(fold: Fold) -> Value:
    return fold.folded(fold.scaled(fold.build.cells("numpy.multiply", fold.x, fold.x)))


def _count_nonzero(fold: Fold) -> Value:
    return fold.folded(fold.scaled(fold.build.cells("weighted.nonzero", fold.x, dtype="f64")))


def _nansum(fold: Fold) -> Value:
    return fold.folded(fold.scaled(fold.x, "weighted.scaled_present"))


def _present(fold: Fold) -> Value:
    """The weights of the cells that are not missing."""
    return fold.build.cells("weighted.of_present", fold.x, fold.weight(), dtype=fold.dtype)


def _nanmean(fold: Fold, keepdims: bool | None = None) -> Value:
    sums = fold.folded(fold.scaled(fold.x, "weighted.scaled_present"), keepdims=keepdims)
    return fold.ratio(sums, fold.folded(_present(fold), keepdims=keepdims))


def _nanvar(fold: Fold) -> Value:
    build = fold.build
    away = build.cells("numpy.subtract", fold.x, _nanmean(fold, keepdims=True), dtype=fold.dtype)
    squares = build.cells("numpy.multiply", away, away)
    counts = fold.folded(_present(fold))
    return fold.ratio(fold.folded(fold.scaled(squares, "weighted.scaled_present")), _less(fold, counts))


def _kept(neutral: str) -> Form:
    """The same reduction over cells of which those without weight change nothing."""

    def form(fold: Fold) -> Value:
        same = payload_dtype(fold.x.type) == payload_dtype(fold.op.operands[0].type)
        dtype = payload_dtype((fold.op.result if same else fold.x).type)
        return fold.build(reduce, [fold.without(neutral)], fold.op.payload, dtype, **fold.op.attrs)

    return form


def _range(fold: Fold) -> Value:
    high, low = fold.folded(fold.without("smallest"), "numpy.max"), fold.folded(fold.without("largest"), "numpy.min")
    return fold.build.cells("numpy.subtract", high, low)


REDUCTIONS: dict[str, Form] = {
    **dict.fromkeys(("numpy.sum", "numpy.add.reduce"), _sum),
    "numpy.mean": _mean,
    "numpy.var": _var,
    "numpy.std": _root(_var),
    "numpy.linalg.norm": _root(_squares),
    "numpy.count_nonzero": _count_nonzero,
    "numpy.nansum": _nansum,
    "numpy.nanmean": _nanmean,
    "numpy.nanvar": _nanvar,
    "numpy.nanstd": _root(_nanvar),
    "table.mean": _nanmean,
    **dict.fromkeys(("numpy.min", "numpy.amin", "numpy.minimum.reduce"), _kept("largest")),
    **dict.fromkeys(("numpy.max", "numpy.amax", "numpy.maximum.reduce"), _kept("smallest")),
    **dict.fromkeys(("numpy.nanmin", "numpy.nanmax"), _kept("nan")),
    **dict.fromkeys(("numpy.all", "numpy.logical_and.reduce"), _kept("true")),
    **dict.fromkeys(("numpy.any", "numpy.logical_or.reduce"), _kept("false")),
    **dict.fromkeys(("numpy.prod", "numpy.multiply.reduce"), _kept("one")),
    "numpy.nanprod": _kept("one"),
    "numpy.ptp": _range,
}
SCANS: dict[str, str] = {
    **dict.fromkeys(("numpy.cumsum", "numpy.add.accumulate"), "scaled"),
    "numpy.nancumsum": "scaled_present",
    **dict.fromkeys(("numpy.cumprod", "numpy.multiply.accumulate", "numpy.nancumprod"), "or_one"),
    "numpy.maximum.accumulate": "or_smallest",
    "numpy.minimum.accumulate": "or_largest",
}
SAME = frozenset({"table.vocabulary", "table.terms", "table.group_keys"})
"""Folds that hold for every weight: a word or a group that vanishes keeps its place, and no row is in it."""


def reduction(op: Op) -> Form | None:
    """The weighted form of a reduction over rows, if it has one."""
    if not set(op.attrs) <= _KNOWN or op.native is not None:
        return None
    numbers = isinstance(op.operands[0].type, ArrayType) and op.operands[0].type.dtype[0] in "fiub"
    return REDUCTIONS.get(op.payload or "") if numbers else None


@dataclass(frozen=True)
class GroupFold:
    """A fold of each group's rows: operands of the fold, and one number per row, its weight."""

    op: Op
    x: Value
    codes: Value
    weight: Value
    build: Builder

    @property
    def dtype(self) -> str:
        held = payload_dtype(self.x.type) or "f64"
        return held if held[0] in "fc" else "f64"

    def total(self, values: Value) -> Value:
        groups = self.op.attrs["groups"]
        return self.build(segment, [values, self.codes], "table.group_sum", payload_dtype(values.type), groups=groups)

    def scaled(self, x: Value) -> Value:
        return self.build.cells("weighted.scaled_present", x, self.weight, dtype=self.dtype)

    def count(self) -> Value:
        return self.total(self.build.cells("weighted.of_present", self.x, self.weight, dtype=self.dtype))

    def mean(self) -> Value:
        return self.build.cells("weighted.ratio", self.total(self.scaled(self.x)), self.count(), dtype=self.dtype)

    def var(self) -> Value:
        """Over the count less one, as the table engine has it."""
        build, means = self.build, self.mean()
        missing = build(constant, [], value=np.full(1, np.nan))
        own = build(
            gather, [build(concat, [means, missing], axis=0), self.codes], axis=0
        )  # codes of no group are the last
        away = build.cells("numpy.subtract", self.x, own, dtype=self.dtype)
        squares = build.cells("numpy.multiply", away, away)
        one = build(constant, [], value=1.0)
        fewer = build.cells("weighted.less", self.count(), one, dtype=self.dtype)
        return build.cells("weighted.ratio", self.total(self.scaled(squares)), fewer, dtype=self.dtype)

    def kept(self, neutral: str) -> Value:
        cells = self.build.cells(f"weighted.or_{neutral}", self.x, self.weight, dtype=payload_dtype(self.x.type))
        dtype = payload_dtype(self.op.result.type)
        return self.build(segment, [cells, self.codes], self.op.payload, dtype, groups=self.op.attrs["groups"])

    def extreme(self, neutral: str) -> Value:
        return self.kept("nan" if self.dtype == payload_dtype(self.x.type) else neutral)


GROUPS: dict[str, Callable[[GroupFold], Value]] = {
    "table.group_len": lambda fold: fold.total(fold.weight),
    "table.group_count": GroupFold.count,
    "table.group_sum": lambda fold: fold.total(fold.scaled(fold.x)),
    "table.group_mean": GroupFold.mean,
    "table.group_var": GroupFold.var,
    "table.group_std": lambda fold: fold.build.cells("numpy.sqrt", fold.var()),
    "table.group_min": lambda fold: fold.extreme("largest"),
    "table.group_max": lambda fold: fold.extreme("smallest"),
}


def group_form(op: Op) -> Callable[[GroupFold], Value] | None:
    """The weighted form of a fold of groups, if it has one."""
    x = op.operands[0].type
    counts = op.payload in ("table.group_len", "table.group_count")
    return GROUPS.get(op.payload or "") if isinstance(x, ArrayType) and (counts or x.dtype[0] in "fiub") else None
