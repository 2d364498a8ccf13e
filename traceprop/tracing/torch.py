"""The PyTorch front end: the function's graph of ATen calls, node by node, as ops. fx nodes appear in this file alone.

The function is run by `make_fx` on fake tensors, functionalised, so that writes in place and views become values. Row
dims are symbols, as are sizes that the data decides (`x[mask]`); all others are numbers. Where the function needs a
condition on rows (`len(x)`, `x[:3]`, a branch), the trace begins again with these rows a number. Closed-over tensors are
constants.
"""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch._guards
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, GuardOnDataDependentSymNode, ShapeEnv
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from traceprop.errors import TraceError, TracepropError
from traceprop.ir import ArrayType, Dim, Location, Op, Param, Value, symbol
from traceprop.ir.graph import ops_behind
from traceprop.ir.location import user_location
from traceprop.ir.types import numpy_dtype
from traceprop.tracing.aten import Aten, Graph, values
from traceprop.tracing.aten.writes import Writes
from traceprop.tracing.structure import flatten, rebuild
from traceprop.tracing.trace import Retrace

_aten = torch.ops.aten
_NEW_SHAPES = ("aten::squeeze_", "aten::unsqueeze_", "aten::transpose_", "aten::t_")
"""In-place calls that write to no cell: what is read later reads their result."""
_BRANCHES = (_aten._local_scalar_dense.default, _aten.equal.default)


SMALLEST = 2
"""PyTorch takes axes of no row and of one row for cases of their own, so a symbol stands for two rows or more."""


def trace(
    name: str, call: Callable[[list[Any]], Any], params: list[Param], hints: Mapping[str, int]
) -> tuple[list[Op], Any, bool]:
    """The ops of `call`, in order, its result with `Value`s for tensors, and whether it writes to nothing but its own.

    `hints`: what each size symbol of the parameters stands for in the call at hand. Raises `Retrace` where the function
    needs a number, or two equal ones; `TraceError` for what depends on values while the function is traced (`.item()`,
    `if`), and for random numbers.
    """
    seen: list[Any] = []
    lines: dict[Any, Location | None] = {}

    def flat(*tensors: Any) -> list[Any]:
        with _Flat(), _Lines(lines):
            result = call(list(tensors))
        seen[:] = [result]
        return [leaf for _, leaf in flatten(result, "", _is_leaf) if isinstance(leaf, torch.Tensor)]

    shapes = ShapeEnv(duck_shape=False)
    rows: dict[str, Any] = {}
    fake = FakeTensorMode(shape_env=shapes, allow_non_fake_inputs=True)
    with _quiet(), fake, torch.no_grad():
        tensors = [
            torch.empty([_size(dim, rows, shapes, hints) for dim in param.type.dims], dtype=_torch_dtype(param))
            for param in params
        ]
        functional = torch.func.functionalize(flat, remove="mutations")
        try:
            module = make_fx(functional, decomposition_table=_decompositions(), tracing_mode="real")(*tensors)
        except GuardOnDataDependentSymNode as error:
            raise TraceError(
                f"{name!r} decides by a size that only the data knows, at {user_location() or 'an unknown line'}: "
                "keep the rows and choose cell by cell with torch.where(condition, a, b)"
            ) from error
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            if not rows or isinstance(error, TracepropError):
                raise
            # Some kernels of PyTorch's take numbers only, and errors speak of the user's sizes, not of symbols.
            raise Retrace({letter: hints[letter] for letter in rows}) from error
    graph = Graph({str(size.node._expr): symbol(letter) for letter, size in rows.items()}, hints)
    _settle(shapes, graph)
    return *_convert(module, params, seen[0], lines, graph), not any(map(_writes, module.graph.nodes))


def _writes(node: Any) -> bool:
    """Whether a call writes to what others hold: an argument, or what the function closes over."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


@dataclass(frozen=True)
class _Rows(torch._guards.Source):
    """Where PyTorch may think that a symbol comes from; it asks for a name."""

    letter: str

    @property
    def _name_template(self) -> str:
        return self.letter


def _size(dim: Dim, rows: dict[str, Any], shapes: ShapeEnv, hints: Mapping[str, int]) -> Any:
    """A number, or PyTorch's own symbol for one of ours."""
    if isinstance(dim, int):
        return dim
    letter = str(dim)
    if letter not in rows:
        source = _Rows(letter)
        made = shapes.create_symbol(hints[letter], source, dynamic_dim=DimDynamic.DYNAMIC, constraint_dim=None)
        rows[letter] = shapes.create_symintnode(made, hint=hints[letter], source=source)
    return rows[letter]


