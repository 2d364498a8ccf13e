"""What other libraries are given and give back: files between environments, failures told of, the best setting named as such."""

import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from benchmarks.peers import PeerResult, best, rows, scores
from benchmarks.peers.environment import NotInstalled, python
from benchmarks.peers.given import Given, losses, margins, read, write
from benchmarks.peers.measured import Peer, peers
from benchmarks.peers.method import EVERY, Method, Work

rng = np.random.default_rng(0)
WEIGHTS = {"weight": rng.standard_normal((1, 3)), "bias": rng.standard_normal(1)}
TASK = Given(
    name="a task",
    X=rng.standard_normal((5, 3)),
    y=np.array([0, 1, 1, 0, 1]),
    X_test=rng.standard_normal((2, 3)),
    y_test=np.array([1, 0]),
    architecture={"kind": "linear", "features": 3, "C": 10.0},
    weights=WEIGHTS,
    checkpoints=[{name: 0.5 * value for name, value in WEIGHTS.items()}, WEIGHTS],
    training={"optimizer": "adam", "rate": 1e-3},
)

LIBRARY = dedent("""
    import numpy as np
    from benchmarks.peers.method import Method, Work

    def alike(given):
        def scores(fitted, scale):
            if not scale:
                raise ArithmeticError("no\\nscale")
            return scale * fitted @ given.X.T

        return Work(scores, lambda: given.X_test)

    def broken(given):
        raise OSError("no such thing\\nas this library")

    METHODS = (
        Method("alike", alike, {"once": 1.0, "twice": 2.0, "beyond": np.inf, "not": 0.0}),
        Method("turned", lambda given: Work(lambda _, __: given.X @ given.X_test.T), {"": None}),
        Method("broken", broken, {"this": None, "that": None}, apart=True),
    )
    """)


@pytest.fixture
def peer(tmp_path):
    path = tmp_path / "library.py"
    path.write_text(LIBRARY)

    def unused(given: Given) -> Work:
        raise AssertionError("runs in another process")

    methods = (
        Method("alike", unused, {"once": 1.0, "twice": 2.0, "beyond": 3.0, "not": 0.0}, EVERY, quick=True),
        Method("turned", unused, {"": None}),
        Method("broken", unused, {"this": None, "that": None}, apart=True),
        Method("for pictures", unused, {"": None}, ("cnn",), quick=True),
    )
    return Peer(path, "library", "1.0", methods, lambda: Path(sys.executable))


