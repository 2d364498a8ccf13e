"""The last gradients of a stream, in a window that another run goes on from."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import traceprop as tp
from traceprop.errors import CorruptError, ModelError, StoreError


def gradient(rows):
    return np.sin(np.asarray(rows)[:, None] * 0.7 + np.arange(5))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 12), st.integers(1, 7), st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_holds_the_last_ones_however_they_came_and_whenever_it_was_restarted(
    tmp_path_factory, pieces, window, every, data
):
    path = tmp_path_factory.mktemp("w") / "window.npz"
    ctx = tp.streaming_training_context(window=window, checkpoint=path, every=every)
    total = 0
    for piece in pieces:
        rows = np.arange(total, total + piece)
        ctx.log_gradient(gradient(rows), loss=rows / 2)
        total += piece
        if data.draw(st.booleans()):
            ctx.save()
            ctx = tp.streaming_training_context(window=window, checkpoint=path, every=every)
    assert ctx.seen == total
    store = ctx.gradient_store
    expected = np.arange(max(0, total - window), total)
    assert store.owners.pairs["stream"][1].tolist() == expected.tolist()
    np.testing.assert_allclose(store.gradients, gradient(expected), rtol=1e-6)
    np.testing.assert_allclose(store.blocks.columns()["loss"], expected / 2)


def test_a_run_is_resumed_where_its_file_ends(tmp_path):
    path = tmp_path / "window.npz"
    with pytest.raises(KeyboardInterrupt), tp.streaming_training_context(window=6, checkpoint=path) as ctx:
        ctx.log_gradient(gradient(range(4)))
        raise KeyboardInterrupt
    with tp.streaming_training_context(window=6, checkpoint=path, source_id="late") as ctx:
        assert ctx.seen == 4
        ctx.log_gradient(gradient(range(4, 8)), rows=[40, 50, 60, 70])
        answer = tp.attribution_engine(ctx.gradient_store).attribute(gradient([6])[0], top_k=6)
    found = {(entry["source_id"], entry["row"]) for entry in answer.top()}
    assert found == {("stream", 2), ("stream", 3), ("late", 40), ("late", 50), ("late", 60), ("late", 70)}
    assert answer.top(1)[0]["row"] == 60
    assert [entry.name for entry in tmp_path.iterdir()] == ["window.npz"]
    assert tp.streaming_training_context(window=3, checkpoint=path).gradient_store.owners.n == 3
    assert tp.streaming_training_context(window=3, checkpoint=path, resume=False).seen == 0


def test_gradients_of_a_network_are_those_of_the_model_as_it_was(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    X, y = np.random.default_rng(0).normal(size=(6, 3)), np.array([0, 1, 0, 1, 1, 0])
    kept = []
    with tp.streaming_training_context(
        model, window=4, loss=torch.nn.CrossEntropyLoss(), checkpoint=tmp_path / "w"
    ) as ctx:
        for row in range(6):
            ctx.log(X[row : row + 1], y[row : row + 1])
            model.zero_grad()
            torch.nn.functional.cross_entropy(
                model(torch.as_tensor(X[row : row + 1])), torch.as_tensor(y[row : row + 1])
            ).backward()
            kept.append(np.concatenate([p.grad.numpy().ravel() for p in model.parameters()]))
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.5 * parameter.grad
    np.testing.assert_allclose(ctx.gradient_store.gradients, np.stack(kept[2:]), rtol=1e-5, atol=1e-7)


def test_a_stream_that_never_ends_takes_no_more_memory_the_longer_it_runs(tmp_path):
    def calls():
        rng = np.random.default_rng(0)
        for day in itertools.count():  # every day has a name of its own
            yield f"calls-{day}", rng.standard_normal((40, 64))

    kept, stream = {}, calls()
    with tp.streaming_training_context(window=500, checkpoint=tmp_path / "window.npz", every=5_000) as ctx:
        tracemalloc.start()
        for source_id, gradients in stream:
            ctx.log_gradient(gradients, source_id=source_id, loss=0.5)
            if ctx.seen in (4_000, 40_000):
                kept[ctx.seen] = tracemalloc.get_traced_memory()[0]
            if ctx.seen == 40_000:
                break
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        store = ctx.gradient_store
    assert next(stream)[0] == "calls-1000"  # it would have gone on
    assert kept[40_000] <= kept[4_000] + 20_000
    assert peak <= 5 * 500 * 64 * 4 + (1 << 20)  # the window, and once more on its way to the file
    assert list(store.owners.pairs) == [f"calls-{day}" for day in range(987, 1000)]
    assert sum(len(rows) for _, rows in store.owners.pairs.values()) == 500


@pytest.mark.parametrize("how", ["flip", "cut", "other"])
def test_a_damaged_checkpoint_is_told_of_and_left(tmp_path, how):
    path = tmp_path / "window.npz"
    with tp.streaming_training_context(window=50, checkpoint=path) as ctx:
        ctx.log_gradient(gradient(range(50)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"flip": content, "cut": content[:-40], "other": b"hello"}[how])
    before = path.read_bytes()
    with pytest.raises(CorruptError, match=r"window\.npz cannot be read"):
        tp.streaming_training_context(window=50, checkpoint=path)
    assert path.read_bytes() == before


def test_what_is_refused_and_why(tmp_path):
    for call, message in (
        (lambda: tp.streaming_training_context(window=0), "at least 1"),
        (lambda: tp.streaming_training_context(loss=abs), "belongs to a model"),
        (lambda: tp.streaming_training_context().save(), "no file to save to"),
        (lambda: tp.streaming_training_context().log([[1.0]], [1]), "context has none"),
        (lambda: tp.streaming_training_context().gradient_store, "no gradient yet"),
        (lambda: tp.streaming_training_context().log_gradient([np.nan]), "NaN"),
        (lambda: tp.streaming_training_context().log_gradient([1.0], rows=[0, 1]), "row numbers"),
    ):
        with pytest.raises(ModelError, match=message):
            call()
    ctx = tp.streaming_training_context(window=4, checkpoint=tmp_path / "w")
    ctx.log_gradient(gradient([0]))
    with pytest.raises(ModelError, match="another kind"):
        ctx.log_gradient(np.zeros(7))
    (tmp_path / "file").write_text("")
    blocked = tp.streaming_training_context(window=4, checkpoint=tmp_path / "file" / "w")
    blocked.log_gradient(gradient([0]))
    with pytest.raises(StoreError, match="what was there is there still"):
        blocked.save()
