"""Per-sample gradients on a Dask cluster: taken partition by partition where the rows are, and summed as trees."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.ir import ArrayType
from traceprop.passes.attribution.losses import Floats
from traceprop.runtime.dask import executor_for
from traceprop.runtime.dask.executor import DaskExecutor, on_cluster
from traceprop.runtime.dask.graph import FAN_IN, AbstractGraph, Ref
from traceprop.runtime.dask.inputs import AbstractInput, ClusterInput, ValueInput, bytes_of, even_edges
from traceprop.stores import GradientBlocks
from traceprop.tracing.lazy import Lazy
from traceprop.training.data import check_finite
from traceprop.training.logged import as_stored, blocks_at, told
from traceprop.training.projection import Projection
from traceprop.training.saved import opened, save_owners
from traceprop.training.store import GradientStore
from traceprop.training.travel import LinearModel, Network, model_to_send


def partitioned_gradients(
    gradient_store: GradientStore | GradientBlocks,
    executor: Any = "dask",
    batch_size: int | None = None,
    proj_dim: int | None = None,
    projection: str = "sjlt",
) -> PartitionedGradients:
    """Take the gradients of all samples on a Dask cluster, partition by partition; nothing runs before it is asked for.

        gradients = tp.partitioned_gradients(ctx.gradient_store, executor=client)
        gradients.gram()                          # G^T G, (p, p), summed as a tree
        gradients.products(test_gradient)         # G g, (n,)
        gradients.log("run/gradients")            # the log, for tp.attribution_engine

    Of a model: those of each sample's loss as training left the model, in the order of the framework's parameters. The model
    travels as arrays and import paths; training features that a Dask run left on this cluster stay in their partitions.
    Of logged gradients: the rows of the log, read by the workers from its folder.

    Parameters
    ----------
    gradient_store
        A training context's `ctx.gradient_store`, or the `tp.stores.GradientBlocks` that some process has written.
    executor
        A `dask.distributed.Client`, or "dask" for the current one.
    batch_size
        Rows of a partition; by default as many partitions as there are threads, and more where they get large.
    proj_dim, projection
        As in `tp.training_context`; by default as the store has them.

    Raises
    ------
    ModelError
        The model does not travel: JAX params, a class or a loss that workers cannot import, hooks, attributes that are no
        data. The message names it.
    ExecutionError
        There is no client, or one that is closed or asynchronous.
    """
    if isinstance(gradient_store, GradientBlocks):
        gradient_store = opened(gradient_store)
    runs = executor_for(executor, batch_size)
    if gradient_store.adapter is None:
        if proj_dim is not None:
            raise ModelError("the gradients are logged already, as they are; proj_dim is for gradients yet to be taken")
        return PartitionedGradients(_LogGraph(runs, gradient_store), gradient_store, None)
    chosen = None if proj_dim is None else Projection(proj_dim, projection)
    model, targets = model_to_send(gradient_store, chosen)
    return PartitionedGradients(_ModelGraph(runs, gradient_store, model, targets), gradient_store, model.projection)


class PartitionedGradients:
    """Gradients (n, p) of which each partition is on the cluster. See `partitioned_gradients`."""

    def __init__(self, graph: _AbstractGradientGraph, store: GradientStore, projection: Projection | None) -> None:
        self._graph = graph
        self._store = store
        self._projection = projection

    def __len__(self) -> int:
        """Give the number of gradients."""
        return self._graph.edges[-1]

    def gram(self) -> Floats:
        """G^T G, float64 (p, p): each partition's, added up as a tree."""
        found: Floats = self._graph.fetch(["gram"])[0]
        return found

    def products(self, gradients: Any) -> Floats:
        """Products with one gradient (p,) or several (t, p): float64 (n,) or (t, n), for each sample, of all that were logged.

        `gradients` are in the model's parameters, and are projected as the samples' are.
        """
        asked = self._in_kind(gradients)
        parts = self._graph.ask(np.atleast_2d(asked))
        total = np.zeros((len(np.atleast_2d(asked)), len(self._store)))
        for samples, found in parts:
            np.add.at(total.T, samples, found)
        return total if asked.ndim == 2 else total[0]

    def log(self, store: Any = None) -> GradientBlocks:
        """The gradients in blocks, in the order of the samples: in a folder, or in memory for None.

        They come here a partition at a time. A folder gets the lineage of the samples too, so that `tp.attribution_engine` of
        its blocks speaks of source rows.
        """
        if self._store.adapter is None:
            raise ModelError("the gradients are a log already; tp.stores.GradientBlocks.merge copies one")
        blocks = blocks_at(store)
        if len(blocks):
            raise ModelError(f"{blocks.place} hold gradients already; give a new folder")
        if blocks.path is not None:
            save_owners(blocks, self._store.owners, None)
        for name in self._graph.parts():
            losses, found, samples = self._graph.fetch([name])[0]
            size = self._graph.size
            shorter = self._projection is not None and self._projection.width(size) < size
            blocks.describe(size=size, projection=told(self._projection) if shorter else None)
            blocks.append(found, samples, 0, 0, losses)
        blocks.flush()
        return blocks

    def _in_kind(self, gradients: Any) -> Floats:
        if self._store.adapter is None:
            assert self._store.blocks is not None
            return as_stored(self._store.blocks, gradients)
        vectors = np.asarray(gradients, dtype=np.float64)
        size = self._graph.size
        if vectors.shape[-1:] != (size,):
            raise ModelError(f"the gradient has {vectors.shape[-1:]} numbers, but the model has {size} parameters")
        return vectors if self._projection is None else self._projection(vectors)