def _settle(shapes: ShapeEnv, graph: Graph) -> None:
    """Raises `Retrace` for every condition on row symbols that the function took for granted: equal ones become one symbol,
    all others numbers. Then whatever is left holds for any two rows or more."""
    numbers: dict[str, Dim] = {}
    equal: dict[str, Dim] = {}
    for guard in shapes.guards:
        found = [graph.symbols[str(free)] for free in guard.expr.free_symbols if str(free) in graph.symbols]
        names = sorted(map(str, found))
        sides = guard.expr.args if guard.expr.is_Relational and guard.expr.rel_op == "==" else ()
        if len(names) == 2 == len(sides) and all(side.is_Symbol for side in sides):
            equal[names[1]] = symbol(names[0])
            continue
        numbers.update({letter: graph.hints[letter] for letter in names})
    replaced = {name: dim for name, dim in equal.items() if name not in numbers and str(dim) not in numbers} | numbers
    if replaced or equal:
        raise Retrace(replaced or {name: graph.hints[name] for name in equal})


@contextmanager
def _quiet() -> Iterator[None]:
    """Calls that fail on symbols are traced again with numbers: nothing that a user needs to read about in a log."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, (tuple, list, dict))


def _torch_dtype(param: Param) -> torch.dtype:
    if not isinstance(param.type, ArrayType) or param.type.dtype == "str":
        raise TraceError(f"the argument {param.name!r} is {param.type}, which PyTorch has no tensor for")
    return torch.from_numpy(np.empty(0, numpy_dtype(param.type.dtype))).dtype


@functools.cache
def _decompositions() -> dict[Any, Any]:
    """Core ATen's, and those of normalisations, whose parts have rules; without those whose parts say less than the whole."""
    names = (
        "native_layer_norm native_group_norm _native_batch_norm_legit_no_training native_batch_norm _native_batch_norm_legit "
        "_native_batch_norm_legit_functional _trilinear upsample_bilinear2d grid_sampler_2d"
    ).split()
    whole = (
        "tril triu select_scatter reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d "
        "replication_pad3d masked_fill fill nan_to_num"
    ).split()
    table = {**core_aten_decompositions(), **get_decompositions([getattr(_aten, name) for name in names])}
    return {call: parts for call, parts in table.items() if call._schema.name.removeprefix("aten::") not in whole}


class _Flat(TorchFunctionMode):
    """Linear layers over more than two axes as one over two, as PyTorch's own code does with sizes that are numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.linear and args and args[0].ndim > 2 and _has_symbols(args[0]):
            x, *rest = args
            flat = func(x.reshape(-1, x.shape[-1]), *rest, **(kwargs or {}))
            return flat.reshape(*x.shape[:-1], flat.shape[-1])
        return func(*args, **(kwargs or {}))


def _has_symbols(tensor: Any) -> bool:
    return any(isinstance(size, torch.SymInt) for size in tensor.shape)


class _Lines(TorchDispatchMode):
    """Notes the user's line for every node, and refuses what a trace cannot hold."""

    def __init__(self, lines: dict[Any, Location | None]) -> None:
        super().__init__()
        self.lines = lines

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        here = user_location()
        where = here or "an unknown line"
        if func in _BRANCHES:
            raise TraceError(
                f"Python asks for the value of a traced tensor (.item(), float(), if/while) at {where}: it is not known while "
                "the function is traced; use torch.where(condition, a, b) to choose cell by cell, or decide outside"
            )
        if torch.Tag.nondeterministic_seeded in func.tags and not _draws_nothing(func, args, kwargs):
            raise TraceError(
                f"random numbers by {func} at {where}: a traced function gives the same result each time; draw them outside "
                "and pass them in, or put the module in eval mode (module.eval())"
            )
        if "batch_norm" in func._schema.name and _updates_statistics(func, args, kwargs):
            raise TraceError(
                f"batch normalisation in training mode at {where}: each call would change its running mean and variance; put the "
                "module in eval mode (module.eval())"
            )
        result = func(*args, **kwargs)
        mode = get_proxy_mode()
        if mode is not None:
            for node in reversed(mode.tracer.graph.nodes):
                if node in self.lines:
                    break
                self.lines[node] = here
        return result


