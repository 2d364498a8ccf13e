"""benchmarks/lds.py: a truth that goes on where it was cut off, and a judge who knows the truth when it is predicted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROWS, TESTS = 50, 7


@pytest.fixture(autouse=True)
def checkout(monkeypatch):
    """`benchmarks` is a folder of the checkout, not part of the installed package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


@pytest.fixture
def regression():
    pytest.importorskip("sklearn")
    from benchmarks.tasks.linear import LinearTask

    rng = np.random.default_rng(0)
    X, X_test = rng.normal(size=(ROWS, 4)), rng.normal(size=(TESTS, 4))
    y, y_test = ((x[:, 0] + rng.logistic(size=len(x)) > 0).astype(np.int64) for x in (X, X_test))
    return LinearTask("Small, linear", X, y, X_test, y_test)


@pytest.fixture
def network():
    pytest.importorskip("torch")
    from benchmarks.tasks.mnist import Digits

    rng = np.random.default_rng(0)
    X, X_test = (rng.normal(size=(n, 4)).astype(np.float32) for n in (ROWS, TESTS))
    y, y_test = ((x[:, 0] > 0).astype(np.int64) for x in (X, X_test))
    return Digits("small", X, y, X_test, y_test, "sgd", 0.05, 10, 2, (1, 2), (4, 5, 1))


