"""Writes in place that are left behind functionalising: those of PyTorch's own code to values that it made itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from traceprop.errors import TraceError
from traceprop.tracing.aten.call import Aten
from traceprop.tracing.aten.calls import values
from traceprop.tracing.aten.graph import Graph

_aten = torch.ops.aten
_SCATTERS = {_aten.slice.Tensor: _aten.slice_scatter.default, _aten.select.int: _aten.select_scatter.default}


class Writes:
    """A write becomes a new value, which the written node stands for from then on, and so do the views of it.

    Values that come from outside, and views other than slices and rows, are refused. `node` is the type of the graph's nodes.
    """

    def __init__(self, graph: Graph, env: dict[Any, Any], called: Callable[[Any], Any], node: type) -> None:
        self.graph, self.env, self.called, self.node = graph, env, called, node

    def write(self, node: Any) -> None:
        """Traces a call such as `add_` as `add`, and puts the result in the place of what was written to."""
        name, overload = node.target._schema.name.removeprefix("aten::"), node.target._overloadname
        written = node.args[0] if node.args else None
        packet = getattr(_aten, name[:-1], None) if name.endswith("_") else None
        if not isinstance(written, self.node) or packet is None or overload not in packet.overloads():
            self._refuse(node)
        args = [self.env[arg] if isinstance(arg, self.node) else arg for arg in node.args]
        kwargs = {key: self.env[arg] if isinstance(arg, self.node) else arg for key, arg in node.kwargs.items()}
        if any(isinstance(leaf, self.node) for arg in args if isinstance(arg, (list, tuple)) for leaf in arg):
            self._refuse(node)
        value = values(Aten(self.graph, getattr(packet, overload), args, kwargs, node.meta["val"]))
        self._put(written, value, node)
        self.env[node] = value

    def _put(self, written: Any, value: Any, node: Any) -> None:
        if written.op != "call_function":
            self._refuse(node)
        self.env[written] = value
        if _is_view(written):
            base = written.args[0]
            scatter = _SCATTERS.get(written.target)
            if scatter is None:
                self._refuse(node)
            where = [self.env[arg] if isinstance(arg, self.node) else arg for arg in written.args[1:]]
            call = Aten(self.graph, scatter, [self.env[base], value, *where], {}, base.meta["val"])
            self._put(base, values(call), node)
        else:
            self._refresh(written, node)

    def _refresh(self, base: Any, node: Any) -> None:
        """Views that were taken before the write show what was written."""
        for user in base.users:
            if user in self.env and user is not node and _is_view(user):
                self.env[user] = self.called(user)
                self._refresh(user, node)

    def _refuse(self, node: Any) -> None:
        raise TraceError(
            f"{node.target} at {self.graph.location or 'an unknown line'} writes in place, inside PyTorch, where it is not seen "
            "as a new value; compute this step outside the traced function and pass it in"
        )


def _is_view(node: Any) -> bool:
    """Whether a node's value shares memory with its first argument."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(
        ret.alias_info is not None and not ret.alias_info.is_write for ret in schema.returns
    )
