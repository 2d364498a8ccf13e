"""Random programs over PyTorch: drawn while they run on concrete tensors, then run again plain or traced."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from tests.lineage import programs as base
from tests.lineage.programs import FINITE, NUMBER, Kind, RandomProgram, drawn_steps

F = torch.nn.functional
DTYPES = (
    "float64", "float64", "float64", "float64", "float32", "float32", "float16", "int64", "int64", "int32", "int16", "int8",
    "uint8", "bool", "bool", "complex64", "complex128",
)  # fmt: skip


@dataclass(frozen=True)
class TorchProgram(RandomProgram):
    """A random program whose ops are PyTorch's."""

    @property
    def ops(self) -> Mapping[str, Kind]:
        return OPS

    @property
    def data_decides_sizes(self) -> bool:
        return any(step.name in DATA_DECIDES for step in self.steps)

    @property
    def writes_constants(self) -> bool:
        """Whether some cells may hang on no data."""
        return any(step.name in CONSTANTS for step in self.steps)

    def plain(self, *sources: np.ndarray) -> tuple[np.ndarray, ...]:
        try:
            return tuple(value.numpy() for value in self(*(torch.tensor(source) for source in sources or self.sources)))
        except RuntimeError as error:
            raise ValueError(str(error)) from error


def real(v: Any) -> bool:
    return v.dtype.kind in "fiu"


def number(v: Any) -> bool:
    return v.dtype.kind != "b"


def floating(v: Any) -> bool:
    return v.dtype.kind == "f"


def _unary(*params: st.SearchStrategy[Any], fits: Any = real) -> Any:
    return base._unary(*params, fits=fits)


def _along(*params: st.SearchStrategy[Any], fits: Any = real) -> Any:
    """A value with axes, one of them, and more parameters."""

    def drawn(draw: base.Draw, values: Sequence[Any]) -> Any:
        k = base._some(draw, values, lambda v: v.ndim and fits(v))
        if k is None:
            return None
        return (k,), (draw(st.integers(-values[k].ndim, values[k].ndim - 1)), *(draw(p) for p in params))

    return drawn


def _folded(fits: Any) -> Any:
    def drawn(draw: base.Draw, values: Sequence[Any]) -> Any:
        k = base._some(draw, values, fits)
        if k is None:
            return None
        rank = values[k].ndim
        axes = draw(st.sets(st.integers(0, rank - 1))) if rank else set()
        return (k,), (tuple(sorted(axes)), draw(st.booleans()))

    return drawn


def _with_index(fits: Any = number) -> Any:
    """A value, one of its axes, and positions along it; they repeat and count from the end too."""

    def drawn(draw: base.Draw, values: Sequence[Any]) -> Any:
        k = base._some(draw, values, lambda v: v.ndim and all(v.shape) and fits(v))
        if k is None:
            return None
        axis = draw(st.integers(0, values[k].ndim - 1))
        size = values[k].shape[axis]
        return (k,), (axis, tuple(draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=4))))

    return drawn


def _masked(draw: base.Draw, values: Sequence[Any]) -> Any:
    m = base._some(draw, values, lambda v: v.dtype == bool and v.ndim)
    if m is None:
        return None
    shape = values[m].shape
    return (
        (k := base._some(draw, values, lambda v: v.shape[: len(shape)] == shape)) is not None and ((k, m), ())
    ) or None


def _chosen(draw: base.Draw, values: Sequence[Any]) -> Any:
    """A mask and two values that go together."""
    a = base._some(draw, values)
    b = base._some(draw, values, lambda v: v.dtype == values[a].dtype and base._broadcasts(values[a], v))
    wide = np.broadcast(values[a], values[b])
    m = base._some(draw, values, lambda v: v.dtype == bool and base._broadcasts(v, wide))
    return None if m is None else ((m, a, b), ())