# -- the tasks ----------------------------------------------------------------------------------------------------------

Part = tuple[Floats, Floats, np.ndarray]
"""Of some samples: losses (m,), gradients (m, p), and which samples they are (m,)."""


class _AbstractGradientGraph(AbstractGraph):
    """Gradients by partition (`part0`, …), their Gram matrix, and products with what was asked. `size`: before projection."""

    size: int
    edges: list[int]

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._asked: np.ndarray | None = None
        self._questions = itertools.count()
        self._question = ""

    def parts(self) -> list[str]:
        """The names of the partitions."""
        return [f"part{k}" for k in range(len(self.edges) - 1)]

    def submit_parts(self) -> None:
        """Submits the tasks of the partitions."""
        raise NotImplementedError

    def submit_all(self) -> None:
        self.submit_parts()
        level = [Ref(self.submit(f"gram-of-{name}", gram_of, Ref(name))) for name in self.parts()]
        for height in itertools.count():
            groups = [level[k : k + FAN_IN] for k in range(0, len(level), FAN_IN)]
            if len(groups) == 1:
                self.submit("gram", added, groups[0])
                break
            level = [Ref(self.submit(f"gram-{height}-{k}", added, group)) for k, group in enumerate(groups)]
        if self._asked is not None:
            for name in self.parts():
                self.submit(f"{self._question}-{name}", products_of, Ref(name), self._asked)

    def ask(self, vectors: np.ndarray) -> list[tuple[np.ndarray, Floats]]:
        """For each partition its samples, and their products (m, t) with vectors (t, p)."""
        with self._lock:
            self._asked, self._question = vectors, f"products{next(self._questions)}"
            try:
                return self.fetch([f"{self._question}-{name}" for name in self.parts()])
            finally:
                self._asked = None


class _ModelGraph(_AbstractGradientGraph):
    """Of a model: rows of features and targets, and its gradients at them."""

    def __init__(
        self, executor: DaskExecutor, store: GradientStore, model: LinearModel | Network, targets: np.ndarray
    ) -> None:
        client = executor.client
        super().__init__(client)
        assert store.X is not None
        self._model = model
        self._features, self.edges = _features(executor, store)
        self._targets = ValueInput(targets)
        adapter = store.checkpoints[-1].adapter if store.checkpoints else store.adapter
        self.size = int(adapter.size) if hasattr(adapter, "size") else int(store.theta.size)  # type: ignore[union-attr]

    def submit_parts(self) -> None:
        model = Ref(self.submit("model", _hold, self._model))
        for k, (lo, hi) in enumerate(itertools.pairwise(self.edges)):
            if self.missing(f"part{k}"):
                self.send(
                    [
                        (f"features{k}", lambda lo=lo, hi=hi: self._features.part(lo, hi)),
                        (f"targets{k}", lambda lo=lo, hi=hi: self._targets.part(lo, hi)),
                    ]
                )
                self.submit(f"part{k}", gradients_of, model, Ref(f"features{k}"), Ref(f"targets{k}"), lo)


