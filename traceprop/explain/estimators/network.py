"""Estimators for networks: by gradients of every sample, as factors, at one checkpoint of training or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.estimators.base import AbstractEstimator, Found, subset_effects
from traceprop.passes.attribution.damping import (
    AbstractLeverages,
    Damping,
    by_held_out_loss,
    by_left_out_residuals,
    usual,
)
from traceprop.passes.attribution.ekfac import EKFAC
from traceprop.passes.attribution.factors import DenseFactors, LayerFactors, kernel, products, projected, squares, whole
from traceprop.passes.attribution.gauss_newton import AbstractGaussNewton, DualGaussNewton, PrimalGaussNewton
from traceprop.runtime.progress import progress
from traceprop.training.adapter import AbstractGradientAdapter
from traceprop.training.checkpoints import Checkpoint, spread
from traceprop.training.linearised import Linearised
from traceprop.training.store import GradientStore

Solver = AbstractGaussNewton | EKFAC
CHECKPOINTS = 5
LARGEST_KERNEL = 25_000
"""Training samples whose kernel (float32, 2.5 GB) and its factor are kept in memory."""
GRADIENTS = 1 << 31
"""Bytes that the gradients of all training samples may take, written out."""
HELD_OUT = 50
"""Test rows that say how large losses are on samples that training never saw; fewer say too little."""
DIMENSIONS = 2_048
NAMED = 6
TESTS = 1_024
"""Test rows that are looked at at a time, where their scores are not all wanted at once."""


class AbstractNetworkEstimator(AbstractEstimator):
    """Scores averaged over checkpoints of one training run (Pruthi et al. 2020), or of the model that it left.

    `others`: stores of networks that were trained independently on the same rows; each network counts as much as another.
    """

    several = True

    def __init__(
        self,
        store: GradientStore,
        outcome: str,
        checkpoints: int | None = None,
        others: Sequence[GradientStore] = (),
    ) -> None:
        super().__init__(store, outcome)
        asked = checkpoints if checkpoints is not None else CHECKPOINTS if self.several else 1
        runs = [spread(one.checkpoints, asked) for one in (store, *others)]
        self.runs = len(runs)
        self.checkpoints = [checkpoint for run in runs for checkpoint in run]
        self.shares = [np.float32(1 / (len(runs) * len(run))) for run in runs for _ in run]
        self._trained: dict[Checkpoint, Linearised] = {}
        self._kinds: set[str] = set()

    def training(self, checkpoint: Checkpoint) -> Linearised:
        """The training samples at a checkpoint; those of the last one asked for are kept."""
        if checkpoint not in self._trained:
            assert self.store.X is not None
            assert self.store.y is not None
            self._trained = {checkpoint: self.seen(checkpoint.adapter, self.store.X, self.store.y)}
            self._kinds.add(self._trained[checkpoint].kind)
            if len(self._kinds) > 1:
                raise ModelError(
                    f"the networks of an ensemble have losses of different kinds ({', '.join(sorted(self._kinds))}), whose "
                    "scores have no common mean"
                )
        return self._trained[checkpoint]

    def seen(self, adapter: AbstractGradientAdapter, X: np.ndarray, y: np.ndarray) -> Linearised:
        """Samples as this estimator looks at them."""
        return adapter.linearised(X, y)

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        return self._mean(lambda checkpoint: self.at(checkpoint, X, y)), "estimated", self.reason

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        return subset_effects(self.scores(X, y)[0], subsets), "estimated", self.reason

    def of_gradient(self, gradient: Any) -> Found:
        if self.runs > 1:
            raise ModelError(
                "a gradient is in the parameters of one model, and this is an ensemble; engine.scores and engine.explain "
                "take test rows"
            )

        def at(checkpoint: Checkpoint) -> np.ndarray:
            train = self.training(checkpoint)
            return self.of_products(checkpoint, self._products(checkpoint, train, gradient))

        return self._mean(at), "estimated", self.reason

    def _mean(self, at: Callable[[Checkpoint], np.ndarray]) -> np.ndarray:
        """The mean over checkpoints and networks, float32; a bar shows how many are done."""
        total: Any = None
        with progress(f"{self.name}, checkpoints", len(self.checkpoints)) as advance:
            for checkpoint, share in zip(self.checkpoints, self.shares, strict=True):
                found = np.multiply(at(checkpoint), share, dtype=np.float32)
                total = found if total is None else np.add(total, found, out=total)
                advance(1)
        return np.asarray(total)

    def _products(self, checkpoint: Checkpoint, train: Linearised, gradient: Any) -> np.ndarray:
        parts = checkpoint.adapter.by_layers(gradient, train.names)
        return products(train.layers, parts, len(train))

    def in_outcome(self, scores: np.ndarray, tests: Linearised) -> np.ndarray:
        """Scores for the tests' numbers, as scores for the outcome that was asked for: margins, or minus losses."""
        if self.outcome(tests.kind == "margin") == "margin":
            return scores
        return scores * -tests.slopes[:, None].astype(np.float32)

    def at(self, checkpoint: Checkpoint, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Scores at one checkpoint: float32 (t, n)."""
        raise NotImplementedError

    def of_products(self, checkpoint: Checkpoint, found: np.ndarray) -> np.ndarray:
        """Scores for minus a test loss at one checkpoint, by the products of its gradient with the samples': (n,)."""
        raise NotImplementedError

    @property
    def why(self) -> str:
        raise NotImplementedError

    @property
    def reason(self) -> str:
        """`why`, and of which parameters no layer was known."""
        names = next(iter(self._trained.values())).written_out if self._trained else ()
        if not names:
            return self.why
        listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        return f"{self.why}; {listed}: {self.without_layers}"

    without_layers = "no layer was found for these parameters, whose gradients were written out"

    @property
    def _where(self) -> str:
        many = len(self.checkpoints)
        if self.runs > 1:
            return f"averaged over {self.runs} networks, {many} checkpoints in all"
        return "at the trained parameters" if many == 1 else f"averaged over {many} checkpoints of the training run"


class NetworkDot(AbstractNetworkEstimator):
    """Dot products of loss gradients: what gradient descent on a sample would do (TracIn at one checkpoint)."""

    name = "dot"
    several = False

    def seen(self, adapter: AbstractGradientAdapter, X: np.ndarray, y: np.ndarray) -> Linearised:
        """By margins where there are some: the loss's gradient is a multiple of theirs, and the outcome's too."""
        try:
            return adapter.linearised(X, y)
        except ModelError:
            return adapter.of_losses(X, y)

    def at(self, checkpoint: Checkpoint, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        train, tests = self.training(checkpoint), self.seen(checkpoint.adapter, X, y)
        rows, others = self.part(tests.layers), self.part(train.layers)
        found = self.lengthless(kernel(rows, others, len(tests), len(train)), rows, others)
        return self.in_outcome(found * -self.weights(train), tests)

    def of_products(self, checkpoint: Checkpoint, found: np.ndarray) -> np.ndarray:
        return found * self.weights(self.training(checkpoint))

    def weights(self, train: Linearised) -> np.ndarray:
        """What turns gradients of the training samples' numbers into those of their losses."""
        return train.slopes.astype(np.float32)

    def part(self, layers: Sequence[LayerFactors]) -> Sequence[LayerFactors]:
        """The layers that count."""
        return layers

    def lengthless(self, found: np.ndarray, tests: Sequence[LayerFactors], train: Sequence[LayerFactors]) -> np.ndarray:
        """What is made of dot products (t, n)."""
        return found

    @property
    def why(self) -> str:
        return f"gradient dot products {self._where} ignore curvature: their order means something, their size does not"


class TracIn(NetworkDot):
    """`dot`, averaged over checkpoints (Pruthi et al. 2020, "Estimating training data influence by tracing gradient descent")."""

    name = "tracin"
    several = True


class NetworkCosine(NetworkDot):
    """Cosines between loss gradients: which samples pull the same way, however hard."""

    name = "cosine"

    def weights(self, train: Linearised) -> np.ndarray:
        return np.sign(train.slopes).astype(np.float32)

    def lengthless(self, found: np.ndarray, tests: Sequence[LayerFactors], train: Sequence[LayerFactors]) -> np.ndarray:
        for lengths in (squares(tests, len(found))[:, None], squares(train, found.shape[1])):
            found = found / np.sqrt(np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
        return found

    def in_outcome(self, scores: np.ndarray, tests: Linearised) -> np.ndarray:
        return scores if tests.kind == "margin" else scores * -np.sign(tests.slopes)[:, None].astype(np.float32)

    def of_gradient(self, gradient: Any) -> Found:
        scores, verdict, why = super().of_gradient(gradient)
        length = np.linalg.norm(self.checkpoints[-1].adapter.flattened(gradient))
        return scores / np.float32(length or 1.0), verdict, why

    def of_products(self, checkpoint: Checkpoint, found: np.ndarray) -> np.ndarray:
        train = self.training(checkpoint)
        lengths = np.sqrt(squares(train.layers, len(train)))
        return (found / np.where(lengths > 0, lengths, 1.0) * self.weights(train)).astype(np.float32)

    @property
    def why(self) -> str:
        return f"cosines between gradients {self._where} ignore curvature and size: only their order means something"


class LastLayer(NetworkDot):
    """`dot` of the gradients in the last dense layer alone."""

    name = "last-layer"

    def part(self, layers: Sequence[LayerFactors]) -> Sequence[LayerFactors]:
        dense = [layer for layer in layers if isinstance(layer, DenseFactors) and layer.inputs.shape[1] == 1]
        if not dense:
            raise ModelError("estimator='last-layer' needs a dense layer whose inputs are one row per sample")
        return dense[-1:]

    def of_products(self, checkpoint: Checkpoint, found: np.ndarray) -> np.ndarray:
        raise ModelError("estimator='last-layer' takes test rows (engine.scores, engine.explain), not a whole gradient")


class GaussNewtonInfluence(AbstractNetworkEstimator):
    """Influence by the damped Gauss-Newton matrix of all parameters, in the smaller of its forms.

    With more parameters than samples the dual one, samples by samples, without a gradient being formed; else the primal.
    """

    name = "influence"

    def __init__(
        self,
        store: GradientStore,
        outcome: str,
        checkpoints: int | None = None,
        damping: float | None = None,
        others: Sequence[GradientStore] = (),
    ) -> None:
        super().__init__(store, outcome, checkpoints, others)
        self._given = None if damping is None else Damping(float(damping), "as given")
        self._made: dict[Checkpoint, Solver] = {}
        self._damping: dict[Checkpoint, Damping] = {}
        self._by_held_out: set[Checkpoint] = set()
        self._check_size()

    def _check_size(self) -> None:
        if self._smaller() > LARGEST_KERNEL:
            raise ModelError(
                f"the kernel of {len(self.store):,} training rows takes more memory than is sensible; "
                "estimator='trak' projects the gradients instead"
            )

    def at(self, checkpoint: Checkpoint, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        train, tests = self.training(checkpoint), checkpoint.adapter.linearised(X, y)
        _check_curved(train)
        solver = self._solver(checkpoint, train, self._unseen_loss(X, tests.losses))
        return self.in_outcome(self.answer(solver, self.asked(tests, train)), tests)

    def answer(self, solver: Any, asked: Any) -> np.ndarray:
        return solver.scores(asked)

    def of_products(self, checkpoint: Checkpoint, found: np.ndarray) -> np.ndarray:
        train = self.training(checkpoint)
        _check_curved(train)
        return -self.answer(self._solver(checkpoint, train, None), found[None])[0]

    def _smaller(self) -> int:
        """Rows of the matrix: as many as there are samples, or as gradients have numbers, where those fit in memory."""
        samples, adapter = len(self.store), self.checkpoints[-1].adapter
        return adapter.size if 4 * samples * adapter.size <= GRADIENTS and adapter.size < samples else samples

    def _is_primal(self, train: Linearised) -> bool:
        return sum(layer.size for layer in train.layers) < len(train) > self._smaller()

    def made(self, train: Linearised) -> Solver:
        """The Gauss-Newton matrix of the training samples."""
        if self._is_primal(train):
            return PrimalGaussNewton(whole(train.layers), train.roots, train.residuals)
        dual = kernel(train.layers, train.layers, len(train), len(train))
        return DualGaussNewton(dual, train.roots, train.residuals)

    def asked(self, tests: Linearised, train: Linearised) -> Any:
        """Test samples as the matrix is asked about them."""
        if self._is_primal(train):
            return whole(tests.layers)
        return kernel(tests.layers, train.layers, len(tests), len(train))

    def _products(self, checkpoint: Checkpoint, train: Linearised, gradient: Any) -> np.ndarray:
        if not self._is_primal(train):
            return super()._products(checkpoint, train, gradient)
        return np.concatenate(checkpoint.adapter.by_layers(gradient, train.names)).astype(np.float32)

    def _solver(self, checkpoint: Checkpoint, train: Linearised, unseen: float | None) -> Solver:
        if checkpoint not in self._made:
            if len(self.checkpoints) > 1 and not self._affordable():
                self._made.clear()
            self._made[checkpoint] = self.made(train)
        solver = self._made[checkpoint]
        known = self._damping.get(checkpoint)
        if known is None or (unseen is not None and checkpoint not in self._by_held_out):
            self._damping[checkpoint] = self._given or self.found_damping(solver, train, unseen)
            if unseen is not None:
                self._by_held_out.add(checkpoint)
        solver.damp(self._damping[checkpoint].strength)
        return solver

    def found_damping(self, solver: Any, train: Linearised, unseen: float | None) -> Damping:
        """Find the damping, by the loss on samples that training never saw where there are some."""
        spectrum = solver.spectrum()
        if unseen is None:
            return by_left_out_residuals(spectrum, solver.mean, train.residuals)
        return _held_out_damping(spectrum, solver, train, unseen)

    def _affordable(self) -> bool:
        return 8 * len(self.store) * self._smaller() * len(self.checkpoints) <= 2 << 30

    def _unseen_loss(self, X: np.ndarray, losses: np.ndarray) -> float | None:
        """The mean loss of the test rows that are no training rows, where they are enough."""
        assert self.store.X is not None
        unseen = ~_among(X, self.store.X)
        return float(losses[unseen].mean()) if unseen.sum() >= HELD_OUT else None

    def prepare(self, X: np.ndarray, y: np.ndarray) -> None:
        """Find the damping by all test rows."""
        for checkpoint in self.checkpoints:
            train = self.training(checkpoint)
            _check_curved(train)
            parts = [slice(start, start + TESTS) for start in range(0, len(X), TESTS)]
            losses = [checkpoint.adapter.linearised(X[part], y[part]).losses for part in parts]
            self._solver(checkpoint, train, self._unseen_loss(X, np.concatenate(losses)))

    @property
    def why(self) -> str:
        strengths = [f"{damping.strength:.2g}" for damping in self._damping.values()]
        how = next(iter(self._damping.values())).how if self._damping else ""
        return (
            f"one Gauss-Newton step {self._where}, of a network that no minimum is known of; damping "
            f"{', '.join(strengths)} of the mean diagonal: {how}"
        )


class GaussNewtonNewton(GaussNewtonInfluence):
    """`influence` with the matrix of the samples that stay: leverages corrected, and for a set its own (`effect`)."""

    name = "newton"

    def _smaller(self) -> int:
        """Leverages of sets are samples by samples, whichever form the matrix has."""
        return len(self.store) if len(self.store) > LARGEST_KERNEL else super()._smaller()

    def answer(self, solver: Any, asked: Any) -> np.ndarray:
        return solver.scores_left_out(asked)

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        def at(checkpoint: Checkpoint) -> np.ndarray:
            train, tests = self.training(checkpoint), checkpoint.adapter.linearised(X, y)
            _check_curved(train)
            solver: Any = self._solver(checkpoint, train, self._unseen_loss(X, tests.losses))
            return self.in_outcome(solver.effects(self.asked(tests, train), subsets).T, tests).T

        return self._mean(at), "estimated", self.reason


class EkFac(GaussNewtonInfluence):
    """By a matrix that is diagonal in each layer's own basis (George et al. 2018; Grosse et al. 2023)."""

    name = "ekfac"
    without_layers = "no layer was found for these parameters, whose part of the matrix is taken to be diagonal"

    def _check_size(self) -> None:
        return

    def made(self, train: Linearised) -> EKFAC:
        return EKFAC(train.layers, train.roots, train.residuals)

    def asked(self, tests: Linearised, train: Linearised) -> Sequence[LayerFactors]:
        return tests.layers

    def found_damping(self, solver: EKFAC, train: Linearised, unseen: float | None) -> Damping:
        return usual() if unseen is None else _held_out_damping(solver, solver, train, unseen)

    def of_gradient(self, gradient: Any) -> Found:
        raise ModelError("estimator='ekfac' takes test rows (engine.scores, engine.explain), not a whole gradient")


class Trak(GaussNewtonInfluence):
    """The same of projected gradients, for training sets whose kernel is too large (Park et al. 2023, "TRAK").

    With phi the projected gradients of the margins and q_i = 1 - p_i, minus the loss's slope, a score is
    [phi_t^T (Phi^T S^2 Phi + l)^-1 phi_i] q_i. `average="factors"`: over checkpoints and networks, what stands in brackets and q
    are averaged apart, as in step 4 there, where there is no S. With it, a row of which one network is certain has
    a large bracket and a small q in that network, which belong together, so the mean of the scores ranks better.
    """

    name = "trak"

    def __init__(
        self,
        store: GradientStore,
        outcome: str,
        checkpoints: int | None = None,
        damping: float | None = None,
        others: Sequence[GradientStore] = (),
        average: str = "scores",
    ) -> None:
        super().__init__(store, outcome, checkpoints, damping, others)
        self._apart = average == "factors"

    def _check_size(self) -> None:
        return

    def made(self, train: Linearised) -> AbstractGaussNewton:
        return PrimalGaussNewton(self._projected(train), train.roots, train.residuals)

    def asked(self, tests: Linearised, train: Linearised) -> np.ndarray:
        return self._projected(tests)

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        if not self._apart:
            return super().scores(X, y)
        pulls = {}

        def at(checkpoint: Checkpoint) -> np.ndarray:
            found = self.at(checkpoint, X, y)
            pulls[checkpoint] = -self.training(checkpoint).slopes
            return found

        kernel = self._mean(at)
        kernel *= self._mean(pulls.__getitem__)
        return kernel, "estimated", self.reason

    def answer(self, solver: Any, asked: Any) -> np.ndarray:
        return solver.products(asked) if self._apart else super().answer(solver, asked)

    def _projected(self, samples: Linearised) -> np.ndarray:
        wanted = self.checkpoints[-1].adapter.dimensions or DIMENSIONS
        return projected(samples.layers, len(samples), min(wanted, sum(layer.size for layer in samples.layers)))

    def of_gradient(self, gradient: Any) -> Found:
        raise ModelError("estimator='trak' takes test rows (engine.scores, engine.explain), not a whole gradient")


def _held_out_damping(leverages: AbstractLeverages, solver: Solver, train: Linearised, unseen: float) -> Damping:
    def moved(by: np.ndarray) -> float:
        return float(train.loss_at(train.values + by).mean())

    return by_held_out_loss(leverages, solver.mean, train.roots, train.residuals, moved, unseen)


def _check_curved(train: Linearised) -> None:
    """Raise ModelError for a loss that is not curved: there is no Gauss-Newton matrix of it."""
    if not (train.curvatures > 0).any() or (train.curvatures < 0).any():
        raise ModelError(
            "the loss has no curvature in the model's output, or a negative one, so that there is no Gauss-Newton matrix; "
            "estimator='dot' and 'tracin' need none"
        )


def _among(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which rows stand among others, number for number: bool (t,)."""
    if rows.shape[1:] != others.shape[1:]:
        return np.zeros(len(rows), dtype=bool)
    known = {row.tobytes() for row in np.ascontiguousarray(others)}
    return np.array([row.tobytes() in known for row in np.ascontiguousarray(rows, dtype=others.dtype)], dtype=bool)
