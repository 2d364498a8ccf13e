"""Gradients that the user's own backward pass leaves behind, against a loop over single samples."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import traceprop as tp
from traceprop.errors import ModelError
from traceprop.passes.attribution.factors import DenseFactors, EmbeddingFactors, PlainGradients
from traceprop.stores import GradientBlocks

torch = pytest.importorskip("torch")
nn = torch.nn
F = nn.functional

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


class Images(nn.Module):
    """Convolutions, in-place activations, a batch norm that is fixed, a parameter that no layer holds."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv1d(3, 4, 3)
        self.last = nn.Linear(4 * 7, 3)
        self.own = nn.Parameter(torch.eye(3) + 0.1)
        self.norm.eval()

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x):
        h = F.relu(self.norm(self.first(x[:, None])), inplace=True)
        return self.last(self.second(h.flatten(2)[:, :, :9]).flatten(1)) @ self.own


class Block(nn.Module):
    """A transformer block over tokens, batch first or sequence first."""

    def __init__(self, batch_first=True):
        super().__init__()
        self.batch_first = batch_first
        self.tokens = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, dropout=0.0)
        self.last = nn.Linear(8, 3)

    def forward(self, ids):
        h = self.tokens(ids)
        h = self.block(h) if self.batch_first else self.block(h.transpose(0, 1)).transpose(0, 1)
        return self.last(h.mean(1))


class Twice(nn.Module):
    """One layer in two places, and a table of embeddings that is also the last layer."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(11, 6)
        self.shared = nn.Linear(6, 6)

    def forward(self, ids):
        h = self.tokens(ids).mean(1)
        return F.linear(torch.tanh(self.shared(torch.tanh(self.shared(h)))), self.tokens.weight)


class Recurrent(nn.Module):
    """No factors are known for a GRU."""

    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(4, 5, batch_first=True)
        self.last = nn.Linear(5, 3)

    def forward(self, x):
        return self.last(self.recurrent(x)[0][:, -1])


def task(name, n=30):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    floats = lambda *shape: rng.normal(size=(n, *shape)).astype(np.float32)  # noqa: E731
    return {
        "linear": lambda: (nn.Linear(6, 3), floats(6), y),
        "mlp": lambda: (nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)), floats(6), y),
        "mlp in float64": lambda: (nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double(), floats(6), y),
        "images": lambda: (Images(), floats(8, 8), y),
        "block": lambda: (Block(), rng.integers(0, 11, (n, 7)), y),
        "sequence first": lambda: (Block(False), rng.integers(0, 11, (n, 7)), y),
        "twice": lambda: (Twice(), rng.integers(0, 11, (n, 5)), rng.integers(0, 11, n)),
    }[name]()


class Alone:
    """The gradients of single samples' losses, one backward pass each, at every step."""

    def __init__(self, model):
        self.model = model
        self.rows, self.gradients = [], []

    def __call__(self, xb, yb, rows):
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        # a copy's passes, so that the context sees none of them
        for k, row in enumerate(np.asarray(rows)):
            value = F.cross_entropy(torch.func.functional_call(self.copy(), {}, (xb[k : k + 1],)), yb[k : k + 1])
            found = torch.autograd.grad(value, self.parameters)
            self.gradients.append(np.concatenate([g.reshape(-1).numpy() for g in found]))
            self.rows.append(row)
        assert len(parameters) == len(self.parameters)

    def copy(self):
        from copy import deepcopy

        from traceprop.training.torch_hooks import without_hooks

        copy = without_hooks(deepcopy(self.model))
        self.parameters = [p for p in copy.parameters() if p.requires_grad]
        return copy


def train(ctx, model, batches, reduction="mean", alone=None, told=True, rate=0.1):
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    loss = nn.CrossEntropyLoss(reduction=reduction)
    for xb, yb, rows in batches:
        if alone is not None:
            alone(xb, yb, rows)
        optimizer.zero_grad()
        value = loss(model(xb), yb)
        value.backward()
        optimizer.step()
        if told:
            ctx.step(value, rows)


def recorded(model, X, y, passes=2, batch=8, reduction="mean", loss=None, told=True, **options):
    alone = Alone(model)
    with tp.training_context(model, X, y, loss=loss or nn.CrossEntropyLoss(), granularity="op", **options) as ctx:
        for epoch in range(passes):
            train(ctx, model, ctx.batches(batch, shuffle=True, seed=epoch), reduction, alone, told)
    return ctx.gradient_store, np.array(alone.rows), np.array(alone.gradients)


