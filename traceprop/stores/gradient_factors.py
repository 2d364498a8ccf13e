"""Factors of gradients as rows of a store: what each layer read and the gradient at its output, one behind the other.

A row of a store is one sample's factors at one step. Where a layer read the sample's own features, these are not repeated
in every row: they stand beside the blocks once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from traceprop.errors import StoreError
from traceprop.passes.attribution.factors import DenseFactors, EmbeddingFactors, LayerFactors, PlainGradients, products
from traceprop.passes.attribution.losses import Floats

KINDS = ("dense", "embedding", "plain")
DIGIT = 1024
"""Ids are kept as two digits, each over 1024: numbers below 1 that float16 holds exactly."""
PART = 1 << 24
"""Numbers of written-out gradients that are there at a time."""


@dataclass(frozen=True)
class LayerLayout:
    """How one layer's factors stand in a row.

    Attributes
    ----------
    kind
        "dense", "embedding", or "plain" for gradients written out.
    places
        (first, count) of each of the layer's parameters among all numbers of a gradient, in the layer's order.
    positions, inputs, outputs
        Per sample T positions, each with so many inputs and output gradients; of "plain", 1, 0 and the gradient's length.
    bias
        Whether the layer has one, which reads a 1.
    vocabulary
        Of an embedding: how many ids there are.
    given
        Whether the inputs are the sample's features, which no row repeats.
    """

    kind: str
    places: tuple[tuple[int, int], ...]
    positions: int
    inputs: int
    outputs: int
    bias: bool
    vocabulary: int
    given: bool

    def __post_init__(self) -> None:
        numbers = (self.positions, self.inputs, self.outputs, self.vocabulary, *np.ravel(self.places).tolist())
        if self.kind not in KINDS or any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError(f"no layer is laid out as {self}")
        if self.size != sum(count for _, count in self.places):
            raise ValueError(f"the parameters of {self} have another size than its factors")
        if self.kind == "embedding" and self.vocabulary > DIGIT * DIGIT:
            raise ValueError(f"an embedding of {self.vocabulary} ids, more than {DIGIT * DIGIT}")

    @property
    def size(self) -> int:
        """How many numbers the layer's gradient has."""
        if self.kind == "dense":
            return self.outputs * (self.inputs + self.bias)
        return self.outputs if self.kind == "plain" else self.vocabulary * self.outputs

    @property
    def read(self) -> int:
        """How many numbers of a row say what the layer read."""
        per_position = {"dense": self.inputs, "embedding": 2, "plain": 0}[self.kind]
        return 0 if self.given else self.positions * per_position

    @property
    def written(self) -> int:
        """How many numbers of a row are the gradients at its outputs."""
        return self.positions * self.outputs


def layout_of(layer: LayerFactors, places: Sequence[tuple[int, int]], given: bool) -> LayerLayout:
    """How a layer's factors are laid out."""
    at = tuple((int(first), int(count)) for first, count in places)
    if isinstance(layer, DenseFactors):
        _, positions, inputs = layer.inputs.shape
        return LayerLayout("dense", at, positions, inputs, int(layer.outputs.shape[2]), layer.bias, 0, given)
    if isinstance(layer, EmbeddingFactors):
        _, positions, outputs = layer.outputs.shape
        return LayerLayout("embedding", at, positions, 1, outputs, False, layer.vocabulary, given)
    return LayerLayout("plain", at, 1, 0, layer.size, False, 0, False)


@dataclass(frozen=True)
class FactorLayout:
    """How a row's numbers are several layers' factors. `powers`: each part is kept near 1, with a power of two beside it."""

    layers: tuple[LayerLayout, ...]
    size: int
    powers: bool = False

    def __post_init__(self) -> None:
        taken = sorted(place for layer in self.layers for place in layer.places)
        ends = np.cumsum([count for _, count in taken]).tolist()
        if [first for first, _ in taken] != [0, *ends[:-1]] or (ends or [0])[-1] != self.size:
            raise ValueError(f"the layers' parameters do not make up the {self.size} numbers of a gradient")

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return sum(layer.read + layer.written + 2 * self.powers for layer in self.layers)

    @property
    def given(self) -> bool:
        """Whether some layer read the sample's features."""
        return any(layer.given for layer in self.layers)

    def told(self) -> dict[str, Any]:
        """The layout as JSON holds it."""
        layers = [{**asdict(layer), "places": [list(place) for place in layer.places]} for layer in self.layers]
        return {"layers": layers, "size": self.size, "powers": self.powers}

    @classmethod
    def read(cls, told: Any) -> FactorLayout:
        """What `told` gave. Raises ValueError, TypeError or KeyError for anything else."""
        layers = tuple(
            LayerLayout(**{**layer, "places": tuple((first, count) for first, count in layer["places"])})
            for layer in told["layers"]
        )
        return cls(layers, int(told["size"]), bool(told["powers"]))

    def pack(self, layers: Sequence[LayerFactors]) -> np.ndarray:
        """Rows float32 (n, width) of the layers' factors. Raises StoreError for factors of other shapes."""
        parts: list[np.ndarray] = []
        for position, (layer, known) in enumerate(zip(layers, self.layers, strict=True)):
            if (found := layout_of(layer, known.places, known.given)) != known:
                raise StoreError(
                    f"the factors of layer {position} have other shapes than those before: {_shape(found)}, not "
                    f"{_shape(known)}; pad all samples to one length, or project (proj_dim=)"
                )
            read, written = _numbers(layer, known)
            if self.powers:
                (read, one), (written, two) = _near_one(read), _near_one(written)
                parts += [one, two]
            parts += [read, written]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def unpack(self, rows: np.ndarray, features: np.ndarray | None) -> list[LayerFactors]:
        """The layers' factors of rows (n, width); `features` (n, …) are those of the rows' samples."""
        found: list[LayerFactors] = []
        at = 0
        for layer in self.layers:
            powers = [np.ones((len(rows), 1), dtype=np.float32)] * 2
            if self.powers:
                powers = [np.exp2(np.rint(64 * rows[:, at + k : at + k + 1])) for k in range(2)]
                at += 2
            read = rows[:, at : at + layer.read]
            written = rows[:, at + layer.read : at + layer.read + layer.written]
            if self.powers:
                read, written = read * powers[0], written * powers[1]
            at += layer.read + layer.written
            found.append(_layer(layer, read, written, features))
        return found

    def flat(self, layers: Sequence[LayerFactors]) -> np.ndarray:
        """Whole gradients, float32 (n, size), in the order of the framework's parameters."""
        whole: np.ndarray | None = None
        for layer, known in zip(layers, self.layers, strict=True):
            own = layer.flat()
            whole = np.empty((len(own), self.size), dtype=np.float32) if whole is None else whole
            begin = 0
            for first, count in known.places:
                whole[:, first : first + count] = own[:, begin : begin + count]
                begin += count
        assert whole is not None
        return whole

    def cut(self, vector: Floats) -> list[Floats]:
        """One gradient (size,) by layers."""
        return [np.concatenate([vector[first : first + count] for first, count in at.places]) for at in self.layers]


