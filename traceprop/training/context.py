"""The context around a training loop."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.stores import GradientBlocks
from traceprop.tracing.granularity import checked, training_granularity
from traceprop.training.adapter import AbstractAdapter, AbstractGradientAdapter, AbstractLinearAdapter
from traceprop.training.batched import Dataset, cut
from traceprop.training.by_function import FunctionAdapter, Gradients
from traceprop.training.checkpoints import Checkpoint, LinearPass, kept
from traceprop.training.data import check_lengths, plain_array, plain_features
from traceprop.training.logged import GradientLog, blocks_at
from traceprop.training.models import adapt
from traceprop.training.owners import Owners, plain_owners, row_owners
from traceprop.training.projection import Projection
from traceprop.training.saved import save_owners
from traceprop.training.step_gradients import AbstractStepGradients
from traceprop.training.steps import Steps
from traceprop.training.store import GradientStore
from traceprop.training.told_gradients import ToldBatchGradients, ToldSampleGradients


def training_context(
    model: Any = None,
    X_train: Any = None,
    y_train: Any = None,
    loss: Any = None,
    l2: float = 0.0,
    source_id: str | None = None,
    proj_dim: int | None = None,
    granularity: str | None = None,
    store: Any = None,
    projection: str = "sjlt",
    data: Dataset | None = None,
    reduction: str | None = None,
    gradients: Gradients | None = None,
) -> TrainingContext:
    """Keep per-sample gradients of the model that is trained inside the context, with the source rows they belong to.

        with tp.training_context(model, X_train, y_train, loss=loss, l2=1e-2) as ctx:
            train(model, X_train, y_train)
        engine = tp.attribution_engine(ctx.gradient_store)

    Parameters
    ----------
    model
        A torch module, JAX params (a pytree of arrays; hand the trained ones back by `ctx.model = params`), a
        scikit-learn LogisticRegression, Ridge or LinearRegression that is fitted before the context exits, or None,
        with gradients given to `ctx.log_gradient`.
    X_train, y_train
        The features (n, d) and targets (n,), lazy or plain. Lazy values bring their lineage; a plain array is a source
        of its own, called `source_id` or "X_train".
    loss
        For a torch module: `loss(model(x), y)`; for JAX params: `loss(params, x, y)`; one value per sample. A mean or a
        sum over the batch is recognised and undone.
    l2
        The coefficient of |w|^2 / 2 in what the user's loop adds to the *mean* loss, biases left out. scikit-learn
        models bring their own.
    proj_dim
        Project materialised gradients to this many dimensions, where that is fewer. Linear models keep exact
        factors, which are smaller.
    granularity
        What is kept of the way to the final model, whose gradients each of them has. "epoch", the default: the model at the
        end of each pass. "batch": the gradient of every step, as `.grad` holds it (one of more than 16,384 numbers by a
        projection that reads 2,048 of them, unless `proj_dim` says otherwise). "op": every sample's gradient at every
        step, from the loop's own backward pass. `ctx.gradient_store.steps` has the last two. None: the default in force.
    store
        Where materialised gradients go: a folder, which is made, or a `tp.stores.GradientBlocks`; None keeps them in
        memory. Logged gradients stream there, and those of the final model at exit, with their owners:
        `tp.stores.GradientBlocks(folder)` opens them in another process, and `tp.attribution_engine` asks them. Those of
        the steps stream into the folder `steps` in it.
    projection
        How `proj_dim` is reached: "sjlt", "sparse", "very-sparse", "masked", which store no matrix, or "gaussian";
        docs/attribution.md says what each costs and keeps.
    data
        A `tp.dataset`, in the place of X_train and y_train.
    reduction
        "mean" or "sum": how the loop's loss puts its samples' together. None: found out.
    gradients
        For a model of NumPy arrays (one, or a list or dict of them): gradients(model, X, y) gives the losses (m,) and
        gradients (m, p) of single samples. The loop changes the arrays in place, or hands new ones back by `ctx.model`.

    Raises
    ------
    ModelError
        The model has no trainable parameter, is not fitted, or has no known objective; lengths differ; features are
        not finite numbers; there is no such projection.
    """
    if data is not None:
        if X_train is not None or y_train is not None:
            raise ModelError("the training data are X_train and y_train, or data=; not both")
        X_train, y_train = data.X, data.y
        source_id = source_id or data.source_id
    chosen = Projection(1 if proj_dim is None else proj_dim, projection)
    shorter = None if proj_dim is None else chosen
    if not np.isfinite(l2) or l2 < 0:
        raise ModelError(f"l2 is the coefficient of a penalty, at least 0, not {l2!r}")
    if model is None and (loss is not None or l2):
        raise ModelError("loss= and l2= belong to a model; without one, log gradients with ctx.log_gradient")
    if model is not None and (X_train is None or y_train is None):
        raise ModelError("a model's gradients need X_train and y_train; without data, leave out the model as well")
    adapter = None
    if model is not None:
        if gradients is not None:
            adapter = FunctionAdapter(model, gradients, shorter)
        else:
            adapter = adapt(model, loss, float(l2), shorter)
        adapter.check()
    if (
        hasattr(X_train, "__len__")
        and isinstance(y_train, np.ndarray | list)
        and isinstance(X_train, np.ndarray | list)
    ):
        check_lengths(np.empty(len(X_train)), np.empty(len(y_train)), ("X_train", "y_train"))
    level = checked(granularity) if granularity is not None else training_granularity()
    log = GradientLog(blocks_at(store), shorter)
    if adapter is not None and len(log.blocks):
        raise ModelError(
            f"{log.blocks.place} hold gradients already, and those of a final model go to a new folder; to go on logging "
            "there, leave out the model"
        )
    return TrainingContext(
        adapter, X_train, y_train, source_id, log, level, store is not None, data, _Loop(loss, reduction, shorter)
    )


def _with_rows(loader: Any) -> Iterator[tuple[Any, Any, Any]]:
    """What a loader yields. Raises ModelError for batches without rows."""
    for batch in loader:
        if not isinstance(batch, tuple | list) or len(batch) != 3:
            found = f"{len(batch)} parts" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
            raise ModelError(f"a batch is (xb, yb, rows), as loaders over tp.dataset(X, y) yield it, not {found}")
        yield batch  # type: ignore[misc]


@dataclass(frozen=True)
class _Loop:
    """What is known of the user's loop: its loss, how that is reduced, and how gradients are projected."""

    loss: Any = None
    reduction: str | None = None
    projection: Projection | None = None


