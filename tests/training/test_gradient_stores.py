"""Gradients that a context streams into blocks on disk, opened in another process with the rows they belong to."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

import traceprop as tp
from traceprop.errors import CorruptError, ModelError, StoreError
from traceprop.stores import GradientBlocks

torch = pytest.importorskip("torch")


@pytest.fixture
def people(tmp_path):
    """A CSV file of 40 rows, of which the traced pipeline drops rows 3 and 8."""
    rng = np.random.default_rng(0)
    lines = ["a,b,c,sick"]
    for row in range(40):
        a, b, c = rng.normal(size=3)
        lines.append(f"{'' if row in (3, 8) else f'{a:.5f}'},{b:.5f},{c:.5f},{int(a + b > 0)}")
    (tmp_path / "people.csv").write_text("\n".join(lines) + "\n")

    @tp.trace
    def prepare(table):
        whole = table.drop_nulls()
        return whole[["a", "b", "c"]].to_numpy("float64"), whole["sick"].to_numpy()

    return prepare(tp.read_csv(tmp_path / "people.csv"))


def in_another_process(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


ASK = """
    import json, sys, numpy as np, traceprop as tp
    blocks = tp.stores.GradientBlocks(sys.argv[1])
    engine = tp.attribution_engine(blocks, sys.argv[3] if len(sys.argv) > 3 else "auto")
    result = engine.attribute(np.array(json.loads(sys.argv[2])), top_k=4)
    told = [(e["source_id"], e["row"], e["line"], e["text"], e["sample_index"]) for e in result.top()]
    print(json.dumps({"top": told, "scores": np.asarray(result.scores).tolist(), "width": blocks.width}))