@dataclass(frozen=True, eq=False)
class Factors:
    """What makes gradients of a store's rows: how they are laid out, and the features (n, …) that layers read."""

    layout: FactorLayout
    features: np.ndarray | None

    def layers(self, rows: np.ndarray, samples: np.ndarray) -> list[LayerFactors]:
        """The layers' factors of rows that are of those samples."""
        return self.layout.unpack(rows, None if self.features is None else self.features[samples])

    def gradients(self, rows: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """The rows' gradients, written out."""
        return self.layout.flat(self.layers(rows, samples))

    def products(self, rows: np.ndarray, samples: np.ndarray, vector: Floats) -> np.ndarray:
        """Dot products of the rows' gradients with one gradient: float32 (n,); no gradient is written out."""
        cut = self.layout.cut(vector)
        step = max(1, PART // max(1, self.layout.width + self._read))
        return np.concatenate(
            [
                products(self.layers(rows[k : k + step], samples[k : k + step]), cut, len(rows[k : k + step]))
                for k in range(0, len(rows), step)
            ]
            or [np.empty(0, dtype=np.float32)]
        )

    @cached_property
    def _read(self) -> int:
        """Numbers per row that come from the features."""
        return sum(layer.positions * layer.inputs for layer in self.layout.layers if layer.given)

    @property
    def step(self) -> int:
        """How many rows' gradients may be written out at a time."""
        return max(1, PART // self.layout.size)


def _numbers(layer: LayerFactors, known: LayerLayout) -> tuple[np.ndarray, np.ndarray]:
    """A layer's factors as two arrays (n, …): what it read, and the gradients at its outputs."""
    if isinstance(layer, PlainGradients):
        return layer.gradients[:, :0], layer.gradients
    n = len(layer.outputs)
    outputs = layer.outputs.reshape(n, known.written)
    if known.given:
        return outputs[:, :0], outputs
    if isinstance(layer, DenseFactors):
        return layer.inputs.reshape(n, known.read), outputs
    digits = np.stack(np.divmod(layer.ids, DIGIT), axis=-1)
    return (digits / np.float32(DIGIT)).astype(np.float32).reshape(n, known.read), outputs


def _layer(layer: LayerLayout, read: np.ndarray, written: np.ndarray, features: np.ndarray | None) -> LayerFactors:
    n = len(written)
    if layer.kind == "plain":
        return PlainGradients(np.ascontiguousarray(written, dtype=np.float32))
    outputs = np.ascontiguousarray(written.reshape(n, layer.positions, layer.outputs), dtype=np.float32)
    if layer.given:
        if features is None:
            raise StoreError("the features that the layers read are not beside the factors")
        inputs = features.reshape(n, layer.positions, layer.inputs)
    elif layer.kind == "dense":
        inputs = read.reshape(n, layer.positions, layer.inputs)
    if layer.kind == "dense":
        return DenseFactors(np.ascontiguousarray(inputs, dtype=np.float32), outputs, layer.bias)
    if layer.given:
        ids = inputs[:, :, 0].astype(np.int64)
    else:
        digits = np.rint(read.reshape(n, layer.positions, 2) * DIGIT).astype(np.int64)
        ids = digits[:, :, 0] * DIGIT + digits[:, :, 1]
    return EmbeddingFactors(ids, outputs, layer.vocabulary)


def _near_one(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows over a power of two, so that their largest number is near 1, and the exponent (n, 1) over 64."""
    if not values.shape[1]:
        return values, np.zeros((len(values), 1), dtype=np.float32)
    _, exponents = np.frexp(np.abs(values).max(axis=1, keepdims=True).astype(np.float64))
    exponents = np.clip(exponents, -126, 127).astype(np.float32)
    return values * np.exp2(-exponents), exponents / np.float32(64)


def _shape(layer: LayerLayout) -> str:
    return f"{layer.positions} positions of {layer.inputs} inputs and {layer.outputs} outputs"
