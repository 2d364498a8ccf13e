"""Primitives whose result cells read a window: convolution, pooling, and what gradients of pooling go back through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from traceprop.ir import Dim, Expr, Kind
from traceprop.ir.expr import floordiv, maximum, minimum, mod
from traceprop.ir.given_map import GivenMap, GivenRead
from traceprop.ir.index_map import AxisRead, Full, Span, axis
from traceprop.tracing.jaxpr.graph import Equation, Handler, Held, NoRule


def _up(dim: Dim, by: int) -> Dim:
    """Divided, and rounded up."""
    return floordiv(dim + (by - 1), by)


@dataclass(frozen=True)
class Window:
    """A window along one axis: place `o` of the result looks at `o*stride - low + k*dilation`, for k below `width`.

    `size` cells lie there, `base` positions apart, with nothing (padding, zeros) between and around them.
    """

    size: int
    width: int
    stride: int = 1
    low: int = 0
    dilation: int = 1
    base: int = 1

    @property
    def exact(self) -> bool:
        """Whether `seen` and `weighed` name no others: where windows and cells both have gaps, some meet in none."""
        return self.base == 1 or self.dilation == 1

    def first(self, o: Expr) -> Dim:
        """The first position of the window, which may lie before the first cell."""
        return o * self.stride - self.low

    def seen(self, o: Expr) -> AxisRead:
        """The cells under the window for place `o`."""
        first = self.first(o)
        last = first + (self.width - 1) * self.dilation
        if self.base != 1:
            low = maximum(_up(first, self.base), 0)
            return Span(low, minimum(floordiv(last, self.base) + 1, self.size))
        if self.width == 1 and self.low <= 0:
            return first
        start = maximum(first, mod(first, self.dilation)) if self.low > 0 else first
        return Span(start, minimum(last + 1, self.size), self.dilation)

    def weighed(self, o: Expr) -> AxisRead:
        """The positions of the window for place `o` that do not lie over nothing."""
        back = self.first(o) * -1
        end = (self.size - 1) * self.base  # the position of the last cell
        if not self.exact:
            return Full()
        if self.base != 1:
            return Span(maximum(back, mod(back, self.base)), minimum(back + (end + 1), self.width), self.base)
        if self.width == 1 and self.low <= 0:
            return 0
        stop = floordiv(back + end, self.dilation) + 1
        return Span(maximum(_up(back, self.dilation), 0), minimum(stop, self.width))

    def over(self, p: Expr, places: int) -> tuple[Dim, Dim]:
        """Of so many places those whose windows, if without gaps, lie over cell `p`: from the first to before the last."""
        low = maximum(_up(p + (self.low - self.width + 1), self.stride), 0)
        return low, minimum(floordiv(p + self.low, self.stride) + 1, places)


def _group(of: Expr, groups: int, out: int) -> Dim:
    """The group that feature `of` of `out` is in."""
    return floordiv(of, out // groups) if groups > 1 else 0


def _part(group: Dim, groups: int, size: int) -> AxisRead:
    """The positions of an axis of `size` that belong to a group."""
    if groups == 1:
        return Full()
    each = size // groups
    return group if each == 1 else Span(group * each, group * each + each)


def _conv(e: Equation) -> Sequence[Held]:
    """A result cell reads a window of positions over all input features (of its group), and its own output's weights.

    With groups in the batch, the output's group says which part of the batch it reads.
    """
    numbers, x, w = e["dimension_numbers"], e.x, e.graph.value(e.inputs[1])
    out = e.shape[numbers.out_spec[1]]
    row, feature = axis(numbers.out_spec[0]), axis(numbers.out_spec[1])
    groups, batch_groups = int(e["feature_group_count"]), int(e["batch_group_count"])
    places: list[AxisRead] = [Full()] * x.rank
    weights: list[AxisRead] = [Full()] * w.rank
    places[numbers.lhs_spec[0]] = row
    if batch_groups > 1:
        places[numbers.lhs_spec[0]] = _group(feature, batch_groups, out) * e.shape[numbers.out_spec[0]] + row
    places[numbers.lhs_spec[1]] = _part(_group(feature, groups, out), groups, _int(x.type.dims[numbers.lhs_spec[1]]))
    weights[numbers.rhs_spec[0]] = feature
    exact = True
    for n, pad in enumerate(e["padding"]):
        there, kernel = numbers.lhs_spec[2 + n], numbers.rhs_spec[2 + n]
        window = Window(
            _int(x.type.dims[there]), _int(w.type.dims[kernel]), e["window_strides"][n], pad[0], e["rhs_dilation"][n],
            e["lhs_dilation"][n],
        )  # fmt: skip
        o = axis(numbers.out_spec[2 + n])
        places[there], weights[kernel] = window.seen(o), window.weighed(o)
        exact &= window.exact
    return e.opaque(GivenMap((GivenRead(0, tuple(places)), GivenRead(1, tuple(weights))), exact))


def _int(dim: Dim) -> int:
    if not isinstance(dim, int):
        raise NoRule
    return dim


def _windows(e: Equation, sizes: Sequence[Dim]) -> list[Window]:
    """The window along each axis, as `reduce_window` and its kin say it."""
    ones = (1,) * len(sizes)
    return [
        Window(_int(size), width, stride, pad[0], dilation, base)
        for size, width, stride, pad, dilation, base in zip(
            sizes, e["window_dimensions"], e["window_strides"], e["padding"],
            e.params.get("window_dilation") or ones, e.params.get("base_dilation") or ones, strict=True,
        )
    ]  # fmt: skip


def _reduce_window(e: Equation) -> Sequence[Held]:
    """Each result cell folds the cells under its window."""
    windows = _windows(e, e.x.type.dims)
    places = tuple(window.seen(axis(k)) for k, window in enumerate(windows))
    values = [e.graph.value(held) for held in e.inputs]
    reads = tuple(GivenRead(n, places if value.rank == e.x.rank else ()) for n, value in enumerate(values))
    return e.opaque(GivenMap(reads, all(window.exact for window in windows)))


def _select_and_gather_add(e: Equation) -> Sequence[Held]:
    """The cell of the first operand where the second is greatest (least) under the window."""
    windows = _windows(e, e.x.type.dims)
    places = tuple(window.seen(axis(k)) for k, window in enumerate(windows))
    reads = (GivenRead(0, places), GivenRead(1, places, Kind.CONTROL))
    return e.opaque(GivenMap(reads, all(window.exact for window in windows)))


def _select_and_scatter_add(e: Equation) -> Sequence[Held]:
    """What goes back through a maximum: a cell takes from the windows that lie over it, and what is under them decided."""
    source, operand = (e.graph.value(held) for held in e.inputs[:2])
    if not all(operand.type.dims) or not all(source.type.dims):
        raise NoRule
    taken: list[AxisRead] = []
    decided: list[AxisRead] = []
    for k, window in enumerate(_windows(e, operand.type.dims)):
        low, stop = window.over(axis(k), _int(source.type.dims[k]))
        taken.append(Span(low, stop))
        start = maximum(low * window.stride - window.low, 0)
        decided.append(Span(start, minimum((stop - 1) * window.stride + (window.width - window.low), window.size)))
    reads = (GivenRead(0, tuple(taken)), GivenRead(1, tuple(decided), Kind.CONTROL))
    return e.opaque(GivenMap(reads))


HANDLERS: dict[str, Handler] = {
    "conv_general_dilated": _conv,
    **dict.fromkeys("reduce_window_sum reduce_window_max reduce_window_min reduce_window".split(), _reduce_window),
    "select_and_gather_add": _select_and_gather_add,
    "select_and_scatter_add": _select_and_scatter_add,
}