class TrainingContext:
    """See `training_context`. `gradient_store` is there after the context has exited without an error."""

    def __init__(
        self,
        adapter: AbstractAdapter | None,
        X: Any,
        y: Any,
        source_id: str | None,
        log: GradientLog,
        level: Any,
        stored: bool = False,
        data: Dataset | None = None,
        loop: _Loop | None = None,
    ) -> None:
        self.adapter = adapter
        self.granularity = level
        self._X, self._y = X, y
        self._source_id = source_id
        self._log = log
        self._stored = stored
        self._known_owners: Owners | None = None
        self._handed_back = False
        self._due = False
        """A pass has ended whose model is still to be handed back."""
        self._tensors: tuple[Any, Any] | None = None
        self._plain: tuple[np.ndarray, np.ndarray] | None = None
        self._logged = False
        self._steps = Steps(self._samples)
        self._given = data
        self._loop = loop or _Loop()
        self._recorder: AbstractStepGradients | None = None
        self._teller: ToldBatchGradients | ToldSampleGradients | None = None
        self._passes: list[LinearPass] = []
        self._whole: AbstractGradientAdapter | None = None
        self._store: GradientStore | None = None
        self._initial: Checkpoint | None = None
        self._epochs = 0
        self._checkpoints: list[Checkpoint] = []

    @property
    def model(self) -> Any:
        """The model that is being trained. Setting it hands back what training made of it: new JAX params."""
        return None if self.adapter is None else self.adapter.model

    @model.setter
    def model(self, model: Any) -> None:
        if self.adapter is None:
            raise ModelError(
                "the context was given no model, so there is none to hand back; give it to training_context"
            )
        self.adapter = self.adapter.with_model(model)
        self._handed_back = True
        if self._due:
            self.checkpoint()

    @property
    def gradient_store(self) -> GradientStore:
        """The gradients that were kept. Raises ModelError while the context is open, or where training failed."""
        if self._store is None:
            if self.granularity is None:
                raise ModelError('no gradients were kept: tracking is off (set_granularity(None)); set it to "default"')
            raise ModelError("the gradient store is made when the training context exits; use it after the with block")
        return self._store

    def batches(
        self,
        batch_size: int | Iterable[tuple[Any, Any, Any]],
        shuffle: bool = False,
        seed: int | None = 0,
        drop_last: bool = False,
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Yield (xb, yb, rows) once over the training data; rows are sample positions, int64 (b,).

        Given a number: tensors of the model's dtype for a torch module, else arrays; `seed` decides the order where
        `shuffle` is set. Given a loader, a `DataLoader` over `tp.dataset` for instance: what it yields, as it is.

        What a pass yields are the rows of the steps taken on it: a torch optimizer of the model's parameters tells of its
        steps by itself, any other loop by `ctx.step`. A pass that has ended is an epoch.
        """
        own, steps = isinstance(batch_size, int | np.integer), self._steps
        steps.begin(own)
        self._handed_back = False
        try:
            for batch in self._cut(batch_size, shuffle, seed, drop_last) if own else _with_rows(batch_size):
                if steps.current is not steps.counted:
                    steps.feed(batch)
                else:
                    steps.current = batch
                yield batch
        finally:
            steps.begin()
        self._epochs += 1
        self._tell_epoch()
        if isinstance(self._given, Dataset) and own:
            self._given.epoch += 1
        if self.granularity in ("op", "epoch"):
            changes = isinstance(self.adapter, AbstractGradientAdapter | AbstractLinearAdapter) or self.adapter is None
            if changes or self._handed_back:
                self.checkpoint()
            else:  # params that nobody can change in place: the loop hands those of this pass back when it is done with it
                self._due = True

    def _cut(
        self, batch_size: Any, shuffle: bool, seed: int | None, drop_last: bool
    ) -> Iterator[tuple[Any, Any, np.ndarray]]:
        """Batches of the context's own data."""
        X, y = self._data()
        order = np.random.default_rng(seed).permutation(len(X)) if shuffle else None
        convert = getattr(self.adapter, "tensors", None)
        if convert is not None:
            self._tensors = self._tensors or convert(X, y)
            X, y = self._tensors
        return cut(X, y, int(batch_size), order, drop_last)

    def checkpoint(self, epoch: int | None = None) -> None:
        """Keep the model as it is now, for estimators that follow training: a loop without `batches` calls it itself.

        `batches` does so at the end of each pass over the data. Linear models need none. `epoch` says how many passes
        there were so far, where `batches` does not count them.
        """
        self._due = False
        self._epochs = self._epochs if epoch is None else epoch
        self._tell_epoch()
        adapter = self.adapter
        if adapter is not None and not isinstance(adapter, AbstractGradientAdapter | AbstractLinearAdapter):
            adapter = self._at(adapter.model)  # what these params are is known once training is over
        if isinstance(adapter, AbstractGradientAdapter):
            last = self._checkpoints[-1].adapter if self._checkpoints else None
            if last is not None and np.array_equal(last.parameters(), adapter.parameters()):
                return
            self._checkpoints.append(Checkpoint(adapter.frozen(), self._epochs, len(self._steps.schedule)))
            self._checkpoints = kept(self._checkpoints)
        elif isinstance(self.adapter, AbstractLinearAdapter):
            self._passes.append(LinearPass(self.adapter.theta(), self._epochs, len(self._steps.schedule)))

    def _tell_epoch(self) -> None:
        if self._recorder is not None:
            self._recorder.epoch = self._epochs

    def step(self, loss: Any, rows: Any, gradient: Any = None, outputs: Any = None, model: Any = None) -> None:
        """Record that an optimizer step was taken on those samples, with that loss (or None); it takes none itself.

        Of a step that a torch optimizer told of by itself, this tells the loss. Of a torch module's steps the gradients are
        seen; a loop in NumPy or JAX may tell them, and those that the granularity does not keep are not looked at:

        gradient
            At "batch": the gradient of the step, (p,). At "op": those of single samples' own losses, (b, p).
        outputs
            At "op": the gradients of single samples' own losses in the outputs of a linear layer on the features, (b,) or
            (b, k). A sample's gradient is their outer product with its features, (k, d), and is kept as these factors.
        model
            At "op": the JAX params, or the arrays, that the step was taken from; gradients are taken there.
        """
        if self._teller is not None:
            self._teller.offered = gradient, outputs, model
        self._steps.told(loss, rows)

    def log_gradient(
        self,
        g: Any,
        sample_index: Any,
        weight: float = 1.0,
        epoch: int | None = None,
        step: int | None = None,
        loss: Any = None,
    ) -> None:
        """Log the gradient of one sample's loss, (p,), or of several, (b, p) with `sample_index` (b,).

        Gradients of one sample that are logged again, at another checkpoint, add up, times their `weight` (a learning
        rate, for instance): TracIn's sum over checkpoints, Pruthi et al. 2020.

        `epoch`, `step` and `loss` (one, or (b,)) are kept beside them; the first two are by default the passes and steps
        that the context has seen.
        """
        rows = self._samples(np.atleast_1d(np.asarray(sample_index)))
        if not self._logged:
            self._logged = True
            self._keep_owners()
        self._log.add(
            g,
            rows,
            weight,
            self._epochs if epoch is None else epoch,
            len(self._steps.schedule) if step is None else step,
            np.nan if loss is None else plain_array(loss, "the loss"),
        )

    def __enter__(self) -> TrainingContext:
        if self.granularity is not None:
            if self.adapter is not None:
                self._steps.watch(self.adapter.model)
                self._initial = self._as_it_begins()
            if self.granularity in ("op", "batch"):
                self._recorder = self._made_recorder()
                self._steps.recorded = self._recorder.step
                self._recorder.start()
        return self

    def _as_it_begins(self) -> Checkpoint | None:
        """A torch network before these samples; None of other models, and where its shapes are still to be found."""
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(self.adapter, AbstractGradientAdapter):
            return None
        module = self.adapter.model
        if not isinstance(module, torch.nn.Module) or any(map(torch.nn.parameter.is_lazy, module.parameters())):
            return None
        return Checkpoint(self.adapter.frozen(), 0, 0)

    def _made_recorder(self) -> AbstractStepGradients:
        """What keeps the steps' gradients: seen, of a torch module, or told by the loop."""
        torch = sys.modules.get("torch")
        blocks, schedule, projection = self._step_blocks(), self._steps.schedule, self._loop.projection
        if torch is None or self.adapter is None or not isinstance(self.adapter.model, torch.nn.Module):
            if self.granularity == "batch":
                self._teller = ToldBatchGradients(blocks, schedule, projection)
            else:
                self._teller = ToldSampleGradients(
                    blocks, schedule, projection, lambda: self._data()[0], self._of_model
                )
            return self._teller
        from traceprop.training.torch_reduction import Reduction
        from traceprop.training.torch_step_gradients import TorchBatchGradients, TorchSampleGradients

        module = self.adapter.model
        if self.granularity == "batch":
            return TorchBatchGradients(module, blocks, schedule, projection)
        reduction = Reduction(self._loop.loss, lambda: self._data()[1], self._loop.reduction)
        return TorchSampleGradients(
            module, blocks, schedule, projection, reduction, lambda: self._data()[0], self._steps.features
        )

    def _of_model(self, model: Any, samples: np.ndarray) -> np.ndarray:
        """Single samples' gradients at a model that the loop hands over."""
        if self.adapter is None:
            raise ModelError(
                "model= tells of the parameters that a step was taken from; the context was given no model"
            )
        X, y = self._data()
        return self._at(model).gradients(X[samples], y[samples])[1].astype(np.float32)

    def _at(self, model: Any) -> AbstractGradientAdapter:
        """What takes single samples' gradients at a model of the context's kind."""
        assert self.adapter is not None
        self._whole = self._whole or self.adapter.of_gradients(*self._data())
        found = self._whole.with_model(model)
        assert isinstance(found, AbstractGradientAdapter)
        return found

    def _step_blocks(self) -> GradientBlocks:
        """Where the steps' gradients go: beside the final model's, or in memory."""
        final = self._log.blocks
        if final.path is None:
            return GradientBlocks()
        blocks = GradientBlocks(final.path / "steps", None if final.dtype == "float64" else final.dtype)
        if self.granularity == "op" and self._X is not None:
            save_owners(blocks, self._owners(len(self._data()[0])), self._source_id)
        return blocks

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.granularity is not None:
                if self._recorder is not None:
                    self._recorder.flush()
                self._store = self._make_store()
                self._store.steps = None if self._recorder is None else self._recorder.blocks
        finally:
            self._steps.unwatch()
            if self._recorder is not None:
                self._recorder.stop()
                self._recorder.blocks.close()
            self._log.blocks.close()

    def _make_store(self) -> GradientStore:
        if self._logged or (self.adapter is None and len(self._log.blocks)):
            return self._logged_store()
        if self.adapter is None:
            raise ModelError("nothing to keep: give a model with its data, or log gradients with ctx.log_gradient")
        X, y = self._data()
        self.adapter = self.adapter.settled(X, y)
        store = GradientStore(
            self._owners(len(X)),
            self.adapter,
            X,
            y,
            granularity=self.granularity,
            schedule=self._steps.schedule,
            lazies=(self._X, self._y),
        )
        if isinstance(self.adapter, AbstractLinearAdapter):
            store.objective, store.theta = self.adapter.objective(X, y), self.adapter.theta()
            store.passes = self._passes or self._checkpoints
        else:
            self.adapter.one_number(X, y)  # a loss that fails is told of here, not at the first question
            self.checkpoint()
            store.checkpoints = store.passes = self._checkpoints
            store.initial, store.recipe = self._initial, self._steps.recipe
            if store.recipe is not None:
                store.recipe.lasted(len(X), store.schedule, self._epochs)
        if self._stored:
            self._keep_owners()
            self._log.add_final(self.adapter, X, y, self._epochs, len(self._steps.schedule))
            store.blocks = self._log.blocks
        return store

    def _logged_store(self) -> GradientStore:
        blocks = self._log.blocks
        blocks.flush()
        known = len(self._data()[0]) if self._X is not None else int(blocks.columns()["sample"].max()) + 1
        return GradientStore(
            self._owners(known), blocks=blocks, granularity=self.granularity, schedule=self._steps.schedule
        )

    def _keep_owners(self) -> None:
        """Save whose the gradients are before the first is written, so that a crash leaves both."""
        if self._log.blocks.path is not None:
            owners = None if self._X is None else self._owners(len(self._data()[0]))
            save_owners(self._log.blocks, owners, self._source_id)

    def _owners(self, n: int) -> Owners:
        if self._X is None:
            return plain_owners(n, self._source_id)
        if self._known_owners is None:
            self._known_owners = row_owners(self._X, self._y, n, self._source_id)
        return self._known_owners

    def _data(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute the training data, once."""
        if self._plain is None:
            if self._X is None:
                raise ModelError("the training context has no X_train")
            given = self._given.arrays if self._given is not None else (self._X, self._y)
            X = plain_features(given[0], "X_train")
            y = np.zeros(len(X)) if given[1] is None else plain_array(given[1], "y_train")
            check_lengths(X, y, ("X_train", "y_train"))
            self._plain = X, y
        return self._plain

    def _samples(self, rows: Any) -> np.ndarray:
        samples = np.asarray(rows)
        if samples.dtype.kind not in "iu" or samples.ndim > 1:
            raise ModelError(f"samples are positions of training rows, integers, not {samples.dtype} {samples.shape}")
        samples = np.atleast_1d(samples).astype(np.int64)
        n = len(self._data()[0]) if self._X is not None else None
        if (samples < 0).any() or (n is not None and (samples >= n).any()):
            bad = int(samples[(samples < 0) | (samples >= (n or np.inf))][0])
            raise ModelError(f"sample {bad} is out of range" + (f": there are {n} training rows" if n else ""))
        return samples