class _LogGraph(_AbstractGradientGraph):
    """Of a log: its blocks, a few at a time."""

    def __init__(self, executor: DaskExecutor, store: GradientStore) -> None:
        super().__init__(executor.client)
        assert store.blocks is not None
        self._blocks = store.blocks
        self._blocks.flush()
        rows = [len(block.columns) for block in self._blocks]
        size = self._blocks.about.get("size")
        self.size = int(size if size is not None else self._blocks.width or 0)
        self.edges = np.cumsum([0, *rows]).tolist()

    def submit_parts(self) -> None:
        path = self._blocks.path
        if path is not None:
            for k, name in enumerate(self.parts()):
                self.submit(name, block_of, str(path.absolute()), k)
            return
        lacking = [k for k, name in enumerate(self.parts()) if self.missing(name)]
        if lacking:
            held = list(self._blocks)
            self.send([(f"block{k}", lambda block=held[k]: ("send", _of_block(block))) for k in lacking])
            for k in lacking:
                self.submit(f"part{k}", _hold, Ref(f"block{k}"))


def _features(executor: DaskExecutor, store: GradientStore) -> tuple[AbstractInput, list[int]]:
    """The training features, where they are: on the cluster, in the partitions of the run that made them, or here."""
    assert store.X is not None
    lazy = store.lazies[0] if store.lazies is not None else None
    if isinstance(lazy, Lazy) and lazy.source is None and isinstance(lazy.type, ArrayType) and lazy.value.rank == 2:
        there = on_cluster(lazy, executor.client)
        if there is not None and there.edges[-1] == len(store.X) and executor.partition_rows is None:
            return ClusterInput(there), there.edges
    edges = even_edges(len(store.X), bytes_of(store.X), executor.threads, executor.partition_rows)
    return ValueInput(store.X), edges


def _hold(value: Any) -> Any:
    """What was sent, kept on the cluster."""
    return value


def gradients_of(model: LinearModel | Network, X: Any, y: np.ndarray, first: int) -> Part:
    """The gradients of some samples, the first of which is number `first`."""
    features = np.asarray(X)
    if not len(features):
        return np.empty(0), np.empty((0, 0)), np.empty(0, dtype=np.int64)
    check_finite(features, "X_train")
    losses, found = model.gradients(features, y)
    return losses, found, np.arange(first, first + len(features))


def block_of(path: str, number: int) -> Part:
    """One block of a log, in its folder."""
    block = next(itertools.islice(GradientBlocks(path), number, None))
    return _of_block(block)


def _of_block(block: Any) -> Part:
    return np.array(block.columns["loss"]), block.gradients(), np.array(block.columns["sample"])


def gram_of(part: Part) -> Floats | None:
    """G^T G of some samples; None of none."""
    gradients = part[1].astype(np.float64, copy=False)
    return gradients.T @ gradients if len(gradients) else None


def added(matrices: Sequence[Floats | None]) -> Floats | None:
    """Their sum, two neighbours at a time."""
    level = [matrix for matrix in matrices if matrix is not None]
    while len(level) > 1:
        pairs = [one + other for one, other in zip(level[::2], level[1::2], strict=False)]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return level[0] if level else None


def products_of(part: Part, vectors: np.ndarray) -> tuple[np.ndarray, Floats]:
    """The samples of a part, and the products (m, t) of their gradients."""
    gradients = part[1].astype(np.float64, copy=False)
    return part[2], gradients @ vectors.T if len(gradients) else np.empty((0, len(vectors)))