def _contracted(ranks: tuple[int, ...]) -> Any:
    def drawn(draw: base.Draw, values: Sequence[Any]) -> Any:
        a = base._some(draw, values, lambda v: v.ndim in ranks and floating(v) and v.dtype != np.float16)
        if a is None:
            return None
        x = values[a]
        b = base._some(draw, values, lambda v: v.ndim in (1, 2) and v.dtype == x.dtype and v.shape[0] == x.shape[-1])
        return None if b is None else ((a, b), ())

    return drawn


def _images(*params: st.SearchStrategy[Any]) -> Any:
    """Something to take for a batch of signals: at least two axes, the last one of two cells or more."""
    return _unary(*params, fits=lambda v: v.ndim in (2, 3) and v.size and v.shape[-1] > 1 and plain_float(v))


def _permuted(draw: base.Draw, values: Sequence[Any]) -> Any:
    k = base._some(draw, values)
    return (k,), (tuple(draw(st.permutations(range(values[k].ndim)))),)


def _parts(draw: base.Draw, values: Sequence[Any]) -> Any:
    found = base._together(draw, values)
    return None if found is None or any(k is None for k in found[0]) else found


def _pooled(kind: str, x: Any, width: int) -> Any:
    signals = x.reshape(x.shape[0], -1, x.shape[-1])
    if kind == "max":
        return F.max_pool1d(signals, width, stride=1, padding=width // 2)
    return F.avg_pool1d(signals, width, padding=width // 2) if kind == "avg" else F.adaptive_avg_pool1d(signals, width)


def _convolved(x: Any, stride: int, padding: int, dilation: int, groups: int) -> Any:
    signals = x.reshape(x.shape[0], -1, x.shape[-1])
    channels = signals.shape[1]
    groups = groups if channels % groups == 0 else 1
    weights = torch.arange(1, 2 * groups * (channels // groups) * 2 + 1, dtype=x.dtype).reshape(
        2 * groups, channels // groups, 2
    )
    return F.conv1d(signals, weights / 8, None, stride, padding, dilation, groups)


def _written(x: Any, position: int, c: Any) -> Any:
    y = x.clone()
    y[position] = c
    y[..., position:] += 1
    return y


def _put(x: Any, axis: int, index: tuple[int, ...]) -> Any:
    y = x.transpose(0, axis).clone()
    y[torch.tensor(index)] = y[: len(index)].flip(0)[: len(index)] if len(index) <= len(y) else 0
    return y


def _scattered(x: Any, axis: int, index: tuple[int, ...]) -> Any:
    shape = [1] * x.ndim
    shape[axis] = -1
    at = torch.tensor(index).reshape(shape).expand([len(index) if k == axis else n for k, n in enumerate(x.shape)])
    return x.scatter(axis, at, at.to(x.dtype) * 2)


def _added_up(x: Any, axis: int, index: tuple[int, ...]) -> Any:
    return x.index_add(axis, torch.tensor(index), x.index_select(axis, torch.tensor(index)))


UNARY = "neg abs sign square exp log1p floor ceil round sin tanh sigmoid reciprocal sqrt isnan nan_to_num logical_not".split()
ACTIVATIONS = "relu gelu silu elu softplus leaky_relu hardtanh".split()
BINARY = "add sub mul true_divide maximum minimum pow fmod remainder atan2 hypot".split()
COMPARED = "eq ne lt le gt ge logical_and logical_xor".split()
DATA_DECIDES = {"mask", "rows_where", "nonzero", "masked_select"}
CONSTANTS = {"tril", "triu", "pad", "write", "write_where", "put", "scatter", "one_hot", "conv", "pool"}
_KEEP = st.booleans()


def _call(name: str, module: Any = torch) -> Any:
    """The library's function of that name, over tensors and numbers in its own order."""
    function = getattr(module, name)
    return lambda *given: function(*given)


def _fold(name: str, **more: Any) -> Any:
    function = getattr(torch, name)
    return lambda x, dim, keep: function(x, dim=dim or tuple(range(x.ndim)), keepdim=keep, **more)


def _fold_along(name: str) -> Any:
    function = getattr(torch, name)
    return lambda x, dim, keep: function(x, dim, keepdim=keep)


def _one_of_two(name: str) -> Any:
    function = getattr(torch, name)
    return lambda x, dim, k: function(x, dim)[k]


def anything(v: Any) -> bool:
    return True


def plain_float(v: Any) -> bool:
    return v.dtype in (np.float32, np.float64)


COMPLEX_TOO = ("neg", "square", "exp", "abs", "sin")
OPS: dict[str, Kind] = {
    **{name: Kind(_call(name), _unary(fits=number if name in COMPLEX_TOO else real)) for name in UNARY},
    **{name: Kind(_call(name, F), _unary(fits=floating)) for name in ACTIVATIONS},
    **{name: Kind(_call(name), base._binary) for name in BINARY + COMPARED},
    "sum": Kind(_fold("sum"), _folded(number)),
    "mean": Kind(_fold("mean"), _folded(lambda v: v.dtype.kind in "fc")),
    **{name: Kind(_fold(name), _folded(real)) for name in ("amax", "amin")},
    **{name: Kind(_fold(name, correction=0), _folded(floating)) for name in ("var", "std")},
    **{name: Kind(_call(name), _unary(fits=anything)) for name in ("any", "all", "count_nonzero")},
    **{name: Kind(_fold_along(name), _along(_KEEP)) for name in ("prod", "argmax", "argmin")},
    **{name: Kind(_one_of_two(name), _along(st.integers(0, 1))) for name in ("max", "min", "median", "cummax")},
    "logsumexp": Kind(lambda x, dim: torch.logsumexp(x, dim), _along(fits=floating)),
    "norm": Kind(lambda x, dim: torch.linalg.vector_norm(x, dim=dim), _along(fits=floating)),
    "bucketize": Kind(lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=x.dtype)), _unary(fits=plain_float)),
    "softmax": Kind(lambda x, dim: F.softmax(x, dim), _along(fits=plain_float)),
    "log_softmax": Kind(lambda x, dim: F.log_softmax(x, dim), _along(fits=plain_float)),
    "normalize": Kind(lambda x, dim: F.normalize(x, dim=dim), _along(fits=floating)),
    "layer_norm": Kind(lambda x: F.layer_norm(x, x.shape[-1:]),
                       _unary(fits=lambda v: v.ndim and v.shape[-1] and plain_float(v))),
    "cumsum": Kind(torch.cumsum, _along(fits=number)),
    "cumprod": Kind(torch.cumprod, _along()),
    "diff": Kind(lambda x, dim: torch.diff(x, dim=dim), _along(fits=number)),
    "scaled": Kind(lambda x: (x - x.mean(0)) / (x.std(0, correction=0) + 1e-3), _unary(fits=lambda v: v.ndim and floating(v))),
    "add_number": Kind(lambda x, c: x + c, _unary(NUMBER, fits=number)),
    "number_minus": Kind(lambda x, c: c - x, _unary(NUMBER, fits=number)),
    "compare": Kind(lambda x, c: x > c, _unary(NUMBER)),
    "invert": Kind(lambda x: ~x, _unary(fits=lambda v: v.dtype.kind == "b")),
    "clamp": Kind(lambda x: x.clamp(-1, 1), _unary()),
    "to": Kind(lambda x, dtype: x.to(getattr(torch, dtype)), _unary(st.sampled_from(["float16", "float32", "float64", "bool"]))),
    "to_int": Kind(lambda x: x.nan_to_num(0, 9, -9).clamp(-9, 9).long(), _unary(fits=floating)),
    "parts": Kind(lambda x: x.real + 2 * x.imag, _unary(fits=lambda v: v.dtype.kind == "c")),
    "where": Kind(torch.where, _chosen),
    "where_number": Kind(lambda x, c: torch.where(x > c, x, -x), _unary(NUMBER, fits=lambda v: v.dtype.kind in "fi")),
    "masked_fill": Kind(lambda x, c: x.masked_fill(x > c, 7), _unary(NUMBER)),
    "reshape": Kind(lambda x, shape: x.reshape(shape), base._shapes),
    "flatten": Kind(lambda x: x.flatten(1), _unary(fits=lambda v: v.ndim > 1)),
    "permute": Kind(lambda x, dims: x.permute(dims), _permuted),
    "unsqueeze": Kind(lambda x, dim: x.unsqueeze(dim), _unary(st.sampled_from([0, -1]), fits=lambda v: v.ndim < 4)),
    "squeeze": Kind(lambda x: x.squeeze(), _unary(fits=anything)),
    "expand": Kind(lambda x, n: x.expand(n, *x.shape), _unary(st.integers(0, 3), fits=lambda v: v.ndim < 4)),
    "repeat": Kind(lambda x, n: x.repeat(n, *[1] * (x.ndim - 1)), _unary(st.integers(0, 3), fits=lambda v: v.ndim)),
    "repeat_interleave": Kind(lambda x, dim, n: torch.repeat_interleave(x, n, dim), _along(st.integers(0, 3), fits=number)),
    "flip": Kind(lambda x, dim: x.flip(dim), _along(fits=number)),
    "roll": Kind(lambda x, dim, n: torch.roll(x, n, dim), _along(st.integers(-3, 3), fits=number)),
    "index": Kind(lambda x, index: x[index], base._basic_index),
    "narrow": Kind(lambda x, dim: x.narrow(dim, 0, x.shape[dim] // 2), _along(fits=number)),
    "cat": Kind(lambda *given: torch.cat(given[:-1], given[-1]), _parts),
    "stack": Kind(lambda *given: torch.stack(given[:-1], given[-1]), base._alike),
    "split": Kind(lambda x, dim: torch.split(x, 2, dim)[-1], _along(fits=number)),
    "unbind": Kind(lambda x, dim: x.unbind(dim)[0], _along(fits=lambda v: v.shape[0] and all(v.shape))),
    "tril": Kind(lambda x, n: x.tril(n), _unary(st.integers(-1, 1), fits=lambda v: v.ndim > 1)),
    "triu": Kind(lambda x, n: x.triu(n), _unary(st.integers(-1, 1), fits=lambda v: v.ndim > 1)),
    "diagonal": Kind(lambda x, n: x.diagonal(n), _unary(st.integers(-1, 1), fits=lambda v: v.ndim > 1 and all(v.shape))),
    "unfold": Kind(lambda x, dim, step: x.unfold(dim, min(2, x.shape[dim]), step), _along(st.integers(1, 2), fits=number)),
    "pad": Kind(lambda x, low, high: F.pad(x, (low, high)),
                _unary(st.integers(-1, 2), st.integers(0, 2), fits=lambda v: v.ndim and v.shape[-1])),
    "reflect": Kind(lambda x: F.pad(x, (1, 1), mode="reflect"), _images()),
    "replicate": Kind(lambda x: F.pad(x, (2, 1), mode="replicate"), _images()),
    "conv": Kind(_convolved, _images(st.integers(1, 2), st.integers(0, 2), st.integers(1, 2), st.integers(1, 2))),
    "pool": Kind(lambda x, kind, width: _pooled(kind, x, width),
                 _images(st.sampled_from(["max", "avg", "adaptive"]), st.integers(1, 2))),
    "write": Kind(_written, _unary(st.integers(0, 1), NUMBER, fits=lambda v: v.ndim and v.shape[0] > 1 and floating(v))),
    "write_where": Kind(lambda x, c: x.clone().index_put_((x > c,), torch.tensor(5, dtype=x.dtype)), _unary(NUMBER)),
    "put": Kind(_put, _with_index()),
    "scatter": Kind(_scattered, _with_index()),
    "index_add": Kind(_added_up, _with_index(floating)),
    "take": Kind(lambda x, dim, index: x.index_select(dim, torch.tensor(index)), _with_index()),
    "take_from_end": Kind(lambda x, dim, index: x.movedim(dim, 0)[torch.tensor(index) - x.shape[dim]], _with_index()),
    "mask": Kind(lambda x, m: x[m], _masked),
    "rows_where": Kind(lambda x, c: x[x[:, 0] > c], _unary(NUMBER, fits=lambda v: v.ndim == 2 and v.shape[1] and real(v))),
    "masked_select": Kind(lambda x, c: x.masked_select(x > c), _unary(NUMBER)),
    "nonzero": Kind(lambda x: x.nonzero(), _unary(fits=lambda v: v.ndim)),
    "sort": Kind(lambda x, dim, down: torch.sort(x, dim=dim, descending=down, stable=True)[0], _along(_KEEP)),
    "argsort": Kind(lambda x, dim: torch.argsort(x, dim=dim, stable=True), _along()),
    "topk": Kind(lambda x, dim, k: torch.topk(x, 1, dim)[k], _along(st.integers(0, 1), fits=lambda v: real(v) and all(v.shape))),
    "by_argsort": Kind(lambda x, y: x[torch.argsort(y, stable=True)], base._looked_up),
    "embedding": Kind(lambda x: F.embedding(x.clamp(0, 3), torch.arange(8.0).reshape(4, 2)),
                      _unary(fits=lambda v: v.dtype == np.int64)),
    "one_hot": Kind(lambda x: F.one_hot(x.clamp(0, 3), 4), _unary(fits=lambda v: v.dtype == np.int64)),
    "matmul": Kind(lambda a, b: a @ b, _contracted((1, 2, 3))),
    "linear": Kind(lambda x, w: F.linear(x, w.reshape(len(w), -1).t(), w.reshape(len(w), -1).sum(0)), _contracted((2, 3))),
    "einsum": Kind(lambda x, y: torch.einsum("...i,ij->j...", x, y.reshape(len(y), -1)), _contracted((1, 2))),
    "cdist": Kind(lambda x: torch.cdist(x, x.flip(0) + 1, p=1.0),
                  _unary(fits=lambda v: v.ndim == 2 and plain_float(v))),
    "attention": Kind(
        lambda x: F.scaled_dot_product_attention(x[None], x[None] * 0.5, x[None])[0],
        _unary(fits=lambda v: v.ndim == 2 and v.size and plain_float(v)),
    ),
}  # fmt: skip

SMOOTH = (
    "sin add mul sum mean cumsum add_number reshape flatten permute unsqueeze squeeze expand repeat "
    "repeat_interleave flip roll index narrow cat stack split tril triu diagonal unfold pad reflect replicate conv take "
    "take_from_end matmul linear"
).split()
"""Ops that random draws see fully: a change of any cell that is read changes what is written."""


@st.composite
def arrays(draw: st.DrawFn, dtypes: Sequence[str] = DTYPES) -> np.ndarray:
    """A small array; its values come from a short list."""
    rank = draw(st.sampled_from([1, 2, 2, 2, 3, 0]))
    shape = tuple(draw(st.sampled_from([3, 4, 2, 5, 1, 0])) for _ in range(rank))
    count = int(np.prod(shape))
    cells = np.array(draw(st.lists(st.sampled_from(FINITE), min_size=count, max_size=count)), dtype=np.float64)
    dtype = draw(st.sampled_from(dtypes))
    return cells.reshape(shape).astype(dtype)


@st.composite
def programs(
    draw: st.DrawFn,
    names: Sequence[str] = tuple(OPS),
    dtypes: Sequence[str] = DTYPES,
    max_steps: int = 30,
    max_cells: int = 20,
) -> TorchProgram:
    """1–3 sources and up to `max_steps` ops that PyTorch takes; the last value and up to one more are returned."""

    def value(name: str, *given: Any) -> np.ndarray:
        tensors = [torch.tensor(x) if isinstance(x, (np.ndarray, np.generic)) else x for x in given]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = OPS[name].apply(*tensors).numpy()
            if name in DATA_DECIDES and not len(found):
                raise ValueError("no row is chosen, so that no row tells what decided")
            return found
        except (RuntimeError, NotImplementedError) as error:
            raise ValueError(str(error)) from error

    sources = tuple(draw(arrays(dtypes)) for _ in range(draw(st.integers(1, 3))))
    return TorchProgram(sources, *drawn_steps(draw, OPS, names, sources, value, max_steps, max_cells, "fiubc"))
