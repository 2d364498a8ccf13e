"""Op by op: what is reported is what matters, no more and no less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import traceprop as tp

Cells = set[tuple[int, ...]]
A, B, C = (np.arange(n, dtype=float).reshape(shape) for n, shape in ((12, (4, 3)), (12, (4, 3)), (3, (3,))))
X3 = np.arange(24.0).reshape(4, 2, 3)
INDEX = np.array([2, 0, 0, -1])


def dependence(f: Callable[..., Any], sources: tuple[np.ndarray, ...], booleans: bool) -> list[dict[tuple, Cells]]:
    """Per source and result cell, the source cells whose change changes it at some base point."""
    rng = np.random.default_rng(0)
    found: list[dict[tuple, Cells]] = [{} for _ in sources]
    bases = []
    for n in range(12):
        if booleans:  # any and all depend on a cell where the others leave it to decide
            bases.append(tuple(np.full(s.shape, bool(n % 2)) for s in sources))
        else:
            bases.append(tuple(np.asarray(rng.choice([-1.0, 0.0, 0.5, 1.0, 2.0, 7.0], s.shape)) for s in sources))
    for base in bases:
        with np.errstate(all="ignore"):
            before = np.asarray(f(*base))
            for k, source in enumerate(base):
                for cell in np.ndindex(source.shape):
                    for value in (
                        [not source[cell]] if booleans else (source[cell] + 0.25, -source[cell] - 1, 0.0, 50.0, -50.0)
                    ):
                        again = [s.copy() for s in base]
                        again[k][cell] = value
                        after = np.asarray(f(*again))
                        differs = (after != before) & ~((after != after) & (before != before))
                        for hit in map(tuple, np.argwhere(differs).tolist()):
                            found[k].setdefault(hit, set()).add(cell)
    return found


def reported(lazy: Any, source: str, cell: tuple[int, ...], *kinds: str) -> Cells:
    view = tp.provenance(lazy)
    return {
        tuple(c) for kind in kinds for c in view.cells(cell, kind).get(source, np.empty((0, 0))).astype(int).tolist()
    }


# Every cell that can matter through the values, at some base point, is direct or aggregate; no other is.
VALUES: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "add": (np.add, (A, B)),
    "broadcast a row": (np.multiply, (A + 1, C)),
    "broadcast a column": (lambda a, b: a + b[:, :1], (A, B)),
    "number": (lambda a: 2 - a, (A,)),
    "one row": (lambda a, b: a[:1] + b, (A, B)),
    "astype": (lambda a: a.astype("float32"), (A,)),
    "clip": (lambda a: np.clip(a, 0, 1), (A,)),
    **{
        f"{name} {axis}": (lambda a, name=name, axis=axis: getattr(np, name)(a, axis=axis), (A,))
        for name in ("sum", "mean", "std", "var", "max", "min", "median", "ptp", "count_nonzero", "argmax", "argmin")
        for axis in ((0, 1, None) if not name.startswith("arg") else (0, 1))
    },
    "keepdims": (lambda a: a.sum(axis=1, keepdims=True), (A,)),
    "two axes": (lambda a: a.sum(axis=(0, 2)), (X3,)),
    "standardise": (lambda a: (a - a.mean(axis=0)) / 2, (A,)),
    "cumsum 0": (lambda a: np.cumsum(a, axis=0), (A,)),
    "cumsum 1": (lambda a: np.cumsum(a, axis=1), (A,)),
    "cumsum flat": (lambda a: np.cumsum(a), (A,)),
    "running maximum": (lambda a: np.maximum.accumulate(a, axis=0), (A,)),
    "diff": (lambda a: np.diff(a, axis=0), (A,)),
    "transpose": (np.transpose, (A,)),
    "axes": (lambda a: np.transpose(a, (1, 2, 0)), (X3,)),
    "reshape rows": (lambda a: a.reshape(4, 6), (X3,)),
    "reshape across": (lambda a: a.reshape(6, 2), (A,)),
    "reshape then cumsum": (lambda a: np.cumsum(a.reshape(6, 2), axis=0), (A,)),
    "reshape then sum": (lambda a: a.reshape(2, 6).sum(axis=0), (A,)),
    "ravel": (np.ravel, (A,)),
    "expand": (lambda a: a[:, None], (A,)),
    "squeeze": (lambda a: np.squeeze(a[:, :1]), (A,)),
    "broadcast_to": (lambda c: np.broadcast_to(c, (2, 3)), (C,)),
    "flip": (lambda a: np.flip(a), (A,)),
    "repeat": (lambda a: np.repeat(a, 2, axis=0), (A,)),
    "tile": (lambda a: np.tile(a, (2, 2)), (A,)),
    "roll": (lambda a: np.roll(a, 1, axis=1), (A,)),
    "concatenate 0": (lambda a, b: np.concatenate([a, b]), (A, B)),
    "concatenate 1": (lambda a, b: np.concatenate([a, b], axis=1), (A, B)),
    "stack": (lambda a, b: np.stack([a, b], axis=1), (A, B)),
    "column of concatenation": (lambda a, b: np.concatenate([a, b], axis=1)[:, 4], (A, B)),
    "patchwork": (lambda a, b: (lambda x: np.concatenate([x[:2, :3], x[2:, 3:]]))(np.concatenate([a, b], 1)), (A, B)),
    "slice": (lambda a: a[1:, ::2], (A,)),
    "back to front": (lambda a: a[::-2, -1], (A,)),
    "int": (lambda a: a[2], (A,)),
    "take rows": (lambda a: a[INDEX], (A,)),
    "take columns": (lambda a: a[:, [2, 0]], (A,)),
    "number beside an array": (lambda a: a[0, :, [2, 1]], (X3,)),
    "constant mask": (lambda a: a[np.array([True, False, True, True])], (A,)),
    "matmul": (lambda a, b: a @ b.T, (A, B)),
    "matvec": (lambda a, c: a @ c, (A, C)),
    "dot": (lambda c: np.dot(c, c), (C,)),
    "outer": (lambda c: np.outer(c, c + 1), (C,)),
    "diagonal": (lambda a: np.einsum("ii->i", a[:3]), (A,)),
    "einsum": (lambda a, b: np.einsum("ij,kj->ki", a, b), (A, B)),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values_flow(name):
    f, sources = VALUES[name]
    matters = dependence(f, sources, booleans=False)
    lazy = f(*(tp.from_numpy(s, source_id=f"s{k}") for k, s in enumerate(sources)))
    assert tp.provenance(lazy).exact
    for cell in np.ndindex(np.asarray(lazy).shape):
        for k in range(len(sources)):
            assert reported(lazy, f"s{k}", cell, "direct", "aggregate") == matters[k].get(cell, set()), (cell, k)
            assert not reported(lazy, f"s{k}", cell, "control", "order")


@pytest.mark.parametrize("name", ["any", "all", "logical_xor", "sum"])
def test_booleans_flow(name):
    def f(a: Any) -> Any:
        return np.logical_xor(a, a[::-1]) if name == "logical_xor" else getattr(np, name)(a, axis=0)

    source = np.zeros((3, 2), dtype=bool)
    matters = dependence(f, (source,), booleans=True)[0]
    lazy = f(tp.from_numpy(source, source_id="s"))
    for cell in np.ndindex(np.asarray(lazy).shape):
        wanted = matters.get(cell, set())
        if name == "logical_xor" and cell[0] == 1:
            wanted = {cell}  # xor of a cell with itself: the map knows no algebra
        assert reported(lazy, "s", cell, "direct", "aggregate") == wanted


def source(array: Any, name: str = "s") -> Any:
    return tp.from_numpy(np.asarray(array, dtype=float), source_id=name)


def kinds(lazy: Any, cell: Any, name: str = "s") -> dict[str, list[Any]]:
    view = tp.provenance(lazy)
    found = {kind: view.cells(cell, kind) for kind in ("direct", "aggregate", "control", "order")}
    return {kind: cells[name].tolist() for kind, cells in found.items() if name in cells}


def test_mask():
    x = source([[1, 5], [2, 6], [3, 7]])
    assert kinds(x[x[:, 0] > 1], (0, 1)) == {
        "direct": [[1, 1]],
        "control": [[1, 0]],
        "order": [[0, 0], [1, 0], [2, 0]],
    }


def test_mask_of_a_mask():
    x = source([1, 2, 3, 4, 5])
    odd = x[x != 2]
    found = kinds(odd[odd > 3], 1)
    assert found["direct"] == [[4]]
    assert found["control"] == [[4]]
    assert found["order"] == [[0], [1], [2], [3], [4]]  # the first mask's cells, and through it the second's


def test_sort():
    x = source([3, 1, 2])
    assert kinds(np.sort(x), 0) == {"direct": [[1]], "control": [[1]], "order": [[0], [1], [2]]}


def test_by_another_column():
    x = source([[3, 7], [1, 8], [2, 9]])
    assert kinds(x[np.argsort(x[:, 0])], (0, 1)) == {
        "direct": [[1, 1]],
        "control": [[1, 0]],
        "order": [[0, 0], [1, 0], [2, 0]],
    }


def test_index_that_is_data():
    x, index = source([5, 6, 7]), tp.from_numpy(np.array([2, 2, 0]), source_id="i")
    assert kinds(x[index], 1) == {"direct": [[2]]}
    assert kinds(x[index], 1, "i") == {"control": [[1]]}


def test_where():
    a, b, c = source([1, 2], "a"), source([3, 4], "b"), source([0, 1], "c")
    chosen = np.where(c > 0, a, b)
    assert kinds(chosen, 0, "a") == {"direct": [[0]]}
    assert kinds(chosen, 0, "b") == {"direct": [[0]]}
    assert kinds(chosen, 0, "c") == {"control": [[0]]}


def test_matrix_times_vector():
    x, w = source(np.ones((3, 2)), "x"), source([1, 2], "w")
    assert kinds(x @ w, 1, "x") == {"direct": [[1, 0], [1, 1]]}
    assert tp.provenance(x @ w).rows(1) == {"x": [1]}
    assert kinds(x @ w, 1, "w") == {"aggregate": [[0], [1]]}


def test_transposed_rows_are_columns():
    x = source(np.ones((3, 2)))
    assert tp.provenance(x.T).rows(1) == {}
    assert tp.provenance(x.T).rows(1, "aggregate")["s"].tolist() == [0, 1, 2]
    assert tp.provenance(x.T.T).rows(1)["s"].tolist() == [1]


def test_one_row_by_number_is_no_row_axis():
    x = source(np.ones((8, 2)))
    assert tp.provenance(x[5]).rows(0) == {}
    assert tp.provenance(x[5]).rows(0, "aggregate")["s"].tolist() == [5]
    assert tp.provenance(x[5:6]).rows(0)["s"].tolist() == [5]


def test_keepdims_sums_all_rows():
    x = source(np.ones((3, 2)))
    assert tp.provenance(x.sum(axis=0, keepdims=True)).rows(0) == {}
    assert tp.provenance(x.sum(axis=1, keepdims=True)).rows(2)["s"].tolist() == [2]


def test_concatenation_and_repeats():
    a, b = source(np.ones((2, 2)), "a"), source(np.ones((3, 2)), "b")
    both = np.concatenate([a, b])
    assert tp.provenance(both).rows(1)["a"].tolist() == [1]
    assert tp.provenance(both).rows(slice(1, 4))["b"].tolist() == [0, 1]
    again = both[np.array([4, 4, 0])]
    assert [tp.provenance(again).rows(i) for i in (1, 2)] == [{"b": [2]}, {"a": [0]}]
    assert tp.provenance(again).affected_rows("b", [2]).tolist() == [0, 1]


def test_reshapes():
    x = source(np.ones((3, 2, 2)))
    assert tp.provenance(x.reshape(3, 4)).rows(2)["s"].tolist() == [2]
    assert tp.provenance(x.reshape(2, 6)).rows(1) == {}
    # Each cell of a flattened table still stands for one row, so training rows can be told from it.
    assert tp.provenance(x.reshape(6, 2)).rows(5)["s"].tolist() == [2]


def test_kinds_weaken_along_a_path():
    x = source([[1, 2], [3, 4]])
    scaled = x - x.mean(axis=0)
    assert kinds(scaled, (1, 0)) == {"direct": [[1, 0]], "aggregate": [[0, 0], [1, 0]]}
    assert kinds(np.where(scaled > 0, 1.0, 0.0), (1, 0)) == {"control": [[0, 0], [1, 0]]}


def test_ranges_behind_a_reshape_answer_alike_both_ways():
    x = source(np.ones((4, 3)))
    view = tp.provenance(np.cumsum(x.reshape(6, 2), axis=0))
    back = [view.rows(i, "any")["s"].tolist() for i in range(6)]
    assert back == [[0], [0, 1], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]]
    for s in range(4):
        assert view.affected_rows("s", [s], "any").tolist() == [i for i in range(6) if s in back[i]]


def test_what_decided_that_nothing_is_left_is_its_order():
    total = tp.trace(lambda x: (x[x > 100].sum(), x[x > 100] * 2))(np.arange(4.0))
    view = tp.provenance(total[0])
    assert view.cells((), kind="order")["x"].ravel().tolist() == [0, 1, 2, 3]
    assert view.cells((), kind="aggregate") == {}
    assert view.affected_rows("x", [2], kind="any").tolist() == [0]
    assert tp.provenance(total[1]).affected_rows("x", [2], kind="any").tolist() == []


def test_what_decided_how_many_rows_stand_before_is_the_order_of_those_behind():
    joined = tp.trace(lambda x, y: np.concatenate([x[x > 1], y]))(np.arange(4.0), np.arange(2.0))
    view = tp.provenance(joined)
    assert {source: rows.tolist() for source, rows in view.rows(3).items()} == {"y": [1]}
    assert view.cells(3, kind="order")["x"].ravel().tolist() == [0, 1, 2, 3]
    assert view.affected_rows("x", [0], kind="order").tolist() == [0, 1, 2, 3]
