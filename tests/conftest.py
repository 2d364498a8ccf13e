"""What every test may ask for: expected texts on disk, and the folder with real data sets."""

from __future__ import annotations

import os
import re
from pathlib import Path

import hypothesis
import pytest

TESTS = Path(__file__).parent

# The suite draws the same examples in every run; `python -m benchmarks soundness` is where others are looked for.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the texts under tests/golden instead of comparing"
    )


class Golden:
    """The text expected by one test: `assert text == golden`, kept in tests/golden/<module>/<test>.txt."""

    # Comparisons are with str; a Golden is never a key.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, path: Path, update: bool) -> None:
        self.path = path
        self.update = update

    @property
    def text(self) -> str:
        if not self.path.exists():
            pytest.fail(f"no {self.path.relative_to(TESTS.parent)} yet: run pytest --update-golden and review it")
        return self.path.read_text(encoding="utf-8")

    def __eq__(self, text: object) -> bool:
        if not isinstance(text, str):
            return NotImplemented
        text = text.rstrip("\n") + "\n"
        if self.update:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(text, encoding="utf-8")
        return text == self.text

    def __repr__(self) -> str:
        return f"golden {self.path.relative_to(TESTS)}:\n{self.text}"


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Show a failed comparison with a golden text as a diff."""
    if op == "==" and isinstance(right, Golden) and isinstance(left, str):
        import difflib

        new = left.rstrip("\n").splitlines()
        diff = difflib.unified_diff(right.text.splitlines(), new, "expected", "got", lineterm="")
        return [f"text differs from {right.path.relative_to(TESTS.parent)} (pytest --update-golden rewrites it)", *diff]
    return None


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """`assert dump(program) == golden` compares with tests/golden/<module>/<test>.txt."""
    module = request.path.stem.removeprefix("test_")
    test = re.sub(r"[^\w.-]+", "_", request.node.name.removeprefix("test_")).strip("_")
    return Golden(TESTS / "golden" / module / f"{test}.txt", request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the public data sets: $TRACEPROP_DATA, else ../shared/data beside the checkout."""
    named = os.environ.get("TRACEPROP_DATA")
    folder = Path(named) if named else TESTS.parent.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data sets: {'TRACEPROP_DATA names ' + str(folder) if named else 'TRACEPROP_DATA is not set'}")
    return folder


@pytest.fixture(scope="module")
def quick_xla():
    """XLA without most optimisations, for tests that compile much and run it once or twice."""
    jax = pytest.importorskip("jax")
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def client():
    """A client of a real `LocalCluster`: two worker processes of one thread each, which tests may kill."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed (traceprop[dask])")
    import dask

    # A cluster on this machine gives up a worker that is away when it looks, and here they are killed again and again.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
