"""A PyTorch function run as the user wrote it: nothing is captured, so nothing is gained by running its graph call by call.

What it computes is what its program says, as long as nothing that it closes over was changed between the trace and the
run; where something was, it is the program that runs, with what the trace saw.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from traceprop.ir import Expr, Program, Value
from traceprop.ir.expr import symbols_of
from traceprop.tracing.guard import Surroundings
from traceprop.tracing.inputs import is_argument
from traceprop.tracing.structure import flatten, rebuild

_GIVEN = object()


class OwnCode:
    """Calls the function on tensors, one per parameter of its program, and gives the tensors that the program returns.

    `elsewhere`: set while it runs, in which a traced function that is called is part of the caller. Made at the trace, and held
    by the program.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        signature: inspect.Signature,
        arguments: dict[str, Any],
        given: Sequence[bool],
        returned: Sequence[Value],
        program: Program,
        elsewhere: ContextVar[bool],
    ) -> None:
        taken = iter(given)
        self._torch = sys.modules["torch"]
        self._function, self._signature, self._elsewhere = function, signature, elsewhere
        self._arguments = {
            name: rebuild(value, lambda leaf: _GIVEN if next(taken) else leaf, is_argument)
            for name, value in arguments.items()
        }
        self._surroundings = Surroundings(function)
        self._count = len(returned)
        self._places = [returned.index(value) for value in program.returns]
        self._sizes = [
            (str(dim), k, axis)
            for k, param in enumerate(program.params)
            for axis, dim in enumerate(param.type.dims)
            if isinstance(dim, Expr)
        ]
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self._by_position = all(
            value is _GIVEN and signature.parameters[name].kind in positional for name, value in self._arguments.items()
        )

    @staticmethod
    def serves(program: Program) -> bool:
        """Whether the sizes of a program follow from those of its parameters."""
        known = {name for param in program.params for dim in param.type.dims for name in _names(dim)}
        return all(
            set(_names(dim)) <= known for op in program.ops if not op.definition.effect for dim in op.result.type.dims
        )

    def __call__(self, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, int]] | None:
        """Results and sizes; `None` where what the function closes over has changed, or it gives something else."""
        torch = self._torch
        if not (self._surroundings.same_objects() and self._surroundings.same_contents()):
            return None
        if torch.is_grad_enabled():
            with torch.no_grad():
                result = self._called(tensors)
        else:
            result = self._called(tensors)
        sizes = {name: tensors[k].shape[axis] for name, k, axis in self._sizes}
        if self._count == 1 and type(result) is torch.Tensor:
            return (result,), sizes
        found = [leaf for _, leaf in flatten(result, "", _is_leaf) if isinstance(leaf, torch.Tensor)]
        if len(found) != self._count:
            return None
        return tuple(found[place] for place in self._places), sizes

    def _called(self, tensors: Sequence[Any]) -> Any:
        token = self._elsewhere.set(True)
        try:
            if self._by_position:
                return self._function(*tensors)
            left = iter(tensors)
            arguments = {
                name: rebuild(value, lambda leaf: next(left) if leaf is _GIVEN else leaf, _is_given)
                for name, value in self._arguments.items()
            }
            bound = inspect.BoundArguments(self._signature, arguments)  # type: ignore[arg-type]
            return self._function(*bound.args, **bound.kwargs)
        finally:
            self._elsewhere.reset(token)


def _is_given(value: Any) -> bool:
    return value is _GIVEN or is_argument(value)


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, (tuple, list, dict))


def _names(dim: Any) -> tuple[str, ...]:
    return tuple(symbols_of(dim)) if isinstance(dim, Expr) else ()
