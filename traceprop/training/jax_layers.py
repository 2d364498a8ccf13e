"""The layers of a JAX network, found in the equations of its loss.

A `dot_general`, `conv_general_dilated` or `gather` one of whose operands is a parameter, or a parameter's cells in another
order, is a call of a layer. What it reads and the gradient at its output are the factors of a sample's gradient, and a bias that
is added to its output has the same one. Parameters that are used in any other way are left to `vmap(grad)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from traceprop.passes.attribution.factors import DenseFactors, EmbeddingFactors, LayerFactors
from traceprop.tracing.jaxpr.flat import Flat, FlatEquation, rearranged

Cells = tuple[int, np.ndarray]
"""A parameter, and which of its cells stand where."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer.

    Attributes
    ----------
    value
        What it gives, as a value of the flat loss.
    operand
        The value that it reads.
    inputs
        From the value that it reads to (positions, d); of an embedding ids (positions,).
    outputs
        From a value shaped like its result to (positions, o); works for NumPy and JAX.
    place
        int (o * d,): where in the parameter the factors' gradient, outputs by inputs, belongs cell by cell.
    """

    value: int
    operand: int
    inputs: Callable[[Any], Any]
    outputs: Callable[[Any], Any]
    place: np.ndarray
    vocabulary: int = 0


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight and perhaps a bias, parameters by number, with all of their calls. `places`: see `Call.place`."""

    leaves: tuple[int, ...]
    places: tuple[np.ndarray, ...]
    calls: tuple[Call, ...]

    def factors(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> LayerFactors:
        """The factors of a batch, from what each call read (b, positions, d) and the gradients at its output."""
        read, gradients = np.concatenate(inputs, axis=1), np.concatenate(outputs, axis=1)
        gradients = np.ascontiguousarray(gradients, dtype=np.float32)
        vocabulary = self.calls[0].vocabulary
        if vocabulary:
            return EmbeddingFactors(read.astype(np.int64), gradients, vocabulary)
        return DenseFactors(np.ascontiguousarray(read, dtype=np.float32), gradients, len(self.leaves) == 2)

    def in_order(self, gradient: Sequence[np.ndarray]) -> np.ndarray:
        """A gradient, parameter by parameter, as the factors order it."""
        return np.concatenate([gradient[k].reshape(-1)[at] for k, at in zip(self.leaves, self.places, strict=True)])


@dataclass
class _Found:
    calls: dict[int, list[tuple[Call, int | None]]] = field(default_factory=dict)  # by weight: with the bias
    biases: dict[int, np.ndarray] = field(default_factory=dict)
    explained: set[tuple[int, int]] = field(default_factory=set)  # (parameter, equation)
    used: set[tuple[int, int]] = field(default_factory=set)


def layers_of(flat: Flat, parameters: Mapping[int, int]) -> list[Layer]:
    """The layers, in the order of their first calls; `parameters`: by value of the flat loss, their numbers."""
    cells: dict[int, Cells] = {
        value: (k, np.arange(int(np.prod(flat.shapes[value]))).reshape(flat.shapes[value]))
        for value, k in parameters.items()
    }
    sizes = {k: cells[value][1].size for value, k in parameters.items()}
    found = _Found()
    made: list[tuple[int, int, Call]] = []
    for place, equation in enumerate(flat.equations):
        held = [(at, *cells[value]) for at, value in enumerate(equation.inputs) if value in cells]
        if not held:
            continue
        if len(equation.inputs) == 1:
            shown = rearranged(equation, held[0][2], flat.shapes[equation.outputs[0]])
            if shown is not None and np.issubdtype(flat.dtypes[equation.outputs[0]], np.floating):
                cells[equation.outputs[0]] = (held[0][1], shown)
                continue
        found.used.update((k, place) for _, k, _ in held)
        if len(held) == 1 and equation.name in _CALLS:
            at, k, here = held[0]
            call = _CALLS[equation.name](flat, equation, at, here) if here.size == sizes[k] else None
            if call is not None:
                made.append((k, place, call))
    for k, place, call in made:
        found.explained.add((k, place))
        found.calls.setdefault(k, []).append((call, _bias(flat, call, cells, sizes, found)))
    unexplained = {k for k, place in found.used - found.explained}
    unexplained |= found.biases.keys() & found.calls.keys()
    layers = []
    for k, calls in found.calls.items():
        first, bias = calls[0]
        alike = all(other == bias and np.array_equal(call.place, first.place) for call, other in calls)
        alike = alike and len({bool(call.vocabulary) for call, _ in calls}) == 1
        if k in unexplained or not alike:
            continue
        whole = tuple(call for call, _ in calls)
        shared = bias is not None and sum(bias == other for parts in found.calls.values() for _, other in parts)
        if bias is None or bias in unexplained or shared != len(calls):
            layers.append(Layer((k,), (first.place,), whole))
        else:
            layers.append(Layer((k, bias), (first.place, found.biases[bias]), whole))
    return layers


def _bias(flat: Flat, call: Call, cells: Mapping[int, Cells], sizes: Mapping[int, int], found: _Found) -> int | None:
    """The parameter that is added to a call's output, the same at every position; None where there is none."""
    if call.vocabulary:
        return None
    value, shape = call.value, flat.shapes[call.value]
    where = np.arange(int(np.prod(shape))).reshape(shape)
    while len(flat.uses.get(value, ())) == 1 and value != flat.output:
        place = flat.uses[value][0]
        equation = flat.equations[place]
        if equation.name in ("add", "add_any"):
            others = [other for other in equation.inputs if other != value and other in cells]
            if len(others) != 1:
                return None
            k, added = cells[others[0]]
            at = np.empty(where.size, dtype=np.int64)
            if added.ndim != where.ndim or where.shape != np.broadcast_shapes(added.shape, where.shape):
                return None
            at[where.reshape(-1)] = np.broadcast_to(added, where.shape).reshape(-1)
            rows = np.asarray(call.outputs(at.reshape(shape)))
            alike = (rows == rows[0]).all() and len(rows[0]) == sizes[k] == len(np.unique(rows[0]))
            if not alike or not np.array_equal(found.biases.setdefault(k, rows[0]), rows[0]):
                return None
            found.explained.add((k, place))
            return k
        if len(equation.inputs) != 1 or len(equation.outputs) != 1:
            return None
        shown = rearranged(equation, where, flat.shapes[equation.outputs[0]])
        if (
            shown is None
            or shown.size != where.size
            or not np.issubdtype(flat.dtypes[equation.outputs[0]], np.floating)
        ):
            return None
        value, where = equation.outputs[0], shown
    return None


def _dense(flat: Flat, equation: FlatEquation, at: int, cells: np.ndarray) -> Call | None:
    contracted, batched = equation.params["dimension_numbers"]
    if batched[0]:
        return None
    over = [tuple(map(int, axes)) for axes in contracted]
    mine, theirs = over[at], over[1 - at]
    operand = equation.inputs[1 - at]
    free = tuple(axis for axis in range(len(flat.shapes[operand])) if axis not in theirs)
    out = tuple(axis for axis in range(cells.ndim) if axis not in mine)
    d, o = _size(cells.shape, mine), _size(cells.shape, out)

    def inputs(value: Any) -> Any:
        return value.transpose(free + theirs).reshape(-1, d)

    def outputs(value: Any) -> Any:
        if at == 0:  # a parameter's axes stand before those of what it is multiplied with
            turned = (*range(len(out), value.ndim), *range(len(out)))
            value = value.transpose(turned)
        return value.reshape(-1, o)

    return Call(equation.outputs[0], operand, inputs, outputs, cells.transpose(out + mine).reshape(-1))


def _convolution(flat: Flat, equation: FlatEquation, at: int, cells: np.ndarray) -> Call | None:
    params = equation.params
    plain = params["feature_group_count"] == params["batch_group_count"] == 1
    if at != 1 or not plain or any(step != 1 for step in params["lhs_dilation"] or ()):
        return None
    numbers = params["dimension_numbers"]
    read, kernel, given = (tuple(map(int, spec)) for spec in (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec))
    shape = tuple(cells.shape[axis] for axis in kernel)
    steps, spread = params["window_strides"], params["rhs_dilation"] or (1,) * (len(shape) - 2)
    padding = [(0, 0, 0), (0, 0, 0), *[(int(low), int(high), 0) for low, high in params["padding"]]]
    sizes = tuple(flat.shapes[equation.outputs[0]][axis] for axis in given[2:])

    def inputs(value: Any) -> Any:
        value = lax.pad(value.transpose(read), jnp.zeros((), value.dtype), padding)
        seen = []
        for corner in product(*map(range, shape[2:])):
            first = [here * apart for here, apart in zip(corner, spread, strict=True)]
            last = [here + step * (size - 1) + 1 for here, step, size in zip(first, steps, sizes, strict=True)]
            seen.append(lax.slice(value, (0, 0, *first), (*value.shape[:2], *last), (1, 1, *steps)))
        patches = jnp.moveaxis(jnp.stack(seen, axis=2), (1, 2), (-2, -1))  # (n, places…, channels, corners)
        return patches.reshape(-1, shape[1] * len(seen))

    def outputs(value: Any) -> Any:
        return value.transpose((given[0], *given[2:], given[1])).reshape(-1, shape[0])

    return Call(equation.outputs[0], equation.inputs[0], inputs, outputs, cells.transpose(kernel).reshape(-1))


def _embedding(flat: Flat, equation: FlatEquation, at: int, cells: np.ndarray) -> Call | None:
    numbers, sizes = equation.params["dimension_numbers"], tuple(equation.params["slice_sizes"])
    whole = numbers.collapsed_slice_dims == numbers.start_index_map == (0,) and sizes == (1, *cells.shape[1:])
    fill = equation.params.get("fill_value")
    if at != 0 or not whole or numbers.operand_batching_dims or not (fill is None or fill != fill):
        return None
    rank, within = len(flat.shapes[equation.outputs[0]]), tuple(numbers.offset_dims)
    order = (*[axis for axis in range(rank) if axis not in within], *within)
    width = _size(cells.shape, range(1, cells.ndim))

    def inputs(value: Any) -> Any:
        return jnp.clip(value.reshape(-1), 0, len(cells) - 1)

    def outputs(value: Any) -> Any:
        return value.transpose(order).reshape(-1, width)

    return Call(equation.outputs[0], equation.inputs[1], inputs, outputs, cells.reshape(-1), len(cells))


_CALLS: dict[str, Callable[[Flat, FlatEquation, int, np.ndarray], Call | None]] = {
    "dot_general": _dense,
    "conv_general_dilated": _convolution,
    "gather": _embedding,
}


def _size(shape: Sequence[int], axes: Any) -> int:
    return int(np.prod([shape[axis] for axis in axes], dtype=np.int64))
