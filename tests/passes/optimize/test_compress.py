"""compress: what records say of the positions that they keep, and what a run makes of it; maps that cost the same for any N."""

from __future__ import annotations

import gc

import numpy as np
import polars as pl
import pytest

import traceprop as tp
from tests.passes.optimize.test_passes import before_and_after
from traceprop.ir import parse
from traceprop.ir.dump import map_text, value_names
from traceprop.passes.encodings import HINTS, AbstractPositions, Columns
from traceprop.passes.optimize.compress import Compress
from traceprop.passes.optimize.instrument import Instrument
from traceprop.runtime import captures as captures_module
from traceprop.runtime.captures import Captures
from traceprop.runtime.executable import Executable
from traceprop.sources import DeclaredSource, declared_type

PROGRAM = """
    func @kept(%a: f64[N,3], %b: f64[M], %order: i64[5]) -> (f64[K,3], f64[N,3], f64[5], f64[K1], f64[K1], f64[K2], f64[G]) {
      %0: f64[N] = slice(%a) {index=((None, None, None), 0)}
      %1: f64[] = constant {value=0.0}
      %2: bool[N] = elementwise[numpy.greater](%0, %1)
      %3: i64[K] = filter(%2) {size=K}
      %4: f64[K,3] = gather(%a, %3) {axis=0}
      %5: i64[N] = sort(%0) {axis=0}
      %6: f64[N,3] = gather(%a, %5) {axis=0}
      %7: f64[5] = gather(%b, %order) {axis=0}
      %8: i64[K1,2] = join(%0, %b) {how="inner", size=K1}
      %9: i64[K1] = slice(%8) {index=((None, None, None), 0)}
      %10: i64[K1] = slice(%8) {index=((None, None, None), 1)}
      %11: f64[K1] = gather(%0, %9) {axis=0}
      %12: f64[K1] = gather(%b, %10) {axis=0}
      %13: i64[K2] = join(%0, %b) {how="semi", size=K2}
      %14: f64[K2] = gather(%0, %13) {axis=0}
      %15: i64[N] = group(%0) {groups=G}
      %16: f64[G] = segment[table.group_mean](%0, %15) {groups=G}
      return %4, %6, %7, %11, %12, %14, %16
    }"""


def test_compress(golden):
    assert before_and_after(Instrument()(parse(PROGRAM)), Compress()) == golden


def test_the_text_of_records_is_read_back():
    program = Compress()(Instrument()(parse(PROGRAM)))
    assert parse(str(program)) == program
    said = {op.attrs["holds"] for op in program.ops if "holds" in op.attrs}
    assert said <= {*HINTS, "column"}
    assert said == {"ascending", "permutation", "pairs", "column", "ordinals"}


def run():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 400, (5000, 3)).astype(float) - 100, rng.permutation(300).astype(float)
    return Executable(parse(PROGRAM), record=True).run([a, b, np.array([3, 1, 4, 1, 5])])


def test_what_a_run_keeps_is_encoded_when_asked_for_and_columns_of_pairs_once():
    kept = run().captures
    assert isinstance(kept, Captures)
    assert not any(isinstance(held, AbstractPositions) for held in kept.values())
    before = {value: np.array(held) for value, held in kept.items()}
    waiting = kept.waiting
    assert waiting >= sum(array.nbytes for value, array in before.items() if array.ndim == 2)
    kept.encode_all()
    assert kept.waiting == 0
    for value, array in before.items():
        held = kept.positions(value)
        assert held is kept[value]
        assert held.dtype == array.dtype
        np.testing.assert_array_equal(np.asarray(held), array)
    pairs = [held for held in kept.values() if isinstance(held, Columns)]
    assert len(pairs) == 1
    assert sum(held is column for held in kept.values() for column in pairs[0].columns) == 2
    distinct = {id(held): held for held in kept.values() if held not in pairs[0].columns}
    assert sum(held.nbytes for held in distinct.values()) < waiting / 4


def test_arrays_that_wait_for_a_question_are_bounded(monkeypatch):
    monkeypatch.setattr(captures_module, "WAITING", captures_module._Waiting())
    waiting = captures_module.WAITING
    gc.collect()
    runs = [run().captures for _ in range(4)]
    monkeypatch.setattr(captures_module, "AT_LARGE", 2 * runs[0].waiting)
    for kept in runs:
        waiting.add(kept)
    assert [kept.waiting > 0 for kept in runs] == [False, False, True, True]
    assert not waiting._late()


def test_static_maps_take_a_line_for_any_number_of_rows():
    """Ten to the ninth logical cells: the map of a structural op is an expression, and costs what its text costs."""

    def static(x, y):
        z = (x - x.mean(axis=0)) / x.std(axis=0)
        both = np.concatenate([z, y * 2.0])
        wide = both.reshape(-1, 2, 5).transpose(1, 0, 2)[::-1, :, 1:4]
        return np.cumsum(wide, axis=1), both @ np.ones((10, 3)), np.broadcast_to(both[0], both.shape)

    def maps(rows):
        program = tp.trace(static).ir(*(DeclaredSource(declared_type(f"f64[{rows},10]"), name) for name in "xy"))
        names = value_names(program)
        return [map_text(op, names) for op in program.ops if op.reads]

    huge, small = maps(50_000_000), maps(10)
    assert len(huge) == len(small) > 8
    assert max(map(len, huge)) <= 256
    digits = len("50000000") - len("10")
    assert all(len(one) <= len(other) + 8 * digits for one, other in zip(huge, small, strict=True))


def test_questions_are_answered_alike_before_and_behind_encoding():
    rng = np.random.default_rng(1)
    left = pl.DataFrame({"k": rng.integers(0, 40, 300), "x": rng.normal(size=300)})
    right = pl.DataFrame({"k": rng.permutation(50), "z": rng.normal(size=50)})

    def joined(a, b):
        t = a[a["x"] > 0.0].sort("x").join(b, on="k")
        return t.group_by("k").agg(n=("x", "sum"))

    def asked(encoded):
        a, b = tp.from_dataframe(left, source_id="a"), tp.from_dataframe(right, source_id="b")
        result = tp.trace(joined)(a, b)
        kept = result.call().outcome().captures
        if encoded:
            kept.encode_all()
        view = tp.provenance(result)
        answers = []
        for kind in ("direct", "aggregate", "control", "order", "any"):
            for i in (0, slice(2, 6), [1, 5, 7]):
                answers.append({s: r.tolist() for s, r in view.rows(i, kind).items()})
            for source in ("a", "b"):
                answers.append(view.affected_rows(source, [3, 4, 20], kind).tolist())
        return answers

    assert asked(False) == asked(True)


@pytest.mark.parametrize("granularity", ["op", "epoch"])
def test_pairs_of_a_join_answer_by_column(granularity):
    left, right = pl.DataFrame({"k": [1, 2, 2, 9]}), pl.DataFrame({"k": [2, 1, 2], "z": [0.0, 1.0, 2.0]})
    with tp.granularity(granularity):
        a, b = tp.from_dataframe(left, source_id="a"), tp.from_dataframe(right, source_id="b")
        view = tp.provenance(tp.trace(lambda a, b: a.join(b, on="k", how="left"))(a, b))
        pairs = view.row_pairs()
    assert list(zip(*map(np.ndarray.tolist, pairs["a"]), strict=True)) == [
        (0, 0),
        (1, 1),
        (2, 1),
        (3, 2),
        (4, 2),
        (5, 3),
    ]
    assert list(zip(*map(np.ndarray.tolist, pairs["b"]), strict=True)) == [(0, 1), (1, 0), (2, 2), (3, 0), (4, 2)]