def check(steps, rows, expected):
    columns = steps.columns()
    np.testing.assert_array_equal(columns["sample"], rows)
    found = steps.gradients()
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-5 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", ["linear", "mlp", "mlp in float64", "images", "block", "sequence first", "twice"])
def test_gradients_are_those_of_a_loop_over_samples(name, reduction):
    model, X, y = task(name)
    store, rows, expected = recorded(model, X, y, reduction=reduction)
    check(store.steps, rows, expected)
    columns = store.steps.columns()
    assert columns["step"].tolist() == [s for s, (_, r) in enumerate(store.schedule) for _ in r]
    assert columns["epoch"].tolist() == [0] * 30 + [1] * 30
    np.testing.assert_allclose(
        columns["loss"], np.repeat([loss for loss, _ in store.schedule], [8, 8, 8, 6] * 2), rtol=1e-6
    )


@settings(max_examples=12, deadline=None)
@given(
    batch=st.integers(1, 31),
    reduction=st.sampled_from(["mean", "sum"]),
    of_context=st.sampled_from(["mean", "sum", "none"]),
    name=st.sampled_from(["mlp", "block", "images"]),
    told=st.booleans(),
)
def test_whatever_the_batches_and_the_losses(batch, reduction, of_context, name, told):
    model, X, y = task(name, 13)
    loss = nn.CrossEntropyLoss(reduction=of_context)
    store, rows, expected = recorded(model, X, y, 1, batch, reduction, loss, told)
    check(store.steps, rows, expected)


def test_which_layers_are_kept_as_factors():
    kinds = {}
    for name in ("mlp", "block", "images", "twice"):
        model, X, y = task(name)
        store, *_ = recorded(model, X, y, 1)
        layout = store.steps.factors.layout
        block = next(iter(store.steps))
        kinds[name] = [(type(layer), known.given) for layer, known in zip(block.layers(), layout.layers, strict=True)]
        assert layout.width == block.stored.shape[1] <= layout.size
    assert kinds["mlp"] == [(DenseFactors, True), (DenseFactors, False)]
    assert (EmbeddingFactors, True) in kinds["block"]
    assert (PlainGradients, False) in kinds["images"]
    assert (DenseFactors, False) in kinds["twice"]


