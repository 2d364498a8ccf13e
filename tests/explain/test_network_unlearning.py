"""Unlearning in networks, compared with networks that never saw the rows."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

import traceprop as tp
from tests.explain.test_networks import points, trained
from traceprop.errors import LineageError, ModelError, NothingToForgetError

torch = pytest.importorskip("torch")
nn = torch.nn
EPOCHS = 40


@pytest.fixture(scope="module")
def ring():
    return (*points(90, 1), *points(60, 2))


@pytest.fixture(scope="module")
def original(ring):
    return trained(*ring[:2], epochs=EPOCHS)


@pytest.fixture
def store(original):
    return original[1]


@pytest.fixture(scope="module")
def most(ring, original):
    """The rows that move the test margins most."""
    scores = np.asarray(tp.attribution_engine(original[1], checkpoints=1).scores(*ring[2:]))
    return np.sort(np.argsort(-np.abs(scores).mean(axis=0))[:8])


@pytest.fixture(scope="module")
def retrained(ring, most):
    """Three networks of other seeds, trained without those rows."""
    stay = np.setdiff1d(np.arange(90), most)
    return [trained(*ring[:2], epochs=EPOCHS, rows=stay, seed=seed)[0] for seed in (1, 2, 3)]


def logits(model, X):
    with torch.no_grad():
        out = model(torch.from_numpy(X)).numpy()
    return out - out.mean(axis=1, keepdims=True)


def distance(model, others, X):
    return float(np.mean([np.abs(logits(model, X) - logits(other, X)).mean() for other in others]))


def parameters(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().numpy()


class TestNearer:
    @pytest.mark.parametrize(
        ("method", "left"), [("auto", 0.7), ("matching", 0.85), ("rewind", 0.9), ("gauss-newton", 0.8)]
    )
    def test_both_distances_to_retrained_networks_fall(self, method, left, ring, original, store, most, retrained):
        X, _, X_test, _ = ring
        result = tp.unlearn(gradient_store=store, rows=most, method=method)
        assert distance(result.model, retrained, X[most]) < left * distance(original[0], retrained, X[most])
        assert distance(result.model, retrained, X_test) < distance(original[0], retrained, X_test)
        assert result.influence_after < 0.6 * result.influence_before
        assert result.verdict == "estimated"
        assert result.verified is (method == "auto")
        np.testing.assert_array_equal(parameters(store.model), parameters(original[0]))

    @pytest.mark.parametrize("method", ["ssd", "scrub", "finetune", "ascent"])
    def test_the_others_say_what_they_are(self, method, store, most):
        result = tp.unlearn(gradient_store=store, rows=most, method=method)
        assert result.verdict == "estimated"
        assert not result.verified
        assert np.isfinite(result.metrics["forget_loss_after"])
        assert method in result.compliance_report["method"]
        json.dumps(result.compliance_report)

    def test_the_same_seed_gives_the_same_network(self, store, most):
        one, two, other = (
            parameters(tp.unlearn(gradient_store=store, rows=most, seed=seed).model) for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, other)

    def test_a_single_output_under_another_loss(self, ring):
        X = ring[0]
        target = np.square(X).sum(axis=1)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        loss = lambda out, y: (out.squeeze(-1) - y) ** 2  # noqa: E731
        optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
        with tp.training_context(model, X, target, loss=loss) as ctx:
            for epoch in range(20):
                for xb, yb, _ in ctx.batches(16, shuffle=True, seed=epoch):
                    optimizer.zero_grad()
                    loss(model(xb), yb).mean().backward()
                    optimizer.step()
        far = np.argsort(-target)[:5]
        result = tp.unlearn(gradient_store=ctx.gradient_store, rows=far)
        assert result.verdict == "estimated"
        assert result.influence_after < result.influence_before


class TestReplay:
    def run(self, ring, rows=None, first=None, momentum=0.0):
        """A run whose record is whole; the rows of `first` come in the first pass only from then on."""
        X, y = ring[:2]
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
        loss, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.3, momentum=momentum)
        rng = np.random.default_rng(0)
        with tp.training_context(model, X, y, loss=loss, source_id="ring") as ctx:
            ctx.checkpoint()
            for epoch in range(4):
                for at in np.array_split(rng.permutation(90), 6):
                    at = at[~np.isin(at, [7, 8])] if epoch < 2 else at
                    stay = at if rows is None else at[~np.isin(at, rows)]
                    optimizer.zero_grad()
                    value = loss(model(torch.from_numpy(X[stay])), torch.from_numpy(y[stay]))
                    value.backward()
                    optimizer.step()
                    ctx.step(value, at)
                ctx.checkpoint(epoch + 1)
        return model, ctx.gradient_store

    @pytest.mark.parametrize(("rows", "start"), [([3, 40], 0), ([7, 8], 12)])
    def test_it_is_the_run_without_the_rows(self, ring, rows, start):
        _, store = self.run(ring)
        result = tp.unlearn(gradient_store=store, rows=rows, optimizer=lambda p: torch.optim.SGD(p, lr=0.3))
        np.testing.assert_allclose(parameters(result.model), parameters(self.run(ring, rows)[0]), atol=1e-6)
        assert result.verdict == "exact"
        assert result.verified
        assert result.metrics["replayed_from"] in range(start, start + 6)

    def test_another_optimizer_than_the_runs_is_found_out(self, ring):
        _, store = self.run(ring, momentum=0.9)
        with pytest.raises(ModelError, match="does not find its way"):
            tp.unlearn(gradient_store=store, rows=[3], method="replay", optimizer=lambda p: torch.optim.SGD(p, lr=0.3))
        result = tp.unlearn(gradient_store=store, rows=[3], optimizer=lambda p: torch.optim.SGD(p, lr=0.3))
        assert result.verdict != "exact"

    def test_the_optimizer_that_was_seen_replays_with_its_own_rates(self, ring):
        """Nobody says which optimizer it was, nor that its rate fell, nor keeps a checkpoint before the start."""
        X, y = ring[:2]

        def run(rows=()):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
            optimizer = torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.8, 0.99), weight_decay=0.01)
            with tp.training_context(model, X, y, loss=nn.CrossEntropyLoss()) as ctx:
                for epoch in range(3):
                    for _, _, at in ctx.batches(16, shuffle=True, seed=epoch):
                        optimizer.zero_grad()
                        stay = at[~np.isin(at, rows)]
                        nn.CrossEntropyLoss()(model(torch.from_numpy(X[stay])), torch.from_numpy(y[stay])).backward()
                        optimizer.step()
                    optimizer.param_groups[0]["lr"] = 0.05 / (epoch + 1)
            return model, ctx.gradient_store

        result = tp.unlearn(gradient_store=run()[1], rows=[3, 40], method="replay")
        np.testing.assert_allclose(parameters(result.model), parameters(run([3, 40])[0]), atol=1e-6)
        assert (result.verdict, result.verified) == ("exact", True)

    def test_what_is_missing_is_named(self, ring, store):
        blind = replace(store, recipe=None)
        with pytest.raises(ModelError, match="optimizer="):
            tp.unlearn(gradient_store=blind, rows=[3], method="replay")
        with pytest.raises(ModelError, match=r"before\s+training starts"):
            tp.unlearn(gradient_store=replace(store, initial=None), rows=range(40), method="replay")


class TestCompressedReplay:
    """Training again by the recipe that was seen, in fewer steps; the rows have no part in it."""

    def test_it_never_sees_the_rows(self, ring, most):
        """Whatever the labels of the rows that go are, the network is the same, bit by bit."""
        X, y = ring[:2]
        other = y.copy()
        found = []
        for labels in (y, other):
            _, store = trained(X, labels, epochs=4)
            result = tp.unlearn(gradient_store=store, rows=most, method="compressed-replay")
            found.append(parameters(result.model))
            assert result.metrics["compressed_steps"] < result.metrics["recorded_steps"] / 2
            assert result.influence_after == 0.0 < result.influence_before
            assert "had no part in it" in result.why
            other[most] = 1 - other[most]
        np.testing.assert_array_equal(*found)

    def test_a_loop_of_ones_own_is_enough(self, ring):
        """Steps are seen without ctx.batches; how many passes they were is told once, at the end."""
        X, y = torch.from_numpy(ring[0]), torch.from_numpy(ring[1])
        model, loss = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)), nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        with tp.training_context(model, *ring[:2], loss=loss) as ctx:
            for _ in range(5):
                for at in torch.randperm(90).split(30):
                    optimizer.zero_grad()
                    loss(model(X[at]), y[at]).backward()
                    optimizer.step()
        with pytest.raises(ModelError, match="how long training was"):
            tp.unlearn(gradient_store=ctx.gradient_store, rows=[3], method="compressed-replay")
        with tp.training_context(model, *ring[:2], loss=loss) as ctx:
            for _ in range(5):
                for at in torch.randperm(90).split(30):
                    optimizer.zero_grad()
                    loss(model(X[at]), y[at]).backward()
                    optimizer.step()
            ctx.checkpoint(5)
        recipe = ctx.gradient_store.recipe
        assert (recipe.batch, recipe.passes, len(recipe.rates)) == (30, 5.0, 15)
        assert tp.unlearn(gradient_store=ctx.gradient_store, rows=[3]).metrics["compressed_steps"] == 8

    def test_two_optimizers_or_none_are_not_guessed_at(self, ring):
        model, loss = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)), nn.CrossEntropyLoss()
        both = [torch.optim.SGD(part.parameters(), lr=0.3) for part in (model[0], model[2])]
        with tp.training_context(model, *ring[:2], loss=loss) as ctx:
            for xb, yb, _ in ctx.batches(30):
                loss(model(xb), yb).backward()
                for optimizer in both:
                    optimizer.step()
        with pytest.raises(ModelError, match="optimizer="):
            tp.unlearn(gradient_store=ctx.gradient_store, rows=[3], method="compressed-replay")

    def test_a_network_that_knew_the_rows_before_is_not_verified(self, ring):
        """A second context begins where the first one ended, and there the rows are in the weights already."""
        X, y = ring[:2]
        model, _ = trained(X, y, epochs=EPOCHS)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with tp.training_context(model, X, y, loss=nn.CrossEntropyLoss()) as ctx:
            for xb, yb, _ in ctx.batches(16):
                optimizer.zero_grad()
                nn.CrossEntropyLoss()(model(xb), yb).backward()
                optimizer.step()
        result = tp.unlearn(gradient_store=ctx.gradient_store, rows=[3], method="compressed-replay")
        assert not result.verified
        assert "may have seen the rows before" in result.why
        assert "no part in it" not in result.why

    def test_an_optimizer_that_cannot_be_made_again_is_named(self, ring):
        class Own(torch.optim.SGD):
            def __init__(self, parameters, rate):
                super().__init__(parameters, lr=rate)

        model, loss = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)), nn.CrossEntropyLoss()
        optimizer = Own(model.parameters(), 0.3)
        with tp.training_context(model, *ring[:2], loss=loss) as ctx:
            for xb, yb, _ in ctx.batches(30):
                loss(model(xb), yb).backward()
                optimizer.step()
        with pytest.raises(ModelError, match="Own, which trained the network, cannot be made again"):
            tp.unlearn(gradient_store=ctx.gradient_store, rows=[3], method="compressed-replay")

    def test_forgetting_more_starts_from_the_beginning_again(self, ring, store):
        first = tp.unlearn(gradient_store=store, rows=[3, 4])
        second = tp.unlearn(gradient_store=first.gradient_store, rows=[40])
        both = tp.unlearn(gradient_store=store, rows=[3, 4, 40])
        np.testing.assert_array_equal(parameters(second.model), parameters(both.model))

    def test_parts_of_batches_stand_for_them(self, ring, store, most, retrained, original, monkeypatch):
        from traceprop.training import torch_compressed

        monkeypatch.setattr(torch_compressed, "ARITHMETIC", 0)
        monkeypatch.setattr(torch_compressed, "SHARE", 0.6)
        result = tp.unlearn(gradient_store=store, rows=most)
        assert distance(result.model, retrained, ring[0][most]) < 0.7 * distance(original[0], retrained, ring[0][most])

    def test_a_rate_that_does_not_bear_to_be_raised_is_not(self, ring, store, monkeypatch):
        from traceprop.training import torch_compressed

        monkeypatch.setattr(torch_compressed, "MERGED", 1e5)
        monkeypatch.setattr(torch_compressed, "WARMING", 1e-9)
        result = tp.unlearn(gradient_store=store, rows=[3], method="compressed-replay")
        assert result.metrics["rate_raised"] == 1.0


class TestRetrain:
    def test_two_retrained_networks_measure_it(self, ring, store, most):
        seeds = iter((1, 2))
        seen = []

        def retrain(rows):
            seen.append(rows)
            return trained(*ring[:2], epochs=EPOCHS, rows=rows, seed=next(seeds))[0]

        result = tp.unlearn(
            gradient_store=store, rows=most, verify="retrain", retrain=retrain, X_test=ring[2], y_test=ring[3]
        )
        np.testing.assert_array_equal(seen[0], np.setdiff1d(np.arange(90), most))
        metrics = result.metrics
        assert len(seen) == 2
        assert metrics["forget_logit_distance"] == result.influence_after < result.influence_before
        assert metrics["forget_logit_distance_floor"] > 0
        assert metrics["test_rows"] == "X_test"
        assert result.verified == (
            metrics["forget_logit_distance"]
            <= max(0.5 * result.influence_before, 1.25 * metrics["forget_logit_distance_floor"])
            and metrics["test_logit_distance"]
            <= max(metrics["test_logit_distance_original"], 1.25 * metrics["test_logit_distance_floor"])
        )

    def test_an_untouched_network_is_never_verified(self, store, original):
        """SSD changes nothing here, and what is retrained is the original itself."""
        result = tp.unlearn(
            gradient_store=store,
            rows=[0],
            method="ssd",
            verify="retrain",
            retrain=lambda rows: copy.deepcopy(original[0]),
        )
        if np.array_equal(parameters(result.model), parameters(original[0])):
            assert "left as it was" in result.why
        assert result.verified is False

    def test_it_needs_a_way_to_train(self, store):
        with pytest.raises(ModelError, match="retrain="):
            tp.unlearn(gradient_store=store, rows=[0], verify="retrain")
        with pytest.raises(ModelError, match="not a trained"):
            tp.unlearn(gradient_store=store, rows=[0], method="ascent", verify="retrain", retrain=lambda rows: None)


class TestAfterwards:
    def test_the_corrected_networks_store_answers_and_forgets_more(self, ring, store, most):
        result = tp.unlearn(gradient_store=store, rows=most)
        scores = np.asarray(tp.attribution_engine(result.gradient_store).scores(*ring[2:]))
        assert scores.shape == (60, 90)
        assert not scores[:, most].any()
        assert np.abs(np.delete(scores, most, axis=1)).max() > 0
        engine = tp.attribution_engine(result.gradient_store, "newton")
        effects = np.asarray(engine.effect([most, [*most, 40], [40]], *ring[2:]))
        assert not effects[0].any()
        np.testing.assert_array_equal(effects[1], effects[2])
        np.testing.assert_array_equal(result.touched.training_rows, most)
        assert "8 forgotten" in repr(result.gradient_store)
        with pytest.raises(NothingToForgetError, match="already"):
            tp.unlearn(gradient_store=result.gradient_store, rows=most)
        more = tp.unlearn(gradient_store=result.gradient_store, rows=[*most, 40])
        assert more.metrics["forgotten"] == 1
        assert more.metrics["retained"] == 81

    def test_in_place_the_model_itself_changes(self, ring, most):
        model, store = trained(*ring[:2], epochs=EPOCHS)
        before = parameters(model)
        result = tp.unlearn(gradient_store=store, rows=most, inplace=True)
        assert result.model is store.model
        assert result.gradient_store is store
        assert not np.array_equal(parameters(store.model), before)
        assert result.model is model
        with pytest.raises(ModelError, match="are not those that the store describes"):
            tp.unlearn(trained(*ring[:2], epochs=2)[0], store, rows=[50])


class TestRefused:
    def test_one_class_left(self, ring, store):
        result = tp.unlearn(gradient_store=store, rows=np.flatnonzero(ring[1] == 1))
        assert result.verdict == "refused"
        assert result.model is None
        assert result.gradient_store is None
        assert "one class" in result.why
        assert result.compliance_report["verdict"] == "refused"

    def test_steps_that_do_not_get_there(self, store, most, monkeypatch):
        from traceprop.explain import network_methods

        monkeypatch.setattr(network_methods, "RATE", 1e-9)
        before = parameters(store.model)
        result = tp.unlearn(gradient_store=replace(store, recipe=None), rows=most, inplace=True)
        assert result.verdict == "refused"
        assert "from their prediction" in result.why
        assert "not compressed-replay" in result.why
        np.testing.assert_array_equal(parameters(store.model), before)

    def test_auto_refuses_what_makes_other_rows_worse(self, ring, store, most, monkeypatch):
        """Each way in turn, by what it does to rows that stay and to test rows."""
        from traceprop.explain import network_methods

        spoiled = tp.unlearn(gradient_store=store, rows=most, method="ascent").model
        with torch.no_grad():
            spoiled[2].bias += torch.tensor([50.0, -50.0])
        attempt = network_methods.Attempt(spoiled, "spoiled")
        for name in ("compressed-replay", "rewind"):
            monkeypatch.setitem(network_methods.METHODS, name, lambda task: attempt)
        result = tp.unlearn(gradient_store=store, rows=most, X_test=ring[2], y_test=ring[3])
        assert (result.verdict, result.model, result.verified) == ("refused", None, False)
        for part in (
            "compressed-replay: ",
            "rewind: ",
            "of the rows that stay",
            "of the test rows",
            "are right after it",
        ):
            assert part in result.why

    def test_wrong_requests_are_errors(self, store):
        with pytest.raises(NothingToForgetError, match="empty"):
            tp.unlearn(gradient_store=store, rows=[])
        with pytest.raises(LineageError, match="did you mean 'ring'"):
            tp.unlearn(gradient_store=store, source_id="rings", rows=[1])
        with pytest.raises(LineageError, match="out of range"):
            tp.unlearn(gradient_store=store, rows=[90])
        with pytest.raises(NothingToForgetError, match="nothing would be left"):
            tp.unlearn(gradient_store=store, source_id="ring")
        with pytest.raises(ModelError, match="'matching'"):
            tp.unlearn(gradient_store=store, rows=[1], method="magic")
        with pytest.raises(ModelError, match="held fixed"):
            tp.unlearn(gradient_store=store, rows=[1], through="pipeline")

    def test_no_number_decides_the_loss(self, ring):
        X = ring[0]
        target = np.stack([X[:, 0], X[:, 1] ** 2], axis=1).astype(np.float32)
        model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
        with tp.training_context(model, X, target, loss=lambda out, y: ((out - y) ** 2).sum(dim=1)) as ctx:
            pass
        with pytest.raises(ModelError, match="one number per sample"):
            tp.unlearn(gradient_store=ctx.gradient_store, rows=[1])
