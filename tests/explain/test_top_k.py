"""The strongest rows of many test rows are those of the whole matrix of scores, which is never made."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import traceprop as tp
from traceprop.errors import ModelError, RefusedError
from traceprop.explain import top_rows
from traceprop.explain.estimators import logged
from traceprop.passes.attribution import top
from traceprop.passes.kernels.dispatch import topk
from traceprop.stores import GradientBlocks


@pytest.fixture
def few_at_a_time(monkeypatch):
    monkeypatch.setattr(top_rows, "SCORES", 138 * 7)


@pytest.mark.parametrize("estimator", ["influence", "newton", "dot", "cosine"])
@pytest.mark.parametrize("harmful", [False, True])
def test_it_is_the_top_of_all_scores(clinics, store, estimator, harmful, few_at_a_time):
    engine = tp.attribution_engine(store, estimator)
    whole = engine.scores(clinics.X_test, clinics.y_test)
    found = engine.top_k(clinics.X_test, clinics.y_test, 5, harmful=harmful)
    order = topk(-np.asarray(whole) if harmful else np.asarray(whole), 5)
    np.testing.assert_array_equal(found.samples, order)
    np.testing.assert_array_equal(found.scores, np.take_along_axis(np.asarray(whole), order, axis=1))
    assert (found.verdict, len(found)) == (whole.verdict, 40)
    one = engine.explain(clinics.X_test[3], clinics.y_test[3])
    assert found[3] == (one.most_harmful(5) if harmful else one.top(5))
    assert {(entry["source_id"], entry["row"]) for rows in found for entry in rows} <= set(clinics.rows)


def test_through_the_pipeline(clinics, store, few_at_a_time):
    engine = tp.attribution_engine(store, "influence", through="pipeline")
    whole = engine.scores(clinics.X_test[:9], clinics.y_test[:9])
    found = engine.top_k(clinics.X_test[:9], clinics.y_test[:9], 4)
    np.testing.assert_array_equal(found.samples, topk(np.asarray(whole), 4))


@pytest.mark.parametrize("estimator", ["influence", "newton", "trak", "tracin", "dot", "ekfac"])
def test_networks(estimator, monkeypatch):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    X, X_test = rng.normal(size=(60, 4)), rng.normal(size=(70, 4))
    y, y_test = (X[:, 0] > 0).astype(int), (X_test[:, 0] > 0).astype(int)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    with tp.training_context(model, X, y, loss=torch.nn.CrossEntropyLoss()) as ctx:
        for epoch in range(3):
            for xb, yb, _ in ctx.batches(20, shuffle=True, seed=epoch):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(xb), yb).backward()
                optimizer.step()
    monkeypatch.setattr(top_rows, "SCORES", 60 * 16)
    whole = np.asarray(tp.attribution_engine(ctx.gradient_store, estimator).scores(X_test, y_test))
    found = tp.attribution_engine(ctx.gradient_store, estimator).top_k(X_test, y_test, 60)
    np.testing.assert_allclose(
        np.asarray(found.scores), np.take_along_axis(whole, found.samples, axis=1), rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(np.asarray(found.scores), -np.sort(-whole, axis=1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("estimator", ["dot", "cosine"])
@pytest.mark.parametrize("logging", ["in order", "shuffled", "twice", "some"])
@pytest.mark.parametrize("threads", [False, True])
def test_gradients_in_blocks(tmp_path, dtype, estimator, logging, threads, monkeypatch):
    monkeypatch.setattr(logged, "SUMS", 300 * 3)
    if threads:
        monkeypatch.setattr(top, "WORTH_THREADS", 0)
    rng = np.random.default_rng(0)
    n, gradients, tests = 300, rng.normal(size=(300, 12)), rng.normal(size=(11, 12))
    samples = {
        "in order": np.arange(n),
        "shuffled": rng.permutation(n),
        "twice": rng.permutation(np.repeat(np.arange(n), 2)),
        "some": np.append(rng.permutation(n)[:200], n - 1),
    }[logging]
    with GradientBlocks(tmp_path / "g", dtype, block_rows=37) as blocks:
        blocks.append(gradients[samples], samples)
    engine = tp.attribution_engine(GradientBlocks(tmp_path / "g"), estimator)
    whole = np.stack([np.asarray(engine.attribute(test).scores) for test in tests])
    for harmful in (False, True):
        found = engine.top_k(test_gradients=tests, k=9, harmful=harmful)
        assert found.samples.shape == (11, 9)
        chosen = np.take_along_axis(whole, found.samples, axis=1)
        np.testing.assert_allclose(np.asarray(found.scores), chosen, rtol=1e-4, atol=1e-5)
        best = np.sort(whole, axis=1)[:, :9] if harmful else -np.sort(-whole, axis=1)[:, :9]
        np.testing.assert_allclose(np.asarray(found.scores), best, rtol=1e-4, atol=1e-5)
    assert found[2][0]["row"] == found.samples[2, 0]


def test_gradients_of_a_model(clinics, store, few_at_a_time):
    engine = tp.attribution_engine(store)
    tests = np.random.default_rng(0).normal(size=(9, 4))
    found = engine.top_k(test_gradients=tests, k=3)
    for row, test in enumerate(tests):
        assert found[row] == engine.attribute(test).top(3)


def test_refused_and_wrong_questions(clinics, store):
    engine = tp.attribution_engine(store)
    for call, message in (
        (lambda: engine.top_k(clinics.X_test, clinics.y_test, 0), "at least 1"),
        (lambda: engine.top_k(), "test rows with their labels, or test_gradients="),
        (lambda: engine.top_k(clinics.X_test, clinics.y_test, test_gradients=np.ones((1, 4))), "or test_gradients="),
        (lambda: engine.top_k(test_gradients=np.ones(4)), "a flat gradient per test row"),
    ):
        with pytest.raises(ModelError, match=message):
            call()
    assert engine.top_k(clinics.X_test, clinics.y_test, 1000).samples.shape == (40, 138)
    X = np.arange(20.0)[:, None]
    with tp.training_context(LogisticRegression(C=np.inf, max_iter=50).fit(X, X[:, 0] > 9), X, X[:, 0] > 9) as ctx:
        pass
    found = tp.attribution_engine(ctx.gradient_store).top_k(X, X[:, 0] > 9, 3)
    assert found.verdict == "refused"
    assert np.isnan(found.scores).all()
    with pytest.raises(RefusedError, match="no scores"):
        found[0]


MEMORY = """
    import sys, numpy as np, traceprop as tp
    from traceprop.stores import GradientBlocks
    peak = lambda: int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
    tests = int(sys.argv[2])
    engine = tp.attribution_engine(GradientBlocks(sys.argv[1]))
    queries = np.random.default_rng(0).standard_normal((tests, 32), dtype=np.float32)
    engine.top_k(test_gradients=queries[:10], k=5)
    before = peak()
    engine.top_k(test_gradients=queries, k=5)
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_is_flat_in_the_number_of_test_rows(tmp_path):
    rng = np.random.default_rng(0)
    with GradientBlocks(tmp_path / "g", block_rows=4096) as blocks:
        blocks.append(rng.standard_normal((50_000, 32), dtype=np.float32), np.arange(50_000))
    taken = {}
    for tests in (500, 5_000):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(MEMORY), str(tmp_path / "g"), str(tests)],
            capture_output=True, check=True, text=True,
        )  # fmt: skip
        taken[tests] = int(done.stdout)
    answer = 5_000 * (32 * 4 * 3 + 5 * 32)
    assert taken[5_000] <= taken[500] + answer + (16 << 20)  # all scores of them would be 1 GB