def test_a_truth_that_was_cut_off_goes_on(regression, tmp_path, monkeypatch):
    from benchmarks.tasks.retrained import retrained

    fit, trained = type(regression).retrained_margins, []

    def cut_off(task, rows, seed):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(seed)
        return fit(task, rows, seed)

    monkeypatch.setattr(type(regression), "retrained_margins", cut_off)
    with pytest.raises(KeyboardInterrupt):
        retrained(regression, 4, cache=tmp_path, workers=0)
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["run0-subset000.npy", "run0-subset001.npy"]
    monkeypatch.setattr(type(regression), "retrained_margins", lambda *job: (trained.append(job[2]), fit(*job))[1])
    kept, truth = retrained(regression, 4, cache=tmp_path, workers=0)
    assert trained == [0, 1, 2, 3]
    assert kept.shape == (4, ROWS)
    assert (kept.sum(axis=1) == ROWS // 2).all()
    for mask, margins in zip(kept, truth[0], strict=True):
        np.testing.assert_array_equal(margins, fit(regression, np.flatnonzero(mask), 0))


def test_a_smaller_truth_is_the_beginning_of_a_larger_one(regression, tmp_path):
    from benchmarks.tasks.retrained import retrained

    (few, of_few), (many, of_many) = (retrained(regression, count, cache=tmp_path, workers=0) for count in (2, 3))
    np.testing.assert_array_equal(few, many[:2])
    np.testing.assert_array_equal(of_few, of_many[:, :2])


def test_one_seed_gives_one_truth_and_another_another(network, tmp_path):
    from benchmarks.tasks.retrained import retrained

    truths = [retrained(network, 2, 2, cache=tmp_path / name, workers=0)[1] for name in ("first", "second")]
    assert truths[0].shape == (2, 2, TESTS)
    np.testing.assert_array_equal(*truths)
    assert (truths[0][0] != truths[0][1]).any()


def test_the_truth_of_another_recipe_or_of_other_rows_is_not_taken(network):
    from benchmarks.tasks.retrained import digest

    others = [replace(network, epochs=3), replace(network, layers=(4, 6, 1)), replace(network, y=1 - network.y)]
    assert len({digest(task) for task in (network, *others)}) == 4


def test_the_truth_predicts_itself():
    from benchmarks.tasks.ranks import ceiling, lds

    truth = np.random.default_rng(0).normal(size=(8, TESTS))
    np.testing.assert_allclose(lds(truth, truth), 1.0)
    np.testing.assert_allclose(lds(-np.exp(truth), truth), -1.0)
    assert (lds(np.zeros_like(truth), truth) == 0).all()
    assert ceiling(np.stack([truth, truth])) == pytest.approx(1.0)
    assert np.isnan(ceiling(truth[None]))


def test_the_ceiling_is_what_the_mean_over_seeds_reaches():
    """Of a signal and of noise of the same size, in two runs: 2/3 of the variance of their mean is signal."""
    from benchmarks.tasks.ranks import ceiling, lds

    rng = np.random.default_rng(0)
    signal = rng.normal(size=(400, 60))
    truth = signal + rng.normal(size=(2, 400, 60))
    assert ceiling(truth) == pytest.approx(np.sqrt(2 / 3), abs=0.02)
    assert lds(signal, truth.mean(axis=0)).mean() == pytest.approx(ceiling(truth), abs=0.02)


def test_scores_are_judged_by_the_rows_that_stay():
    from benchmarks.lds import Judge
    from benchmarks.tasks.retrained import kept_rows

    scores, kept = np.random.default_rng(1).normal(size=(TESTS, ROWS)).astype(np.float32), kept_rows(ROWS, 12)
    judge = Judge(kept, (kept @ scores.T.astype(np.float64))[None])
    np.testing.assert_allclose(judge(scores), 1.0)
    np.testing.assert_allclose(judge(-scores), -1.0)


def test_the_command_refuses_a_task_that_there_is_not():
    from benchmarks import lds
    from benchmarks.__main__ import main

    with pytest.raises(SystemExit, match="no task called nowhere; there are: adult, covertype"):
        lds.main(quick=True, tasks=["nowhere"])
    with pytest.raises(SystemExit):
        main(["replay", "--task", "adult"])


def test_every_network_of_the_tasks_is_built():
    torch = pytest.importorskip("torch")
    from benchmarks.tasks.architectures import build

    ids = torch.tensor([[2, 3, 0], [1, 0, 0]])
    made = {
        "linear": ({"features": 4, "C": 1.0}, torch.ones(2, 4)),
        "mlp": ({"layers": [4, 3, 10]}, torch.ones(2, 4)),
        "cnn": ({"side": 8, "channels": [2, 3]}, torch.ones(2, 3, 8, 8)),
        "text": ({"vocabulary": 5, "width": 3, "hidden": 4}, ids),
    }
    for kind, (options, inputs) in made.items():
        out = build({"kind": kind, **options})(inputs)
        assert out.shape == (2, 10 if kind == "mlp" else 1)


def test_what_stands_behind_the_end_of_a_text_is_not_read():
    torch = pytest.importorskip("torch")
    from benchmarks.tasks.architectures import build

    network = build({"kind": "text", "vocabulary": 5, "width": 3, "hidden": 4})
    torch.testing.assert_close(network(torch.tensor([[2, 3]])), network(torch.tensor([[2, 3, 0, 0]])))


def test_recording_leaves_the_network_that_training_does(network):
    from benchmarks.tasks.network import weights

    store, problem = network.recorded(3)
    assert len(problem.checkpoints) == 2
    for name, value in weights(network.train(np.arange(ROWS), 3)).items():
        np.testing.assert_array_equal(problem.weights[name], value)
    assert len(store.checkpoints) == 2


def test_one_task_leaves_the_others_results(monkeypatch):
    from benchmarks import lds

    monkeypatch.setattr(lds, "judged", lambda entry, quick: {"of": entry, "when": "now"})
    monkeypatch.setattr(lds, "shown", lambda found: found)
    monkeypatch.setattr(lds, "read_result", lambda name: {"measured": {name: {"when": "before"} for name in lds.TASKS}})
    when = {name: found["when"] for name, found in lds.main(tasks=["mnist-10"])["measured"].items()}
    assert when == {**dict.fromkeys(lds.TASKS, "before"), "mnist-10": "now"}


def test_a_table_says_why_a_library_has_no_score():
    from benchmarks import lds

    scored = {"lds": 0.5, "standard_error": 0.01, "cost": 0.25, "wall_seconds": 1.5}
    found = {
        "task": "t",
        "test_rows": 7,
        "subsets": 2,
        "training_rows": 50,
        "runs": 2,
        "ceiling": 0.9,
        "fit_cpu_seconds": 1.0,
    }
    found |= {"methods": {"influence": scored}, "peers": {"other": {"failed": "does not | apply"}}}
    assert lds.shown(found)["rows"] == [
        ["influence", "0.500 ± 0.010", "0.25×", "1.5 s"],
        ["other", "failed: does not / apply", "", ""],
    ]


def test_a_picture_is_drawn_and_small(tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks.tasks.picture import draw

    truth = np.random.default_rng(0).normal(size=(20, TESTS))
    draw(tmp_path / "drawn.png", "drawn", truth, {"the truth": (truth, 1.0), "its opposite": (-truth, -1.0)})
    written = (tmp_path / "drawn.png").read_bytes()
    assert written.startswith(b"\x89PNG")
    assert len(written) < 200_000