def test_a_task_is_read_as_it_was_written(tmp_path):
    tokens = replace(TASK, X=np.arange(10).reshape(5, 2), X_test=np.zeros((2, 2), np.int64))
    for number, task in enumerate((TASK, tokens)):
        path = tmp_path / f"{number}.npz"
        write(path, task)
        found = read(path)
        for name in ("X", "y", "X_test", "y_test"):
            assert getattr(found, name).dtype == getattr(task, name).dtype
            np.testing.assert_array_equal(getattr(found, name), getattr(task, name))
        assert (found.name, found.architecture, found.training) == (task.name, task.architecture, task.training)
        for mine, theirs in zip([found.weights, *found.checkpoints], [task.weights, *task.checkpoints], strict=True):
            assert {name: value.tolist() for name, value in mine.items()} == {k: v.tolist() for k, v in theirs.items()}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"y": np.zeros(4, int)}, r"X \(5, 3\) and y \(4,\)"),
        ({"y_test": np.zeros((2, 1), int)}, r"X_test \(2, 3\) and y_test \(2, 1\)"),
        ({"X_test": np.zeros((2, 4))}, r"X \(5, 3\) and X_test \(2, 4\) differ"),
        ({"checkpoints": []}, "no checkpoint"),
        ({"checkpoints": [WEIGHTS, {"weight": np.zeros((1, 3))}]}, "checkpoint 1 and the weights differ"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(TASK, **wrong)


def test_scores_come_from_another_process_and_failures_say_why(peer, tmp_path):
    found = scores(TASK, among=[peer], cache=tmp_path / "cache")
    assert list(found) == [
        "alike, once", "alike, twice", "alike, beyond", "alike, not", "turned", "broken, this", "broken, that",
    ]  # fmt: skip
    expected = (TASK.X_test @ TASK.X.T).astype(np.float32)
    np.testing.assert_array_equal(found["alike, once"].scores, expected)
    np.testing.assert_array_equal(found["alike, twice"].scores, (2.0 * TASK.X_test @ TASK.X.T).astype(np.float32))
    assert found["alike, twice"].cpu_seconds >= 0
    assert found["alike, beyond"].failed == "100% of the scores are not finite"
    assert found["alike, not"].failed == "ArithmeticError: no scale"
    assert found["turned"].failed == "ValueError: scores of shape (5, 2), not one for each test and training row"
    assert found["broken, this"].failed == found["broken, that"].failed == "as this library"
    assert all((result.scores is None) == bool(result.failed) for result in found.values())


def test_what_was_measured_is_kept_and_what_failed_is_not(peer, tmp_path):
    cache = tmp_path / "cache"
    first = scores(TASK, quick=True, among=[peer], cache=cache)
    dead = replace(peer, python=lambda: Path("/no/such/python"))
    again = scores(TASK, quick=True, among=[dead], cache=cache)
    assert [each.cpu_seconds for each in again.values()][:2] == [each.cpu_seconds for each in first.values()][:2]
    other = replace(TASK, weights=TASK.checkpoints[0])
    assert "/no/such/python" in scores(other, quick=True, among=[dead], cache=cache)["alike"].failed
    newer = replace(dead, version="1.1")
    assert "/no/such/python" in scores(TASK, quick=True, among=[newer], cache=cache)["alike"].failed
    assert len(list(cache.iterdir())) == 1


def test_the_best_setting_stands_beside_the_default_and_says_how_it_was_chosen():
    named = ("library", "1.0", "method")
    found = {
        str(value): PeerResult(*named, f"damping {value}", np.full((2, 2), value, np.float32), 2.0, 3.0)
        for value in (0.3, 0.7, 0.5)
    }
    found["nothing"] = PeerResult("other", "2.0", "nothing", "", failed="not installed: no network")
    figures, cells = rows(found, lambda scores: scores[:, 0], fit_cpu_seconds=4.0)
    assert list(figures) == ["method, default", "method, best of 3 settings by the truth", "nothing"]
    assert figures["method, default"]["lds"] == pytest.approx(0.3)
    assert figures["method, best of 3 settings by the truth"]["settings"] == "damping 0.7"
    assert figures["nothing"] == {
        "library": "other", "version": "2.0", "settings": "", "failed": "not installed: no network",
    }  # fmt: skip
    assert cells[0] == ["method, default", "0.300", "0.000", "0.5×"]
    assert cells[2] == ["nothing", "failed", "", "(not installed: no network)"]
    assert list(best({"nothing": found["nothing"]}, np.mean)) == ["nothing"]


def test_every_library_has_a_quick_method_for_every_architecture():
    quick = {
        (peer.library, kind) for peer in peers() for method in peer.methods if method.quick for kind in method.kinds
    }
    libraries = ("captum", "dattri", "kronfluence", "traceprop", "traker")
    assert quick == {(library, kind) for library in libraries for kind in EVERY}


def test_margins_are_the_log_odds_of_the_label_and_losses_fall_with_them():
    torch = pytest.importorskip("torch")
    logit, y = torch.tensor([[0.3], [-2.0]]), torch.tensor([1, 0])
    torch.testing.assert_close(margins(logit, y), torch.tensor([0.3, 2.0]))
    two = torch.cat([torch.zeros_like(logit), logit], dim=1)
    torch.testing.assert_close(margins(two, y), margins(logit, y))
    one_by_one = torch.func.vmap(lambda out, label: margins(out.unsqueeze(0), label.unsqueeze(0)).sum())
    for out in (logit, two):
        torch.testing.assert_close(one_by_one(out, y), margins(out, y))
        torch.testing.assert_close(losses(out, y), torch.nn.functional.softplus(-margins(out, y)))


def test_an_environment_that_cannot_be_made_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.peers.environment.CACHE", tmp_path)
    with pytest.raises(NotInstalled, match=r"not installed: .*no-such-package"):
        python("none", ["--no-index", "no-such-package"])
    assert list(tmp_path.iterdir()) == []
