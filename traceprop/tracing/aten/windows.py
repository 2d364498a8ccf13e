"""Calls whose result cells read a window: convolution and pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from traceprop.ir import Dim, Expr, Kind
from traceprop.ir.expr import floordiv, maximum, minimum, mod
from traceprop.ir.given_map import GivenMap, GivenRead
from traceprop.ir.index_map import Full, Span, axes, axis
from traceprop.ir.opset import opaque
from traceprop.tracing.aten.call import Aten
from traceprop.tracing.aten.graph import NoRule

Place = int | Expr | Full | Span


def _each(given: Sequence[int] | int | None, count: int, default: Sequence[int] | int = 1) -> list[int]:
    """One number per spatial axis, where PyTorch takes one for all."""
    given = default if given is None or given == [] else given
    listed = [given] if isinstance(given, int) else list(given)
    if any(isinstance(n, Expr) for n in listed):
        raise NoRule
    return listed * count if len(listed) == 1 else listed


def _known(dims: Sequence[Dim]) -> list[int]:
    if any(isinstance(dim, Expr) for dim in dims):
        raise NoRule
    return [int(dim) for dim in dims]  # type: ignore[arg-type]


def _seen(o: Expr, size: int, width: int, stride: int, dilation: int, pad: int) -> Place:
    """The positions of an axis of `size` under the window for place `o`: from the first that is not padding."""
    first: Dim = o * stride - pad
    if width == 1 and not pad:
        return first
    start = maximum(first, mod(first, dilation)) if pad else first
    return Span(start, minimum(first + ((width - 1) * dilation + 1), size), dilation)


def _weighed(o: Expr, size: int, width: int, stride: int, dilation: int, pad: int) -> Place:
    """The positions of the kernel that do not lie over padding for place `o`."""
    if width == 1 and not pad:
        return 0
    first: Dim = o * stride - pad
    stop = floordiv(first * -1 + (size - 1), dilation) + 1
    return Span(maximum(floordiv(first * -1 + (dilation - 1), dilation), 0), minimum(stop, width))


def _spread(o: Expr, size: int, width: int, stride: int, dilation: int, pad: int) -> Place:
    """The positions that a transposed convolution spreads to place `o`; with dilation, and some between them."""
    low = floordiv(o + (pad - (width - 1) * dilation + stride - 1), stride)
    return Span(maximum(low, 0), minimum(floordiv(o + pad, stride) + 1, size))


def _taps(o: Expr, size: int, width: int, stride: int, dilation: int, pad: int) -> Place:
    """The positions of the kernel by which it does: o + pad - k is a multiple of the stride. Without dilation."""
    if dilation != 1:
        return Full()
    return Span(maximum(mod(o + pad, stride), o + (pad - (size - 1) * stride)), minimum(o + (pad + 1), width), stride)


def _channels(of: Expr, groups: int, out: int, given: int) -> Place:
    """The channels of the group that channel `of` of `out` is in."""
    if groups == 1:
        return Full()
    if given == groups:
        return floordiv(of, out // groups)
    first = floordiv(of, out // groups) * (given // groups)
    return Span(first, first + given // groups)


def _convolution(a: Aten) -> Any:
    """(n, c, y, x) <- %x[n, *, y*stride-pad.., …], %w[c, *, …], %b[c]"""
    x, w = a.tensors[:2]
    spatial = x.rank - 2
    stride, pad, dilation = (_each(a[name], spatial) for name in ("stride", "padding", "dilation"))
    groups, back = a.number("groups"), bool(a["transposed"])
    sizes, kernel = _known(x.type.dims[2:]), _known(w.type.dims[2:])
    channels, given = _known(a.type.dims[1:2] + x.type.dims[1:2])
    n, c, *places = axes(x.rank)
    window = list(zip(places, sizes, kernel, stride, dilation, pad, strict=True))
    seen = _spread if back else _seen
    reads = [GivenRead(0, (n, _channels(c, groups, channels, given), *(seen(*one) for one in window)))]
    if back:
        inside = _channels(c, groups, channels, given)
        reads.append(GivenRead(1, (inside, mod(c, channels // groups), *(_taps(*one) for one in window))))
    else:
        reads.append(GivenRead(1, (c, Full(), *(_weighed(*one) for one in window))))
    if len(a.tensors) == 3:
        reads.append(GivenRead(2, (c,)))
    return a.mapped(*reads, exact=not back or set(dilation) == {1})


def _convolution_backward(a: Aten) -> Any:
    """Of %grad, %x and %w: the gradient of %x is a transposed convolution of %grad, that of %w one of %x by %grad."""
    grad, x, w = a.tensors
    spatial = x.rank - 2
    stride, pad, dilation = (_each(a[name], spatial) for name in ("stride", "padding", "dilation"))
    groups = a.number("groups")
    if a["transposed"]:
        raise NoRule
    given, out = _known(x.type.dims[2:]), _known(grad.type.dims[2:])
    kernel, (channels,), (outs,) = _known(w.type.dims[2:]), _known(x.type.dims[1:2]), _known(grad.type.dims[1:2])
    n, c, *places = axes(x.rank)
    to_x = list(zip(places, out, kernel, stride, dilation, pad, strict=True))
    of_w = list(zip(places, given, out, dilation, stride, pad, strict=True))
    inside = _channels(c, groups, channels, outs)
    reads = [
        (GivenRead(0, (n, inside, *(_spread(*one) for one in to_x))),
         GivenRead(2, (inside, mod(c, channels // groups), *(_taps(*one) for one in to_x)))),
        (GivenRead(0, (Full(), n, *(_weighed(*one) for one in of_w))),
         GivenRead(1, (Full(), _group_of(n, c, groups, channels, outs), *(_seen(*one) for one in of_w)))),
        (GivenRead(0, (Full(), n, *(Full() for _ in places))),),
    ]  # fmt: skip
    exact = set(dilation) == {1}

    def one(type: Any, number: dict[str, Any], native: Any) -> Any:
        rule = GivenMap(reads[number["result"]], exact)
        return a.emit(opaque, None, native, dtype=type.dtype, rule=rule, shape=type.dims, **a.scalars(), **number)

    return a.results(one)


def _group_of(out: Expr, c: Expr, groups: int, channels: int, outs: int) -> Place:
    """The channel of the input that channel `c` of the kernel for `out` is applied to."""
    return c if groups == 1 else floordiv(out, outs // groups) * (channels // groups) + c


def _pool_backward(a: Aten) -> Any:
    """(n, c, y, x) <- %grad[n, c, those whose window holds y, …]; of a maximum, %indices there decided which."""
    grad, x = a["grad_output"], a["self"]
    kernel = _each(a["kernel_size"], 2)
    stride, pad, dilation = _each(a["stride"], 2, kernel), _each(a["padding"], 2, 0), _each(a["dilation"], 2)
    lead, places = axes(x.rank)[:-2], axes(x.rank)[-2:]
    window = zip(places, _known(grad.type.dims[-2:]), kernel, stride, dilation, pad, strict=True)
    spots = (*lead, *(_spread(*one) for one in window))
    reads = [GivenRead(a.tensors.index(grad), spots)]
    if a["indices"] is not None:
        reads.append(GivenRead(a.tensors.index(a["indices"]), spots, Kind.CONTROL))
    return a.mapped(*reads, exact=set(dilation) == {1})


def _adaptive_backward(a: Aten) -> Any:
    """(n, c, y) <- %grad[n, c, y*out//size..(y+1)*out/size rounded up]"""
    grad, x = a["grad_output"], a["self"]
    places = []
    for k in (-2, -1):
        (out,), (size,) = _known([grad.type.dims[k]]), _known([x.type.dims[k]])
        y = axis(x.rank + k)
        places.append(Span(floordiv(y * out, size), floordiv(y * out + (size + out - 1), size)))
    return a.mapped(GivenRead(0, (*axes(x.rank)[:-2], *places)))


def _pool(spatial: int) -> Callable[[Aten], Any]:
    def handler(a: Aten) -> Any:
        """(n, c, y, x) <- %x[n, c, y*stride-pad.., …]"""
        kernel = _each(a["kernel_size"], spatial)
        stride, pad = _each(a["stride"], spatial, kernel), _each(a["padding"], spatial, 0)
        dilation = _each(a["dilation"], spatial)
        lead, places = axes(a.x.rank)[:-spatial], axes(a.x.rank)[-spatial:]
        sizes = _known(a.x.type.dims[-spatial:])
        window = zip(places, sizes, kernel, stride, dilation, pad, strict=True)
        return a.mapped(GivenRead(0, (*lead, *(_seen(*one) for one in window))))

    return handler


def _adaptive(spatial: int) -> Callable[[Aten], Any]:
    def handler(a: Aten) -> Any:
        """(n, c, o) <- %x[n, c, o*size//out..(o+1)*size/out rounded up]"""
        lead = axes(a.x.rank)[:-spatial]
        places = []
        for k, out in zip(range(-spatial, 0), _known(a.type.dims[-spatial:]), strict=True):
            (size,) = _known([a.x.type.dims[k]])
            o = axis(a.x.rank + k)
            places.append(
                Full() if out == 1 else Span(floordiv(o * size, out), floordiv(o * size + (size + out - 1), out))
            )
        return a.mapped(GivenRead(0, (*lead, *places)))

    return handler


HANDLERS: dict[str, Callable[[Aten], Any]] = {
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    **dict.fromkeys(("avg_pool2d_backward", "max_pool2d_with_indices_backward"), _pool_backward),
    "_adaptive_avg_pool2d_backward": _adaptive_backward,
    **{f"avg_pool{n}d": _pool(n) for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _pool(n) for n in (2, 3)},
    **{f"_adaptive_avg_pool{n}d": _adaptive(n) for n in (2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive(n) for n in (2, 3)},
}
