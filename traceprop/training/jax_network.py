"""A JAX network, seen through the equations of its loss: its layers, the number that decides a sample's loss, and their factors.

The loss of one sample is traced once. All of it that hangs on the parameters goes through some value; the earliest such is the
network's output, and what follows is a function of the output and the target. Zeros are added to what each layer gives, and
`vmap(grad)` in those zeros is the gradient at each layer's output, which with what the layer read makes up a sample's gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.factors import LayerFactors, PlainGradients
from traceprop.passes.attribution.losses import Floats
from traceprop.tracing.jax import flat
from traceprop.tracing.jaxpr.flat import Flat, rearranged
from traceprop.training.adapter import GRADIENT_BYTES
from traceprop.training.jax_layers import layers_of
from traceprop.training.jax_loss import SingleLoss, wide
from traceprop.training.linearised import Captured
from traceprop.training.loss import cross_entropy_of

ASKED = 256
"""Samples on which a loss is tried for what it is."""
TRIED = 8
CHUNK, CHUNK_CELLS = 512, 1 << 24
MOST_CLASSES = 1 << 16


class Network:
    """The loss of one sample as equations, for params of one structure and samples of one shape. Arithmetic is in float64.

    Parameters
    ----------
    loss
        Of one sample.
    params
        Whose structure and shapes count; `kind` is found at their values.
    X, y
        Samples to find out with what decides the loss.
    """

    def __init__(self, loss: SingleLoss, params: Any, X: np.ndarray, y: np.ndarray) -> None:
        self.loss = loss
        with_paths, self._tree = jax.tree_util.tree_flatten_with_path(params)
        self.names = [jax.tree_util.keystr(path, simple=True, separator=".") or "params" for path, _ in with_paths]
        self._trained = [k for k, (_, leaf) in enumerate(with_paths) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        with jax.enable_x64(True):
            leaves = jax.tree_util.tree_leaves(wide(params))
            x, target = self._samples(X[:1], y[:1])
            try:
                whole = flat(self.of_leaves, leaves, x[0], target[0])
            except (TypeError, ValueError, IndexError) as error:
                raise ModelError(f"loss(params, x, y) fails on a sample of shape {X.shape[1:]}: {error}") from error
        self._data = whole.inputs[-2:]
        self._parameters = {whole.inputs[k]: k for k in self._trained}
        self.flat = _without_penalty(whole, self._data)
        self.layers = layers_of(self.flat, self._parameters)
        factored = {leaf for layer in self.layers for leaf in layer.leaves}
        self._rest = [k for k in self._trained if k not in factored]
        self.functions: dict[str, Any] = {}
        """Compiled functions, by what they are for."""
        self.labels: Callable[[np.ndarray], np.ndarray | None] = _as_they_are
        self._asked = leaves, X[:ASKED].copy(), y[:ASKED].copy()

    @property
    def kind(self) -> Literal["margin", "output", "loss"]:
        """What decides a sample's loss: a margin under cross-entropy, a single output, or nothing less than the loss itself."""
        return self._decided[0]

    @property
    def _neck(self) -> int:
        """The value that it is made of."""
        return self._decided[1]

    @property
    def classes(self) -> int:
        """As many as there are labels."""
        return max(2, int(np.prod(self.flat.shapes[self._neck])))

    @property
    def written_out(self) -> tuple[str, ...]:
        """The parameters for which no layer was found, whose gradients have no factors."""
        return tuple(self.names[k] for k in self._rest)

    @property
    def layer_names(self) -> list[tuple[str, ...]]:
        """The parameters of each layer, and last those that are in none."""
        names = [tuple(self.names[k] for k in layer.leaves) for layer in self.layers]
        return [*names, self.written_out] if self._rest else names

    def of_leaves(self, leaves: Sequence[Any], x: Any, target: Any) -> Any:
        """The loss of one sample, as the user wrote it; traceable."""
        return self.loss(jax.tree_util.tree_unflatten(self._tree, leaves), x, target)

    def _samples(self, X: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        return jnp.asarray(self.loss.inputs(X)), jnp.asarray(self.loss.targets(y))

    # -- what decides the loss ----------------------------------------------------------------------------------------

    @cached_property
    def _decided(self) -> tuple[Literal["margin", "output", "loss"], int]:
        (leaves, X, y), tried = self._asked, self._candidates()
        self._asked = ([], X[:0], y[:0])
        if not tried:
            return "loss", self.flat.output
        targets = self.loss.targets(y)
        with jax.enable_x64(True):
            x, target = self._samples(X, y)
            of_many = jax.jit(jax.vmap(lambda x, t: self._values(leaves, x, t, tried)))
            found = [np.asarray(array).reshape(len(X), -1) for array in of_many(x, target)]
            for neck, outputs in zip(tried, found, strict=True):
                after = jax.jit(jax.vmap(lambda z, x, t, neck=neck: self.after(neck, z, leaves, x, t)))

                def losses(z: np.ndarray, _: np.ndarray, after: Any = after) -> np.ndarray:
                    return np.asarray(after(jnp.asarray(z), x, target))

                for labels in (_as_they_are, _of_signs, _of_one_hot):
                    encoded = labels(targets)
                    if encoded is not None and cross_entropy_of(losses, outputs, encoded) is not None:
                        self.labels = labels
                        return "margin", neck
        first = tried[0]
        single = int(np.prod(self.flat.shapes[first])) == 1 and self._computes_after(first)
        return ("output", first) if single else ("loss", self.flat.output)

    def _candidates(self) -> list[int]:
        """Values that all parameters go through on their way to the loss, those apart that show an earlier one's cells."""
        maker = {value: equation for equation in self.flat.equations for value in equation.outputs}
        found: list[int] = []
        for value in self.flat.necks(self._parameters):
            shape, cells = self.flat.shapes[value], np.zeros(self.flat.shapes[maker[value].inputs[0]], dtype=np.int8)
            shown = rearranged(maker[value], cells, shape) if maker[value].inputs[0] in found else None
            plain = jnp.issubdtype(self.flat.dtypes[value], jnp.floating) and int(np.prod(shape)) <= MOST_CLASSES
            if plain and (shown is None or shown.size != cells.size):
                found.append(value)
        return found[:TRIED]

    def _computes_after(self, neck: int) -> bool:
        """Whether the loss is more than a value's cells."""
        value = neck
        while value != self.flat.output:
            places = self.flat.uses[value]
            equation = self.flat.equations[places[0]]
            if len(places) > 1 or len(equation.inputs) > 1 or equation.name not in ("reshape", "squeeze"):
                return True
            value = equation.outputs[0]
        return False

    def _values(self, leaves: Sequence[Any], x: Any, target: Any, wanted: Sequence[int]) -> list[Any]:
        env = self.flat.run([*leaves, x, target], {}, {})
        return [env[value] for value in wanted]

    def after(self, neck: int, z: Any, leaves: Sequence[Any], x: Any, target: Any) -> Any:
        """The loss of one sample from the cells z of a value that decides it; traceable."""
        given = {neck: z.reshape(self.flat.shapes[neck])}
        return self.flat.run([*leaves, x, target], {}, given)[self.flat.output].reshape(())

    # -- numbers and their gradients ----------------------------------------------------------------------------------

    def number(self, kind: str, env: dict[int, Any], label: Any) -> Any:
        """The number of one sample, from the values of its loss: its margin, its output, or its loss; traceable."""
        if kind == "loss":
            return env[self.flat.output].reshape(())
        outputs = env[self._neck].reshape(-1)
        return margin(outputs, label) if kind == "margin" else outputs[0]

    def facts(self, leaves: Sequence[Any], x: Any, target: Any, label: Any) -> tuple[Any, Any, Any]:
        """Outputs (b, k), numbers (b,) and losses (b,) of samples, a penalty left out; traceable."""

        def one(x: Any, target: Any, label: Any) -> tuple[Any, Any, Any]:
            env = self.flat.run([*leaves, x, target], {}, {})
            return env[self._neck].reshape(-1), self.number(self.kind, env, label), self.number("loss", env, label)

        found: tuple[Any, Any, Any] = jax.vmap(one)(x, target, label)
        return found

    def trained(self, leaves: Sequence[Any]) -> list[Any]:
        """Those of all leaves that are trained."""
        return [leaves[k] for k in self._trained]

    def with_trained(self, leaves: Sequence[Any], trained: Sequence[Any]) -> list[Any]:
        """All leaves, those that are trained replaced."""
        found = list(leaves)
        for k, leaf in zip(self._trained, trained, strict=True):
            found[k] = leaf
        return found

    def captured(self, params: Any, X: np.ndarray, y: np.ndarray, kind: str) -> Captured:
        """The samples' numbers of a kind, with their gradients as factors in float32.

        Raises ModelError where parameters without factors would take too much memory.
        """
        self._check_room(len(X))
        values: list[np.ndarray] = []
        inputs: list[list[np.ndarray]] = [[] for layer in self.layers for _ in layer.calls]
        outputs: list[list[np.ndarray]] = [[] for _ in inputs]
        rest: list[np.ndarray] = []
        with jax.enable_x64(True):
            leaves = jax.tree_util.tree_leaves(wide(params))
            of_many = self._differentiated(kind)
            for count, x, target, label in self._chunks(X, y, kind):
                value, read, gradients, others = of_many(leaves, x, target, label)
                values.append(np.asarray(value)[:count])
                for kept, found in ((inputs, read), (outputs, gradients)):
                    for parts, part in zip(kept, found, strict=True):
                        parts.append(np.asarray(part)[:count])
                if self._rest:
                    rest.append(np.asarray(others)[:count])
        read_by_call, at_output = (map(np.concatenate, parts) for parts in (inputs, outputs))
        layers: list[LayerFactors] = []
        for layer in self.layers:
            calls = range(len(layer.calls))
            layers.append(layer.factors([next(read_by_call) for _ in calls], [next(at_output) for _ in calls]))
        if self._rest:
            layers.append(PlainGradients(np.concatenate(rest)))
        return Captured(np.concatenate(values), layers, self.layer_names, self.written_out)

    def in_order(self, vector: Floats) -> list[Floats]:
        """A gradient in all trained parameters (p,), as `captured` orders it, layer by layer."""
        by_leaf: dict[int, np.ndarray] = {}
        first = 0
        for k in self._trained:
            size = int(np.prod(self.flat.shapes[self.flat.inputs[k]]))
            by_leaf[k] = vector[first : first + size]
            first += size
        found = [
            np.concatenate([by_leaf[k][place] for k, place in zip(layer.leaves, layer.places, strict=True)])
            for layer in self.layers
        ]
        return [*found, np.concatenate([by_leaf[k] for k in self._rest])] if self._rest else found

    def _differentiated(self, kind: str) -> Any:
        """Numbers of many samples, what the layers read, and the gradients at their outputs and in all other parameters."""
        if kind in self.functions:
            return self.functions[kind]
        calls = [call for layer in self.layers for call in layer.calls]
        ending = self.flat.ending_at(self.flat.output if kind == "loss" else self._neck)
        needed = {value for equation in ending.equations for value in equation.outputs} | {*ending.inputs}
        shapes, dtypes = self.flat.shapes, self.flat.dtypes

        def one(moved: list[Any], rest: list[Any], leaves: list[Any], x: Any, target: Any, label: Any) -> Any:
            leaves = list(leaves)
            for k, leaf in zip(self._rest, rest, strict=True):
                leaves[k] = leaf
            added = dict(zip([call.value for call in calls], moved, strict=True))
            env = ending.run([*leaves, x, target], added, {})
            read = [call.inputs(env[call.operand]) for call in calls]
            small = [a.astype(jnp.float32) if jnp.issubdtype(a.dtype, jnp.floating) else a for a in read]
            return self.number(kind, env, label), [a[:, None] if a.ndim == 1 else a for a in small]

        of_one = jax.value_and_grad(one, argnums=(0, 1), has_aux=True)

        def many(leaves: list[Any], x: Any, target: Any, label: Any) -> Any:
            zeros = [jnp.zeros(shapes[call.value], dtypes[call.value]) for call in calls]
            rest = [leaves[k] for k in self._rest]
            axes = (None, None, None, 0, 0, 0)
            (value, read), (moved, others) = jax.vmap(of_one, axes)(zeros, rest, leaves, x, target, label)
            gradients = [jax.vmap(call.outputs)(part) for call, part in zip(calls, moved, strict=True)]
            flat_ = [part.reshape(len(x), -1) for part in others]
            whole = jnp.concatenate(flat_, axis=1).astype(jnp.float32) if flat_ else None
            return value, read, [part.astype(jnp.float32) for part in gradients], whole

        assert all(call.value in needed for call in calls)
        self.functions[kind] = jax.jit(many)
        return self.functions[kind]

    def _chunks(self, X: np.ndarray, y: np.ndarray, kind: str) -> Iterator[tuple[int, Any, Any, Any]]:
        """Samples a chunk at a time, how many they are, and their labels; filled up, as each size is compiled anew."""
        sizes = [int(np.prod(self.flat.shapes[call.value])) for layer in self.layers for call in layer.calls]
        most = max(1, min(CHUNK, CHUNK_CELLS // max(sum(sizes) + self._rest_size, 1)))
        size = min(most, 1 << max(len(X) - 1, 0).bit_length())
        targets = self.loss.targets(y)
        labels = self.labels(targets) if kind == "margin" else None
        labels = np.zeros(len(X), dtype=np.int64) if labels is None else labels
        inputs = self.loss.inputs(X)
        for start in range(0, len(X), size):
            at = np.minimum(np.arange(start, start + size), len(X) - 1)
            yield min(size, len(X) - start), jnp.asarray(inputs[at]), jnp.asarray(targets[at]), jnp.asarray(labels[at])

    @cached_property
    def _rest_size(self) -> int:
        return sum(int(np.prod(self.flat.shapes[self.flat.inputs[k]])) for k in self._rest)

    def _check_room(self, n: int) -> None:
        if 4 * n * self._rest_size > GRADIENT_BYTES:
            raise ModelError(
                f"gradients of {n:,} samples in {', '.join(self.written_out)} take {4 * n * self._rest_size / 2**30:.1f} GiB: "
                "no layer was found in what the loss makes of these parameters (a product with x, a convolution or a lookup, "
                "outside of scan and of functions with derivatives of their own), so that their gradients have no factors; "
                "write such layers out, or log projected gradients by hand with ctx.log_gradient"
            )

    # -- the loss as a function of the number -------------------------------------------------------------------------

    def terms(self, params: Any, values: Floats, X: np.ndarray, y: np.ndarray) -> tuple[Floats, Floats, Floats]:
        """Losses (n,) at single outputs (n,), and their first and second derivatives by them."""
        with jax.enable_x64(True):
            if "terms" not in self.functions:

                def loss(z: Any, leaves: list[Any], x: Any, target: Any) -> Any:
                    return self.after(self._neck, z, leaves, x, target)

                def both(z: Any, *others: Any) -> Any:
                    value, slope = jax.value_and_grad(loss)(z, *others)
                    return slope, (value, slope)

                def all_(z: Any, *others: Any) -> Any:
                    curvature, (value, slope) = jax.grad(both, has_aux=True)(z, *others)
                    return value, slope, curvature

                self.functions["terms"] = jax.jit(jax.vmap(all_, (0, None, 0, 0)))
            leaves = jax.tree_util.tree_leaves(wide(params))
            x, target = self._samples(X, y)
            found = self.functions["terms"](jnp.asarray(values), leaves, x, target)
            value, slope, curvature = (np.asarray(part) for part in found)
        return value, slope, curvature


def margin(outputs: Any, label: Any) -> Any:
    """log p_y / (1 - p_y) of the logits (k,) of one sample, or of its one logit (1,); traceable."""
    if len(outputs) == 1:
        return outputs[0] * (2.0 * label - 1.0)
    others = jnp.where(jnp.arange(len(outputs)) == label, -jnp.inf, outputs)
    return outputs[label] - jax.nn.logsumexp(others)


def _without_penalty(flat: Flat, data: Sequence[int]) -> Flat:
    """The loss less what is added to it that hangs on no sample, a penalty on the parameters."""
    hanging = flat.hanging_on(data)
    maker = {value: equation for equation in flat.equations for value in equation.outputs}
    value, found = flat.output, flat.output
    while value in maker:
        equation = maker[value]
        if equation.name == "add":
            sides = [side for side in equation.inputs if side in hanging]
            if len(sides) != 1:
                break
            value = found = sides[0]
        elif equation.name in ("reshape", "squeeze", "broadcast_in_dim") and len(equation.inputs) == 1:
            value = equation.inputs[0]
        else:
            break
    return flat.ending_at(found) if int(np.prod(flat.shapes[found])) == 1 else flat


def _as_they_are(targets: np.ndarray) -> np.ndarray | None:
    labels = targets.reshape(len(targets), -1)
    return (
        labels[:, 0].astype(np.int64) if labels.shape[1] == 1 and np.array_equal(labels, labels.astype(int)) else None
    )


def _of_signs(targets: np.ndarray) -> np.ndarray | None:
    labels = targets.reshape(len(targets), -1)
    return (labels[:, 0] > 0).astype(np.int64) if labels.shape[1] == 1 and np.isin(labels, (-1, 1)).all() else None


def _of_one_hot(targets: np.ndarray) -> np.ndarray | None:
    ones = targets.ndim == 2 and np.isin(targets, (0, 1)).all() and (targets.sum(axis=1) == 1).all()
    return targets.argmax(axis=1) if ones and targets.shape[1] > 1 else None
