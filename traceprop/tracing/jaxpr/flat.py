"""A jaxpr laid flat, for those who look at a function's equations and compute it in part: values are numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

_SAME_CELLS = ("reshape", "squeeze", "expand_dims", "transpose", "copy", "broadcast_in_dim")


@dataclass(frozen=True, eq=False)
class FlatEquation:
    """One equation: a primitive's name and parameters, and the values that it takes and gives; `bind` computes it."""

    name: str
    params: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    bind: Callable[..., list[Any]]


@dataclass(frozen=True, eq=False)
class Flat:
    """Equations in an order that runs, nested calls inlined.

    Attributes
    ----------
    inputs, output
        The function's arguments, array by array, and its one result.
    constants
        Arrays that the function holds.
    shapes, dtypes
        Of every value.
    """

    inputs: tuple[int, ...]
    output: int
    constants: Mapping[int, Any]
    equations: tuple[FlatEquation, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]

    def run(self, arrays: Sequence[Any], moved: Mapping[int, Any], given: Mapping[int, Any]) -> dict[int, Any]:
        """Compute all values. To those in `moved` that is added; those in `given` are not computed but taken as given."""
        env: dict[int, Any] = {**self.constants, **dict(zip(self.inputs, arrays, strict=True)), **given}
        for equation in self.equations:
            if all(value in given for value in equation.outputs):
                continue
            found = equation.bind(*[env[value] for value in equation.inputs])
            for value, array in zip(equation.outputs, found, strict=True):
                if value not in given:
                    env[value] = array + moved[value] if value in moved else array
        return env

    def ending_at(self, output: int) -> Flat:
        """The same with another result, and the equations that it needs."""
        wanted, kept = {output}, []
        for equation in reversed(self.equations):
            if wanted.intersection(equation.outputs):
                wanted.update(equation.inputs)
                kept.append(equation)
        return Flat(self.inputs, output, self.constants, tuple(kept[::-1]), self.shapes, self.dtypes)

    @cached_property
    def uses(self) -> dict[int, list[int]]:
        """The places of the equations that take each value."""
        found: dict[int, list[int]] = {}
        for place, equation in enumerate(self.equations):
            for value in equation.inputs:
                found.setdefault(value, []).append(place)
        return found

    def hanging_on(self, values: Iterable[int]) -> set[int]:
        """The values that hang on some others, those among them."""
        found = set(values)
        for equation in self.equations:
            if found.intersection(equation.inputs):
                found.update(equation.outputs)
        return found

    def necks(self, values: Iterable[int]) -> list[int]:
        """The values through which alone the result hangs on some others, the earliest first; every equation is needed."""
        hanging = self.hanging_on(values)
        last = {value: places[-1] for value, places in self.uses.items()}
        last[self.output] = len(self.equations)
        open_, found = {value for value in values if value in last}, []
        for place, equation in enumerate(self.equations):
            born = {value for value in equation.outputs if value in hanging and value in last}
            open_ -= {value for value in equation.inputs if last[value] == place}
            open_ |= born
            if born and len(open_) == 1:
                found.extend(born)
        return found


def rearranged(equation: FlatEquation, cells: np.ndarray, shape: Sequence[int]) -> np.ndarray | None:
    """The cells (by number) that an equation's result shows, of those of its one operand; None where it computes."""
    if equation.name == "convert_element_type":
        return cells
    if len(equation.inputs) != 1 or equation.name not in _SAME_CELLS:
        return None
    if equation.name == "transpose":
        return cells.transpose(equation.params["permutation"])
    if equation.name == "broadcast_in_dim":
        wide = [1] * len(shape)
        for size, place in zip(cells.shape, equation.params["broadcast_dimensions"], strict=True):
            wide[place] = size
        return np.broadcast_to(cells.reshape(wide), shape)
    if equation.params.get("dimensions") is not None and equation.name == "reshape":
        return None
    return cells.reshape(shape)