def _updates_statistics(func: Any, args: Any, kwargs: Any) -> bool:
    given = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)} | kwargs
    return given.get("running_mean") is not None and bool(given.get("training", given.get("train", False)))


def _draws_nothing(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether dropout, the only draw in the call, is off."""
    for position, argument in enumerate(func._schema.arguments):
        value = args[position] if position < len(args) else kwargs.get(argument.name, argument.default_value)
        if argument.name in ("dropout_p", "dropout", "p") and not value or argument.name == "train" and value is False:
            return True
    return False


def _convert(
    module: Any, params: list[Param], result: Any, lines: dict[Any, Location | None], graph: Graph
) -> tuple[list[Op], Any]:
    env: dict[Any, Any] = {}
    writes = Writes(graph, env, functools.partial(_called, graph, env), torch.fx.Node)
    inputs = iter(params)
    returned: list[Any] = []
    for node in module.graph.nodes:
        graph.location = lines.get(node)
        if node.op == "placeholder":
            env[node] = next(inputs)
        elif node.op == "get_attr":
            tensor = module
            for part in node.target.split("."):
                tensor = getattr(tensor, part)
            env[node] = graph.constant(tensor)
        elif node.op == "output":
            returned = list(node.args[0])
        elif node.target is operator.getitem:
            env[node] = env[node.args[0]][node.args[1]]
        elif isinstance(node.meta.get("val"), (torch.SymInt, int, float, torch.SymFloat, torch.SymBool)):
            env[node] = _number(graph, node.meta["val"])
        elif node.target is _aten.size.default:
            env[node] = [graph.dim(size) for size in node.meta["val"]]
        elif isinstance(node.target, torch._ops.OpOverload):
            if node.target._schema.is_mutable and node.target._schema.name not in _NEW_SHAPES:
                writes.write(node)
            else:
                env[node] = _called(graph, env, node)
    results = iter(env[leaf] if isinstance(leaf, torch.fx.Node) else graph.constant(leaf) for leaf in returned)

    def back(leaf: Any) -> Any:
        return next(results) if isinstance(leaf, torch.Tensor) else _number(graph, leaf, plain=True)

    rebuilt = rebuild(result, back, _is_leaf)
    # Functionalising leaves reads of views behind that nobody uses.
    needed = set(ops_behind(leaf for _, leaf in flatten(rebuilt, "", _is_leaf) if isinstance(leaf, Value)))
    return [op for op in graph.ops if op in needed], rebuilt


def _called(graph: Graph, env: dict[Any, Any], node: Any) -> Any:
    """What one call gives, of what its arguments are at this point."""
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: _Held(env[n]))
    fakes = [given.meta.get("val") for given in node.all_input_nodes]
    return values(Aten(graph, node.target, _released(args), _released(kwargs), node.meta.get("val"), fakes))


def _number(graph: Graph, value: Any, plain: bool = False) -> Any:
    """A size as one of ours; a number that hangs on sizes, or a size that is returned, makes them numbers."""
    if not isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return value
    if isinstance(value, torch.SymInt) and not plain:
        return graph.dim(value)
    graph.specialize(value.node.expr)
    raise TraceError(
        f"a number that the data decides is computed with at {graph.location or 'an unknown line'}: use a tensor for it, such "
        "as mask.sum()"
    )


class _Held:
    """Keeps a tuple of values one leaf while arguments are mapped."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _released(value: Any) -> Any:
    if isinstance(value, _Held):
        return value.value
    if isinstance(value, (list, tuple)):
        return [_released(v) for v in value]
    if isinstance(value, dict):
        return {k: _released(v) for k, v in value.items()}
    return value


__all__ = ["trace"]
