"""The context around training on a stream that has no end."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.training.adapter import AbstractGradientAdapter
from traceprop.training.data import plain_array, plain_features
from traceprop.training.logged import final_gradients, told
from traceprop.training.models import adapt
from traceprop.training.projection import Projection
from traceprop.training.store import GradientStore
from traceprop.training.window import Window


def streaming_training_context(
    model: Any = None,
    window: int = 10_000,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = True,
    every: int | None = None,
    loss: Any = None,
    source_id: str = "stream",
    proj_dim: int | None = None,
    projection: str = "sjlt",
) -> StreamingTrainingContext:
    """Keep the gradients of the last `window` samples of an endless stream, each with its row of the stream.

        with tp.streaming_training_context(model, window=10_000, checkpoint="run/window.npz", loss=loss) as ctx:
            for xb, yb in stream(start=ctx.seen):
                ctx.log(xb, yb)                                     # per-sample gradients of the model as it is now
                train(model, xb, yb)
                if asked: tp.attribution_engine(ctx.gradient_store).attribute(test_gradient)

    Memory does not grow: a gradient takes the place of the oldest, in float32.

    Parameters
    ----------
    model, loss
        As `training_context` takes them, for `ctx.log`; None with gradients given to `ctx.log_gradient`.
    window
        How many gradients are kept.
    checkpoint
        A file that holds the window: written after every `every` gradients, and at the end, whole or not at all.
    resume
        Go on from the file, where there is one; `ctx.seen` tells how many gradients it has seen. False begins anew.
    every
        None: once per `window` gradients.
    source_id
        What the stream is called; `ctx.log(..., source_id=)` names another.
    proj_dim, projection
        As in `training_context`.

    Raises
    ------
    ModelError
        A window below 1, a model whose gradients cannot be taken, a checkpoint of gradients of another kind.
    CorruptError
        The checkpoint is damaged.
    """
    for name, number in (("window", window), ("every", every)):
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if number is not None and (not whole or number < 1):
            raise ModelError(f"{name} is a number of gradients, at least 1, not {number!r}")
    if model is None and loss is not None:
        raise ModelError("loss= belongs to a model; without one, log gradients with ctx.log_gradient")
    shorter = None if proj_dim is None else Projection(proj_dim, projection)
    adapter = None if model is None else adapt(model, loss, 0.0, shorter)
    if adapter is not None:
        adapter.check()
    path = None if checkpoint is None else Path(checkpoint)
    held = Window(window, {}) if path is None or not resume or not path.exists() else Window.load(path, window)
    return StreamingTrainingContext(adapter, held, path, every or window, source_id, shorter)


class StreamingTrainingContext:
    """See `streaming_training_context`. `gradient_store` can be asked for at any time, and is what the window holds then."""

    def __init__(
        self, adapter: Any, window: Window, path: Path | None, every: int, source_id: str, projection: Projection | None
    ) -> None:
        self._adapter = adapter
        self._window = window
        self._path = path
        self._every = every
        self._source_id = source_id
        self._projection = projection
        self._saved = window.seen

    @property
    def model(self) -> Any:
        """The model that is being trained. Setting it hands back what training made of it: new JAX params."""
        return None if self._adapter is None else self._adapter.model

    @model.setter
    def model(self, model: Any) -> None:
        if self._adapter is None:
            raise ModelError("the context was given no model, so there is none to hand back")
        self._adapter = self._adapter.with_model(model)

    @property
    def seen(self) -> int:
        """How many gradients ever came, those of the runs that this one goes on from included."""
        return self._window.seen

    @property
    def gradient_store(self) -> GradientStore:
        """The gradients in the window, the oldest first, with their rows. Raises ModelError where there are none yet."""
        if not len(self._window):
            raise ModelError("the stream has brought no gradient yet")
        return GradientStore(self._window.owners(), blocks=self._window.blocks())

    def log(
        self, x: Any, y: Any, rows: Any = None, step: Any = 0, epoch: Any = 0, source_id: str | None = None
    ) -> None:
        """Log the gradient of each sample of a batch, x (b, …) and y (b,), by the model as it is now.

        `rows`: which rows of the stream they are, (b,); None for the next ones.
        """
        if self._adapter is None:
            raise ModelError(
                "log takes the gradients of a model, and the context has none; ctx.log_gradient takes gradients"
            )
        X, targets = plain_features(x, "x"), plain_array(y, "y")
        adapter = self._adapter.settled(X, targets)
        if isinstance(adapter, AbstractGradientAdapter):
            adapter = adapter.frozen()  # an adapter remembers the model that it was first asked about
        for first, losses, gradients in final_gradients(adapter, X, targets):
            part = None if rows is None else np.asarray(rows)[first : first + len(losses)]
            if isinstance(adapter, AbstractGradientAdapter):
                self._add(gradients, adapter.size, part, epoch, step, losses, source_id)
            else:
                self.log_gradient(gradients, part, epoch=epoch, step=step, loss=losses, source_id=source_id)

    def log_gradient(
        self,
        g: Any,
        rows: Any = None,
        weight: float = 1.0,
        epoch: Any = 0,
        step: Any = 0,
        loss: Any = None,
        source_id: str | None = None,
    ) -> None:
        """Log the gradient of one sample's loss, (p,), or of several, (b, p) with `rows` (b,) of the stream."""
        gradients = np.atleast_2d(plain_array(g, "the gradient").astype(np.float64))
        if gradients.ndim != 2:
            raise ModelError(f"gradients are (p,) or (b, p), not of shape {gradients.shape}")
        shorter = gradients if self._projection is None else self._projection(gradients)
        self._add(weight * shorter, gradients.shape[1], rows, epoch, step, loss, source_id)

    def save(self) -> None:
        """Write the checkpoint now. Raises ModelError where the context has no file for it."""
        if self._path is None:
            raise ModelError("there is no file to save to; give checkpoint= to streaming_training_context")
        self._window.save(self._path)
        self._saved = self._window.seen

    def _add(
        self, gradients: np.ndarray, size: int, rows: Any, epoch: Any, step: Any, loss: Any, source_id: str | None
    ) -> None:
        shorter = self._projection is not None and self._projection.width(size) < size
        about = {"size": size, "projection": told(self._projection) if shorter else None}
        if self._window.about and self._window.about != about:
            raise ModelError(f"the window holds gradients of another kind: {self._window.about}, not {about}")
        self._window.about = about
        places = self.seen + np.arange(len(gradients)) if rows is None else np.atleast_1d(np.asarray(rows))
        if places.dtype.kind not in "iu" or places.shape != (len(gradients),) or (places < 0).any():
            raise ModelError(f"rows are {len(gradients)} row numbers of the stream, not {places.dtype} {places.shape}")
        self._window.add(
            gradients,
            source_id or self._source_id,
            places,
            epoch,
            step,
            np.nan if loss is None else plain_array(loss, "loss"),
        )
        if self._path is not None and self.seen - self._saved >= self._every:
            self.save()

    def __enter__(self) -> StreamingTrainingContext:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is not None and self.seen > self._saved:
            self.save()
