"""ProvRC gives back the pairs that it was given, and regular ones are a row or a few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True, scope="module")
def checkout() -> None:
    """`benchmarks` is a folder of the checkout, not part of the installed package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        import benchmarks.baselines.provrc  # noqa: F401


def grid(*shape: int) -> np.ndarray:
    return np.indices(shape).reshape(len(shape), -1).T


def as_set(outputs: np.ndarray, inputs: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, np.hstack([outputs, inputs]).tolist()))


def held(outputs: np.ndarray, inputs: np.ndarray) -> int:
    """The number of rows, once the pairs came back, each once."""
    from benchmarks.baselines.provrc import compress

    boxes = compress(outputs, inputs)
    found = boxes.pairs()
    assert len(found[0]) == len(outputs)
    assert as_set(*found) == as_set(outputs, inputs)
    return len(boxes)


@given(st.data())
def test_any_pairs_come_back(data: st.DataObject) -> None:
    p, q = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    cell = st.tuples(*[st.integers(0, 4)] * (p + q))
    pairs = np.array(sorted(data.draw(st.sets(cell, max_size=60))), np.int64).reshape(-1, p + q)
    order = np.array(data.draw(st.permutations(range(len(pairs)))), np.int64)
    held(pairs[order, :p], pairs[order, p:])


def test_element_wise_is_one_row() -> None:
    cells = grid(7, 9)
    assert held(cells, cells) == 1
    assert held(cells, cells[:, ::-1]) == 1


def test_a_sum_is_one_row() -> None:
    cells = grid(7, 9)
    assert held(cells[:, :1], cells) == 1
    assert held(cells[:, 1:], cells) == 1


def test_a_matrix_product_is_one_row() -> None:
    cells = grid(5, 4, 6)  # i, k, j
    assert held(cells[:, [0, 2]], cells[:, [0, 1]]) == 1
    assert held(cells[:, [0, 2]], cells[:, [1, 2]]) == 1


def test_a_window_is_one_row_and_its_edges_a_few() -> None:
    cells = grid(20, 3)
    assert held(cells[:, :1], cells.sum(axis=1, keepdims=True)) == 1
    inside = cells[(cells.sum(axis=1) >= 1) & (cells.sum(axis=1) <= 20)]
    assert held(inside[:, :1], inside.sum(axis=1, keepdims=True) - 1) == 3


def test_a_random_order_stays_about_as_long() -> None:
    order = np.random.default_rng(0).permutation(1000)
    assert held(grid(1000), order[:, None]) > 950


def test_cells_are_asked_without_decompressing() -> None:
    from benchmarks.baselines.provrc import compress

    cells = grid(20, 3)
    boxes = compress(cells[:, :1], cells.sum(axis=1, keepdims=True))
    low, high = boxes.inputs_of([7])
    assert low.tolist() == [[7]]
    assert high.tolist() == [[9]]


def test_bytes_are_of_the_smallest_integers() -> None:
    from benchmarks.baselines.provrc import compress

    cells = grid(1000, 1000)
    assert compress(cells, cells).nbytes < 20
