"""Batches that know their rows: in PyTorch's loaders, with workers by fork and spawn, and in loops of NumPy and JAX."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ModelError

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, Subset, WeightedRandomSampler  # noqa: E402


def data(n=50, d=3):
    return np.arange(n * d, dtype=np.float64).reshape(n, d), np.arange(n) % 3


def check(batches, X, y, rows_are=None):
    """Every batch holds the samples that its rows name; give the rows in the order in which they came."""
    seen = []
    for xb, yb, rows in batches:
        rows = np.asarray(rows)
        assert rows.dtype == np.int64
        np.testing.assert_array_equal(np.asarray(xb), X[rows])
        np.testing.assert_array_equal(np.asarray(yb), y[rows])
        seen.append(rows)
    return np.concatenate(seen)


class TestLoaders:
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_torchs_own_loader(self, shuffle):
        X, y = data()
        rows = check(DataLoader(tp.dataset(X, y), batch_size=8, shuffle=shuffle), X, y)
        assert sorted(rows) == list(range(50))
        assert (rows.tolist() == list(range(50))) is not shuffle

    def test_samplers_subsets_and_single_samples(self):
        X, y = data()
        rows = tp.dataset(X, y)
        x, target, row = rows[-1]
        assert (x.tolist(), int(target), row) == (X[49].tolist(), y[49], 49)
        with pytest.raises(IndexError):
            rows[50]
        sampler = WeightedRandomSampler(np.arange(50) % 2, 30)
        assert all(row % 2 for row in check(DataLoader(rows, batch_size=7, sampler=sampler), X, y))
        assert check(DataLoader(Subset(rows, [5, 3, 40]), batch_size=2), X, y).tolist() == [5, 3, 40]
        assert check(rows.loader(7, sampler=[4, 4, 9]), X, y).tolist() == [4, 4, 9]

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_workers_get_arrays_and_no_pipeline(self, method, tmp_path):
        """In a process of its own: the pipeline runs once, no worker computes, imports JAX, or loses a row."""
        script = tmp_path / "train.py"
        script.write_text(
            textwrap.dedent(f"""
            import os, sys, warnings
            import numpy as np, torch
            import traceprop as tp

            runs = []

            def counted(x):
                runs.append(os.getpid())
                return x * 2.0

            tp.register_rule(counted, "(i, j) <- %x[i, j]")

            @tp.trace
            def prepare(x):
                return counted(x)

            def augment(xb, yb):
                assert "jax" not in sys.modules
                return xb + 0.0, yb + 100

            def collate(samples):
                xb, yb, rows = torch.utils.data.default_collate(samples)
                return xb, yb + 100, rows

            if __name__ == "__main__":
                warnings.simplefilter("error")
                X = prepare(np.arange(60.0).reshape(20, 3))
                data = tp.dataset(X, np.arange(20) % 2)
                options = dict(num_workers=2, multiprocessing_context={method!r})
                own = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True, collate_fn=collate, **options)
                fast = data.loader(4, shuffle=True, augment=augment, **options)
                for loader in (own, fast) if {method!r} == "fork" else (fast,):
                    seen = []
                    for xb, yb, rows in loader:
                        assert torch.equal(xb, torch.from_numpy(2.0 * np.arange(60.0).reshape(20, 3)[rows.numpy()]))
                        assert yb.tolist() == [row % 2 + 100 for row in rows.tolist()]
                        seen += rows.tolist()
                    assert sorted(seen) == list(range(20)) != seen
                assert data.epoch == 1
                assert data.rows_of(7) == [("x", 7)]
                assert runs and set(runs) == {{os.getpid()}}, runs
                assert "jax" not in sys.modules
                print("runs", len(runs))
            """)
        )
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("runs")

    def test_a_workers_copy_is_of_arrays(self):
        X, y = data()
        rows = tp.dataset(tp.from_numpy(X, source_id="file"), y)
        copy = pickle.loads(pickle.dumps(rows))
        assert type(copy.X) is np.ndarray
        np.testing.assert_array_equal(copy.arrays[0], X)
        assert len(copy) == 50
        assert check(copy.batches(9), X, y).tolist() == list(range(50))
        with pytest.raises(ModelError, match="worker"):
            copy.rows_of(0)
        assert rows.rows_of(4) == [("file", 4)]

    def test_beside_jax_workers_are_spawned(self, monkeypatch):
        X, y = data()
        rows = tp.dataset(X, y)
        monkeypatch.setitem(sys.modules, "jax", sys)
        assert rows.loader(4, num_workers=1).multiprocessing_context.get_start_method() == "spawn"
        monkeypatch.delitem(sys.modules, "jax")
        assert rows.loader(4, num_workers=1).multiprocessing_context is None


class TestLoops:
    def test_batches_and_passes(self):
        X, y = data()
        rows = tp.dataset(X, y, source_id="clinic")
        first = check(rows.batches(8, shuffle=True, seed=1), X, y)
        second = check(rows.batches(8, shuffle=True, seed=1), X, y)
        assert rows.epoch == 2
        assert sorted(first) == sorted(second) == list(range(50))
        assert first.tolist() != second.tolist()
        again = tp.dataset(X, y)
        assert check(again.batches(8, shuffle=True, seed=1), X, y).tolist() == first.tolist()
        assert len(check(rows.batches(8, drop_last=True), X, y)) == 48
        assert rows.rows_of(3) == [("clinic", 3)]
        next(rows.batches(8))
        assert rows.epoch == 3, "a pass that was left is none"

    def test_of_the_world_that_x_is_of(self):
        X, y = data()
        kinds = {
            "numpy": tp.dataset(X, y),
            "torch": tp.dataset(torch.from_numpy(X), y),
        }
        jax = pytest.importorskip("jax")
        kinds["jax"] = tp.dataset(jax.numpy.asarray(X, dtype="float32"), y)
        for kind, rows in kinds.items():
            xb, _, at = next(rows.batches(5))
            assert type(xb).__module__.split(".")[0].removesuffix("lib") == kind
            assert type(at) is np.ndarray
        assert isinstance(next(kinds["numpy"].batches(5, world="torch"))[0], torch.Tensor)

    def test_read_only_arrays_and_what_a_batch_does_to_itself(self):
        X, y = data()
        X.flags.writeable = False
        rows = tp.dataset(X, y)
        for xb, _, _ in rows.batches(10):
            xb += 1.0
        xb = rows.batch([0, 1])[0]
        xb += 1.0
        assert X[0, 0] == 0.0
        np.testing.assert_array_equal(rows.arrays[0], X)

    def test_bad_data(self):
        X, y = data()
        for arguments, message in (
            ((X, y[:-1]), "50 rows but y has 49"),
            ((X[:0], y[:0]), "no rows"),
            ((X.astype(str), y), "holds <U"),
            ((X, np.array(["a"] * 50)), "y holds"),
        ):
            with pytest.raises(ModelError, match=message):
                tp.dataset(*arguments)
        with pytest.raises(ModelError, match="world is one of"):
            tp.dataset(X, y, world="cupy")
        with pytest.raises(ModelError, match="at least 1"):
            next(tp.dataset(X, y).batches(0))


def mlp():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()


def train(ctx, model, batches, told):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = torch.nn.CrossEntropyLoss()
    for xb, yb, rows in batches:
        optimizer.zero_grad()
        value = loss(model(xb), yb)
        value.backward()
        if told == "before":
            ctx.step(value, rows)
        optimizer.step()
        if told == "after":
            ctx.step(value, rows)


def shuffled_and_in_order():
    X, y = data()
    model = mlp()
    rows = tp.dataset(tp.from_numpy(X / 50, source_id="file"), y)
    loader = DataLoader(
        rows, batch_size=16, shuffle=True, num_workers=2, multiprocessing_context="fork",
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    with tp.training_context(model, data=rows, loss=torch.nn.CrossEntropyLoss()) as ctx:
        for _ in range(2):
            train(ctx, model, ctx.batches(loader), "after")
    schedule = ctx.gradient_store.schedule
    assert len(schedule) == 8
    assert [r for _, part in schedule[:4] for r in part] != list(range(50))

    again = mlp()
    with tp.training_context(
        again, tp.from_numpy(X / 50, source_id="file"), y, loss=torch.nn.CrossEntropyLoss()
    ) as other:
        for k in (0, 4):
            fed = ((torch.from_numpy(X[at] / 50), torch.from_numpy(y[at]), at) for _, at in schedule[k : k + 4])
            train(other, again, other.batches(fed), "after")
    for mine, theirs in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    asked = X[:5] / 50, y[:5]
    for estimator in ("influence", "tracin"):
        one, two = (tp.attribution_engine(c.gradient_store, estimator).scores(*asked) for c in (ctx, other))
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
    top = tp.attribution_engine(ctx.gradient_store).explain(*[part[:1] for part in asked]).top(3)
    assert all(entry["source_id"] == "file" and entry["row"] == entry["sample_index"] for entry in top)


class TestSteps:
    @pytest.mark.parametrize("told", ["before", "after", "never"])
    def test_a_step_is_recorded_once_whoever_tells_of_it(self, told):
        X, y = data()
        model = mlp()
        rows = tp.dataset(X / 50, y)
        orders = []
        with tp.training_context(model, data=rows, loss=torch.nn.CrossEntropyLoss()) as ctx:
            for epoch in range(2):
                order = []
                orders.append(order)
                batches = ((x, t, order.append(r) or r) for x, t, r in rows.loader(16, shuffle=True, seed=epoch))
                train(ctx, model, ctx.batches(batches), told)
        schedule = ctx.gradient_store.schedule
        assert len(schedule) == 8
        for (loss, samples), given in zip(schedule, [r for order in orders for r in order], strict=True):
            np.testing.assert_array_equal(samples, given.numpy())
            assert np.isnan(loss) == (told == "never")
        assert [one.epoch for one in ctx.gradient_store.checkpoints] == [1, 2]
        assert [one.step for one in ctx.gradient_store.checkpoints] == [4, 8]
        assert rows.epoch == 2

    def test_steps_of_other_models_and_outside_are_none_of_it(self):
        X, y = data()
        model, other = mlp(), mlp()
        with tp.training_context(model, X / 50, y, loss=torch.nn.CrossEntropyLoss()) as ctx:
            train(ctx, other, ctx.batches(10), "never")
            for _ in range(2):
                train(ctx, model, ((x, t, None) for x, t, _ in list(ctx.batches(25))), "never")
        assert ctx.gradient_store.schedule == []
        train(ctx, model, [(torch.zeros(2, 3).double(), torch.zeros(2).long(), None)], "never")
        assert ctx.gradient_store.schedule == []

    def test_gradients_that_add_up_over_batches_make_one_step(self):
        X, y = data()
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        with tp.training_context(model, X / 50, y, loss=torch.nn.CrossEntropyLoss()) as ctx:
            for k, (xb, yb, rows) in enumerate(ctx.batches(10)):
                torch.nn.functional.cross_entropy(model(xb), yb).backward()
                if k % 2:
                    optimizer.step()
                    optimizer.zero_grad()
                    ctx.step(0.5, rows)
        found = [(loss, samples.tolist()) for loss, samples in ctx.gradient_store.schedule]
        assert found == [(0.5, list(range(20))), (0.5, list(range(20, 40)))]

    def test_shuffled_workers_lead_where_the_same_steps_in_order_do(self):
        """In a process of its own, where no thread of JAX's stands in the way of a fork."""
        code = f"import runpy; runpy.run_path({__file__!r}, run_name='loops')['shuffled_and_in_order']()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    def test_data_twice(self):
        X, y = data()
        with pytest.raises(ModelError, match="not both"):
            tp.training_context(mlp(), X, y, data=tp.dataset(X, y), loss=torch.nn.CrossEntropyLoss())