def test_loops_feed_what_they_like():
    """Loaders (whose batches are copied), batches in a buffer that is used again, gradients that add up, several passes."""
    model, X, y = task("mlp")
    alone = Alone(model)
    buffer = torch.empty(10, 6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with tp.training_context(model, X, y, loss=nn.CrossEntropyLoss(), granularity="op") as ctx:
        loader = torch.utils.data.DataLoader(tp.dataset(X, y), batch_size=8, shuffle=True)
        train(ctx, model, ctx.batches(loader), alone=alone)
        for xb, yb, rows in ctx.batches(tp.dataset(X, y).loader(10)):
            buffer.copy_(xb)
            alone(buffer, yb, rows)
            optimizer.zero_grad()
            F.cross_entropy(model(buffer), yb).backward()
            optimizer.step()
        for k, (xb, yb, rows) in enumerate(ctx.batches(15)):
            alone(xb, yb, rows)
            F.cross_entropy(model(xb), yb).backward()
            if k % 2:
                optimizer.step()
                optimizer.zero_grad()
        optimizer.zero_grad()
        for xb, yb, rows in ctx.batches(15):
            alone(xb, yb, rows)
            with torch.no_grad():
                model(xb)  # an evaluation in between is none of it
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
            optimizer.zero_grad()
    check(ctx.gradient_store.steps, np.array(alone.rows), np.array(alone.gradients))
    assert [len(rows) for _, rows in ctx.gradient_store.schedule] == [8, 8, 8, 6, 10, 10, 10, 30, 15, 15]


def test_a_loss_times_a_number():
    """A gradient scaler's, or a share of the steps that are accumulated."""
    model, X, y = task("mlp")
    alone = Alone(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with tp.training_context(model, X, y, loss=nn.CrossEntropyLoss(), granularity="op") as ctx:
        for k, (xb, yb, rows) in enumerate(ctx.batches(10)):
            alone(xb, yb, rows)
            optimizer.zero_grad()
            (F.cross_entropy(model(xb), yb) * 2.0**k / 3).backward()
            optimizer.step()
    check(ctx.gradient_store.steps, np.array(alone.rows), np.array(alone.gradients))


def test_samples_that_go_through_twice_in_a_step():
    model, X, y = task("mlp")
    options = {"loss": nn.CrossEntropyLoss(), "granularity": "op"}
    for told in (None, "mean"):
        alone = Alone(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        context = tp.training_context(model, X, y, reduction=told, **options)
        refused = pytest.raises(ModelError, match="went through Sequential 2 times") if told is None else nullcontext()
        with refused, context as ctx:
            for xb, yb, rows in ctx.batches(15):
                alone(xb, yb, rows)
                optimizer.zero_grad()
                (2 * F.cross_entropy(model(xb), yb) - F.cross_entropy(model(xb), yb)).backward()
                optimizer.step()
    check(ctx.gradient_store.steps, np.array(alone.rows), np.array(alone.gradients))


def test_batches_that_are_changed_on_the_way():
    model, X, y = task("mlp")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with (
        pytest.raises(ModelError, match=r"read the batches of ctx\.batches as they came, and now reads others"),
        tp.training_context(model, X, y, loss=nn.CrossEntropyLoss(), granularity="op") as ctx,
    ):
        for k, (xb, yb, _) in enumerate(ctx.batches(15)):
            F.cross_entropy(model(xb if k == 0 else xb + 1), yb).backward()
            optimizer.step()
    alone = Alone(model)
    with tp.training_context(model, X, y, loss=nn.CrossEntropyLoss(), granularity="op") as ctx:
        train(ctx, model, ctx.batches(15))
        train(ctx, model, ctx.batches(tp.dataset(X, y).loader(15)))
        train(ctx, model, ((xb + 0, yb, rows) for xb, yb, rows in ctx.batches(15)), alone=alone)
    found = ctx.gradient_store.steps
    assert found.factors.layout.layers[0].given
    np.testing.assert_allclose(found.gradients()[60:], np.array(alone.gradients), rtol=1e-3, atol=1e-5)
    alone = Alone(model)
    with tp.training_context(model, X, y, loss=nn.CrossEntropyLoss(), granularity="op") as ctx:
        for xb, yb, rows in ctx.batches(15):
            xb += 1.0
            train(ctx, model, [(xb, yb, rows)], alone=alone)
    check(ctx.gradient_store.steps, np.array(alone.rows), np.array(alone.gradients))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_on_disk_and_in_another_object(tmp_path, dtype):
    model, X, y = task("mlp")
    _, rows, expected = recorded(model, X, y, store=GradientBlocks(tmp_path / "g", dtype=dtype))
    opened = GradientBlocks(tmp_path / "g" / "steps")
    assert opened.dtype == dtype
    assert opened.about["features"]
    assert opened.check() == 1
    np.testing.assert_array_equal(opened.columns()["sample"], rows)
    tolerance = {"float32": 1e-5, "float16": 3e-3}[dtype]
    np.testing.assert_allclose(opened.gradients(), expected, rtol=0, atol=tolerance * np.abs(expected).max())
    test = np.random.default_rng(1).normal(size=expected.shape[1])
    engine = tp.attribution_engine(opened)
    summed = np.zeros(30)
    np.add.at(summed, rows, expected @ test)
    answer = np.asarray(engine.attribute(test).scores)
    np.testing.assert_allclose(answer, summed, rtol=0, atol=10 * tolerance * np.abs(summed).max())
    top = engine.top_k(test_gradients=test[None], k=3)[0]
    assert [entry["sample_index"] for entry in top] == np.argsort(-answer)[:3].tolist()
    merged = GradientBlocks.merge(tmp_path / "m", [opened, opened])
    np.testing.assert_array_equal(merged.gradients(), np.concatenate([opened.gradients()] * 2))
    (tmp_path / "g" / "steps" / "features.npy").write_bytes(b"\x93NUMPY nothing")
    with pytest.raises(tp.errors.CorruptError, match=r"features\.npy"):
        GradientBlocks(tmp_path / "g" / "steps").check()


@pytest.mark.parametrize("kind", ["sjlt", "masked", "sparse"])
@pytest.mark.parametrize("name", ["block", "mlp", "images"])
def test_projected_as_whole_gradients_would_be(name, kind):
    from traceprop.training.projection import Projection

    model, X, y = task(name)
    store, _, expected = recorded(model, X, y, 1, proj_dim=20, projection=kind)
    projected = Projection(20, kind)(expected.astype(np.float32))
    assert store.steps.width == 20
    np.testing.assert_allclose(store.steps.gradients(), projected, rtol=2e-3, atol=2e-4 * np.abs(projected).max())


class TestBatches:
    def test_one_gradient_per_step(self, tmp_path):
        model, X, y = task("mlp")
        given = []
        with tp.training_context(
            model, X, y, loss=nn.CrossEntropyLoss(), granularity="batch", store=tmp_path / "g"
        ) as ctx:
            optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
            for xb, yb, _ in ctx.batches(8, shuffle=True):
                optimizer.zero_grad()
                F.cross_entropy(model(xb), yb).backward()
                given.append(np.concatenate([p.grad.reshape(-1).numpy() for p in model.parameters()]))
                optimizer.step()
        for steps in (ctx.gradient_store.steps, GradientBlocks(tmp_path / "g" / "steps")):
            np.testing.assert_allclose(steps.gradients(), np.array(given), rtol=1e-6)
            assert steps.columns()["step"].tolist() == [0, 1, 2, 3]
            assert steps.about["of"] == "batches"

    def test_is_the_mean_of_its_samples(self):
        found = {}
        for level in ("op", "batch"):
            model, X, y = task("mlp")
            with tp.training_context(model, X, y, loss=nn.CrossEntropyLoss(), granularity=level) as ctx:
                train(ctx, model, ctx.batches(8, shuffle=True))
            found[level] = ctx.gradient_store.steps
        of_step = found["op"].columns()["step"]
        means = np.stack([found["op"].gradients()[of_step == k].mean(0) for k in range(4)])
        np.testing.assert_allclose(found["batch"].gradients(), means, rtol=1e-3, atol=1e-6)

    def test_long_ones_are_kept_by_some_of_their_numbers(self):
        from traceprop.training.projection import Projection

        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(200, 100), nn.Tanh(), nn.Linear(100, 3))
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(20, 200)).astype(np.float32), rng.integers(0, 3, 20)
        with tp.training_context(model, X, y, loss=nn.CrossEntropyLoss(), granularity="batch") as ctx:
            train(ctx, model, ctx.batches(20))
        steps = ctx.gradient_store.steps
        whole = np.concatenate([p.grad.reshape(-1).numpy() for p in model.parameters()])
        np.testing.assert_allclose(steps.gradients()[0], Projection(512, "masked")(whole), rtol=1e-5, atol=1e-7)
        assert steps.about["projection"]["kind"] == "masked"


class TestRefused:
    def test_batch_norm_in_train_mode(self):
        model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
        _, X, y = task("mlp")
        context = tp.training_context(model, X, y, loss=nn.CrossEntropyLoss(), granularity="op")
        with (
            pytest.raises(ModelError, match=r"1 \(BatchNorm1d\) is in train mode.*no gradient of its own"),
            context as ctx,
        ):
            train(ctx, model, ctx.batches(8))
        model.eval()
        store, rows, expected = recorded(model, X, y, 1)
        check(store.steps, rows, expected)

    def test_what_cannot_be_known(self):
        model, X, y = task("mlp")
        weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 1.0]))
        loss = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with (
            pytest.raises(ModelError, match="not those of loss= times one number"),
            tp.training_context(model, X, y, loss=loss, granularity="op") as ctx,
        ):
            for xb, yb, _ in ctx.batches(8):
                weighted(model(xb), yb).backward()
                optimizer.step()
        with (
            pytest.raises(ModelError, match="without a backward pass through Sequential"),
            tp.training_context(model, X, y, loss=loss, granularity="op") as ctx,
        ):
            ctx.step(0.0, np.arange(8))
        with (
            pytest.raises(ModelError, match="said to be on 4 samples, but the model saw 8"),
            tp.training_context(model, X, y, loss=loss, granularity="op") as ctx,
        ):
            loss(model(torch.from_numpy(X[:8])), torch.from_numpy(y[:8])).backward()
            ctx.step(0.0, np.arange(4))

    def test_parameters_without_factors_and_without_a_way_round(self):
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(12, 6, 4)).astype(np.float32), rng.integers(0, 3, 12)
        with pytest.raises(ModelError, match=r"recurrent\.weight_ih_l0.*torch\.func cannot"):
            recorded(Recurrent(), X, y, 1)


def test_nothing_stays_behind():
    from torch.optim.optimizer import _global_optimizer_post_hooks

    model, X, y = task("mlp")
    before = len(_global_optimizer_post_hooks)
    store, *_ = recorded(model, X, y, 1)
    parts = [model, *[one.adapter.model for one in store.checkpoints]]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in parts)
    assert len(_global_optimizer_post_hooks) == before
    for level in ("epoch", "batch"):
        with tp.training_context(model, X, y, loss=nn.CrossEntropyLoss(), granularity=level):
            assert not model._forward_hooks, "what is not recorded is not there"