"""


@pytest.mark.parametrize("estimator", ["dot", "cosine"])
def test_logged_gradients_outlive_the_process_with_their_lines(tmp_path, people, estimator):
    X, y = people
    rng = np.random.default_rng(1)
    gradients, test = rng.normal(size=(38, 6)).astype(np.float32), rng.normal(size=6)
    with tp.training_context(X_train=X, y_train=y, store=tmp_path / "g") as ctx:
        for start in range(0, 38, 5):
            rows = np.arange(start, min(start + 5, 38))
            ctx.log_gradient(gradients[rows], rows, loss=rows / 2.0, epoch=3)
    here = tp.attribution_engine(ctx.gradient_store, estimator).attribute(test, top_k=4)
    expected = gradients @ test
    if estimator == "cosine":
        expected = expected / np.linalg.norm(gradients, axis=1) / np.linalg.norm(test)
    np.testing.assert_allclose(np.asarray(here.scores), expected, rtol=1e-4, atol=1e-5)

    there = in_another_process(ASK, tmp_path / "g", json.dumps(test.tolist()), estimator)
    np.testing.assert_allclose(there["scores"], np.asarray(here.scores), rtol=1e-6)
    assert there["top"] == [[e["source_id"], e["row"], e["line"], e["text"], e["sample_index"]] for e in here.top()]
    for source, row, line, text, sample in there["top"]:
        assert source == "people"
        assert row == sample + (sample >= 3) + (sample >= 7)
        assert line == row + 2
        assert text == (tmp_path / "people.csv").read_text().splitlines()[line - 1]
    columns = GradientBlocks(tmp_path / "g").columns()
    assert columns["epoch"].tolist() == [3] * 38
    np.testing.assert_array_equal(columns["loss"], np.arange(38) / 2)


def test_projected_on_the_way_and_asked_by_whole_gradients(tmp_path):
    rng = np.random.default_rng(2)
    gradients, test = rng.normal(size=(30, 200)), rng.normal(size=200)
    options = {"source_id": "calls", "proj_dim": 16}
    with tp.training_context(store=tmp_path / "g", **options) as ctx:
        ctx.log_gradient(gradients, np.arange(30), weight=0.5)
    with tp.training_context(**options) as memory:
        memory.log_gradient(gradients, np.arange(30), weight=0.5)
    expected = tp.attribution_engine(memory.gradient_store).attribute(test)
    there = in_another_process(ASK, tmp_path / "g", json.dumps(test.tolist()))
    np.testing.assert_allclose(there["scores"], np.asarray(expected.scores), rtol=1e-4, atol=1e-5)
    assert there["width"] == 16
    assert [entry[:2] for entry in there["top"]] == [[e["source_id"], e["row"]] for e in expected.top(4)]
    with pytest.raises(ModelError, match="7 numbers, but those in the store 16, or 200 before their projection"):
        tp.attribution_engine(ctx.gradient_store).attribute(np.zeros(7))


def mlp():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()


@pytest.mark.parametrize("proj_dim", [None, 8])
def test_the_final_gradients_of_a_network(tmp_path, people, proj_dim):
    X, y = people
    model = mlp()
    with tp.training_context(
        model, X, y, loss=torch.nn.CrossEntropyLoss(), store=tmp_path / "g", proj_dim=proj_dim
    ) as ctx:
        pass
    store = ctx.gradient_store
    blocks = GradientBlocks(tmp_path / "g")
    np.testing.assert_allclose(blocks.gradients(), store.gradients, rtol=1e-5, atol=1e-6)
    losses = torch.nn.functional.cross_entropy(
        model(torch.as_tensor(np.asarray(X))), torch.as_tensor(np.asarray(y)), reduction="none"
    )
    np.testing.assert_allclose(blocks.columns()["loss"], losses.detach().numpy(), rtol=1e-5)
    test = np.random.default_rng(0).normal(size=store.adapter.size)
    there = in_another_process(ASK, tmp_path / "g", json.dumps(test.tolist()))
    np.testing.assert_allclose(there["scores"], store.gradients @ store.adapter.project(test), rtol=1e-4, atol=1e-5)
    assert all(line == row + 2 for _, row, line, _, _ in there["top"])
    with pytest.raises(ModelError, match="hold gradients already"):
        tp.training_context(model, X, y, loss=torch.nn.CrossEntropyLoss(), store=tmp_path / "g")


def test_columns_say_the_source_and_row_of_every_gradient(tmp_path):
    """Samples of two joined tables, gradients in any order, in this process and in another object of the folder."""
    visits = tp.from_dataframe(pl.DataFrame({"who": [2, 0, 1, 0], "cost": [5.0, 6.0, 7.0, 8.0]}), source_id="visits")
    names = tp.from_dataframe(pl.DataFrame({"who": [0, 1, 2], "age": [30.0, 40.0, 50.0]}), source_id="people")
    X = tp.trace(lambda v, n: v.join(n, on="who")[["cost", "age"]].to_numpy("float64"))(visits, names)
    samples = np.array([3, 0, 3])
    with tp.training_context(X_train=X, y_train=np.arange(4), store=tmp_path / "g") as ctx:
        ctx.log_gradient(np.ones((3, 2)), samples, epoch=1, step=[7, 8, 9], loss=[0.5, 0.25, 0.125])
    pairs = [dict(ctx.gradient_store.owners.rows_of(sample)) for sample in samples]
    opened = tp.attribution_engine(GradientBlocks(tmp_path / "g")).store
    for store in (ctx.gradient_store, opened):
        found = store.columns()
        assert found.columns == ["gradient", "source", "row", "sample", "epoch", "step", "loss"]
        assert found.rows() == [
            (at, source, pairs[at][source], samples[at], 1, 7 + at, 0.5 / 2**at)
            for at in range(3)
            for source in ("visits", "people")
        ]
    with tp.training_context(LogisticRegression().fit(np.eye(3), [0, 1, 1]), np.eye(3), [0, 1, 1]) as ctx:
        pass
    with pytest.raises(ModelError, match="no single samples' gradients were stored"):
        ctx.gradient_store.columns()


@pytest.mark.parametrize("kind", ["sklearn", "sklearn-3", "torch"])
def test_the_final_gradients_of_linear_models_are_in_the_order_of_their_parameters(tmp_path, people, kind):
    X, _ = people
    features, labels = np.asarray(X), np.arange(38) % (3 if kind == "sklearn-3" else 2)  # no half is separable
    if kind == "torch":
        model, loss = torch.nn.Linear(3, 2).double(), torch.nn.CrossEntropyLoss()
    else:
        model, loss = LogisticRegression().fit(features, labels), None
    with tp.training_context(model, features, labels, loss=loss, store=tmp_path / "g") as ctx:
        pass
    size = ctx.gradient_store.theta.size
    test = np.random.default_rng(3).normal(size=size)
    expected = tp.attribution_engine(ctx.gradient_store, "dot").attribute(test)
    found = tp.attribution_engine(GradientBlocks(tmp_path / "g")).attribute(test)
    np.testing.assert_allclose(np.asarray(found.scores), np.asarray(expected.scores), rtol=1e-4, atol=1e-5)


def test_a_run_that_was_cut_short_is_resumed(tmp_path, people):
    X, y = people
    gradients = np.random.default_rng(1).normal(size=(38, 6)).astype(np.float32)
    with (
        pytest.raises(RuntimeError, match="cut"),
        tp.training_context(X_train=X, y_train=y, store=tmp_path / "g") as ctx,
    ):
        ctx.log_gradient(gradients[:20], np.arange(20))
        raise RuntimeError("cut")
    done = len(GradientBlocks(tmp_path / "g"))
    assert done == 20
    with tp.training_context(X_train=X, y_train=y, store=tmp_path / "g") as ctx:
        ctx.log_gradient(gradients[done:], np.arange(done, 38))
    np.testing.assert_array_equal(ctx.gradient_store.gradients, gradients)
    with pytest.raises(ModelError, match="other training data"), tp.training_context(store=tmp_path / "g") as ctx:
        ctx.log_gradient(gradients, np.arange(38))
    context = tp.training_context(X_train=X, y_train=y, store=tmp_path / "g")
    with pytest.raises(StoreError, match="begun with size 6, not 9"), context as ctx:
        ctx.log_gradient(np.zeros(9), 0)


def test_gradients_of_one_sample_add_up_on_disk_too(tmp_path):
    rng = np.random.default_rng(4)
    rows, gradients, test = rng.integers(0, 9, 50), rng.normal(size=(50, 4)), rng.normal(size=4)
    store = GradientBlocks(tmp_path / "g", dtype="float64", block_rows=7)
    with tp.training_context(store=store) as ctx:
        for row, gradient in zip(rows, gradients, strict=True):
            ctx.log_gradient(gradient, row, weight=2.0)
    total = np.zeros((rows.max() + 1, 4))
    np.add.at(total, rows, 2 * gradients)
    engine = tp.attribution_engine(GradientBlocks(tmp_path / "g"))
    np.testing.assert_allclose(np.asarray(engine.attribute(test).scores), total @ test, rtol=1e-5, atol=1e-6)
    cosine = tp.attribution_engine(GradientBlocks(tmp_path / "g"), "cosine").attribute(test)
    lengths = np.linalg.norm(total, axis=1) * np.linalg.norm(test)
    np.testing.assert_allclose(np.asarray(cosine.scores), total @ test / np.where(lengths, lengths, 1), rtol=1e-5)


def test_what_is_told_of_a_folder_without_answers(tmp_path):
    with pytest.raises(ModelError, match="no gradients"):
        tp.attribution_engine(GradientBlocks(tmp_path / "none"))
    with GradientBlocks(tmp_path / "g") as blocks:
        blocks.append(np.eye(3), [0, 1, 2])
    assert tp.attribution_engine(GradientBlocks(tmp_path / "g")).attribute(np.ones(3)).top(1)[0]["row"] == 0
    (tmp_path / "g" / "owners.json").write_text("{}")
    with pytest.raises(CorruptError, match="whose they are is damaged"):
        tp.attribution_engine(GradientBlocks(tmp_path / "g"))
