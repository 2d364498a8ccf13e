"""The PyTorch front end: the function's graph of ATen calls, node by node, as ops. fx nodes appear in this file alone.

The function is run by `make_fx` on fake tensors of the sizes at hand, functionalised, so that writes in place and views
become values. Sizes are numbers, except where the data decides them (`x[mask]`), and closed-over tensors are constants.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode

from traceprop.errors import TraceError
from traceprop.ir import ArrayType, Location, Op, Param
from traceprop.ir.location import user_location
from traceprop.ir.types import numpy_dtype
from traceprop.tracing.aten import Aten, Graph
from traceprop.tracing.structure import flatten, rebuild

_aten = torch.ops.aten
_BRANCHES = (_aten._local_scalar_dense.default, _aten.equal.default)


def trace(name: str, call: Callable[[list[Any]], Any], params: list[Param]) -> tuple[list[Op], Any]:
    """The ops of `call`, in order, and its result with `Value`s for tensors.

    Raises `TraceError` for what depends on values while the function is traced (`.item()`, `if`), and for random numbers.
    """
    seen: list[Any] = []
    lines: dict[Any, Location | None] = {}

    def flat(*tensors: Any) -> list[Any]:
        with _Lines(lines):
            result = call(list(tensors))
        seen[:] = [result]
        return [leaf for _, leaf in flatten(result, "", _is_leaf) if isinstance(leaf, torch.Tensor)]

    fake = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    with fake, torch.no_grad():
        tensors = [torch.empty(param.type.dims, dtype=_torch_dtype(param)) for param in params]
        functional = torch.func.functionalize(flat, remove="mutations")
        try:
            module = make_fx(functional, decomposition_table=_decompositions(), tracing_mode="real")(*tensors)
        except GuardOnDataDependentSymNode as error:
            raise TraceError(
                f"{name!r} decides by a size that only the data knows, at {user_location() or 'an unknown line'}: "
                "keep the rows and choose cell by cell with torch.where(condition, a, b)"
            ) from error
    return _convert(module, params, seen[0], lines)


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, (tuple, list, dict))


def _torch_dtype(param: Param) -> torch.dtype:
    if not isinstance(param.type, ArrayType) or param.type.dtype == "str":
        raise TraceError(f"the argument {param.name!r} is {param.type}, which PyTorch has no tensor for")
    return torch.from_numpy(np.empty(0, numpy_dtype(param.type.dtype))).dtype


def _decompositions() -> dict[Any, Any]:
    """Core ATen's, and those of normalisations, whose parts have rules."""
    names = ("native_layer_norm", "native_group_norm", "_native_batch_norm_legit_no_training", "native_batch_norm")
    return {**core_aten_decompositions(), **get_decompositions([getattr(_aten, name) for name in names])}


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
                "and pass them in, or put the module in eval mode"
            )
        result = func(*args, **kwargs)
        mode = get_proxy_mode()
        if mode is not None:
            for node in reversed(mode.tracer.graph.nodes):
                if node in self.lines:
                    break
                self.lines[node] = here
        return result


def _draws_nothing(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether dropout, the only draw in the call, is off."""
    for position, argument in enumerate(func._schema.arguments):
        value = args[position] if position < len(args) else kwargs.get(argument.name, argument.default_value)
        if argument.name in ("dropout_p", "dropout", "p") and not value or argument.name == "train" and value is False:
            return True
    return False


def _convert(module: Any, params: list[Param], result: Any, lines: dict[Any, Location | None]) -> tuple[list[Op], Any]:
    graph = Graph([], None, {}, set())
    env: dict[Any, Any] = {}
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
        elif isinstance(node.meta.get("val"), (torch.SymInt, int, torch.SymFloat, torch.SymBool)):
            env[node] = node.meta["val"]
        elif isinstance(node.target, torch._ops.OpOverload):
            if node.target._schema.is_mutable:  # readers of what it writes to would lose lineage
                raise TraceError(
                    f"{node.target} at {graph.location or 'an unknown line'} writes in place, inside PyTorch, where it is not "
                    "seen as a new value; compute this step outside the traced function and pass it in"
                )
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: _Held(env[n]))
            args, kwargs = _released(args), _released(kwargs)
            env[node] = Aten(graph, node.target, args, kwargs, node.meta.get("val")).values()
    values = iter(env[leaf] if isinstance(leaf, torch.fx.Node) else graph.constant(leaf) for leaf in returned)
    return graph.ops, rebuild(result, lambda leaf: next(values) if isinstance(leaf, torch.Tensor) else leaf, _is_leaf)


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
