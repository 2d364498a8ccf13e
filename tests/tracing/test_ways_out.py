"""What stands for writes in place, branches and random numbers in a traced function, and rules of the user's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import traceprop as tp
from tests.lineage.oracle import check
from traceprop.errors import TraceError
from traceprop.ir import constants_of, dump, parse

X = np.arange(12.0).reshape(4, 3) - 5
V = np.array([10.0, 20.0, 30.0])


class TestAt:
    @pytest.mark.parametrize(
        "index",
        [0, -1, (1, 2), np.s_[:, 0], np.s_[1:3], np.s_[1:3, -1], np.s_[..., 1:], np.s_[-2:, :2], np.s_[2:1], np.s_[:]],
        ids=str,
    )
    def test_set_and_add(self, index):
        check(lambda x: tp.at(x)[index].set(7.0), X)
        check(lambda x: tp.at(x)[index].add(7.0), X)
        check(lambda x: tp.at(x)[index].set(x.sum()), X)

    def test_as_numpy_writes(self):
        for index, value in ((np.s_[:, 1], V[:1]), (np.s_[1:3], V), (2, V), (np.s_[:, :2], V[:2])):
            want = X.copy()
            want[index] = value
            np.testing.assert_array_equal(tp.trace(lambda x, i=index, v=value: tp.at(x)[i].set(v))(X), want)

    def test_a_column_keeps_the_number_of_rows_open(self):
        function = tp.trace(lambda x: tp.at(x)[:, 0].set(0.0))
        assert str(function.ir(X).returns[0].type) == "f64[N,3]"

    def test_another_array_flows_in(self):
        check(lambda x, v: tp.at(x)[1].set(v), X, V)

    def test_masks(self):
        check(lambda x: tp.at(x)[x > 0].set(-1.0), X, exactly=False)
        check(lambda x: tp.at(x)[x[:, 0] > 0].set(V), X, exactly=False)
        check(lambda x: tp.at(x)[np.array([True, False, True, False])].add(1.0), X, exactly=False)

    def test_the_dtype_stays(self):
        assert tp.trace(lambda x: tp.at(x)[0].set(2.7))(np.arange(3)).compute().tolist() == [2, 1, 2]

    def test_plain_arrays_are_copied(self):
        want = tp.at(X)[0].set(1.0)
        assert want[0, 0] == 1
        assert X[0, 0] == -5

    @pytest.mark.parametrize(
        "index", [([0, 2], [0, 1]), np.s_[:, ::2], np.s_[:, [2, 0]], np.s_[::-1], np.eye(4, 3) > 0], ids=str
    )
    def test_any_plain_index(self, index):
        check(lambda x: tp.at(x)[index].set(7.0), X)
        check(lambda x: tp.at(x)[index].add(x.sum()), X)

    def test_too_many_indices_are_refused(self):
        with pytest.raises(TraceError, match=r"test_ways_out\.py:\d+.*np\.where"):
            tp.trace(lambda x: tp.at(x)[0, 0, 0].set(0.0))(X)

    def test_a_masks_rows_and_a_column(self):
        check(lambda x: tp.at(x)[x[:, 1] > 0, 0].set(7.0), X, exactly=False)

    def test_a_plain_array_is_looked_up_by_a_traced_index(self):
        codes = np.array([2, 0, 2, 1])
        found = tp.trace(lambda codes: tp.at(np.eye(3))[codes].get())(codes)
        np.testing.assert_array_equal(found, np.eye(3)[codes])
        assert tp.provenance(found).rows(2, "control")["codes"].tolist() == [2]
        with pytest.raises(TraceError, match=r"tp\.at\(plain\)\[x\]\.get\(\)"):
            tp.trace(lambda codes: np.eye(3)[codes])(codes)

    def test_axes_of_known_size_are_iterated_over(self):
        def spread(x: Any) -> Any:
            low, high = np.percentile(x, [25, 75], axis=0)
            return (x - low) / (high - low), sum(column.max() for column in x.T)

        check(spread, X)

    def test_out_of_bounds(self):
        with pytest.raises(IndexError, match="index 4 is out of bounds for axis 0 with size 4"):
            tp.trace(lambda x: tp.at(x)[4].set(0.0))(X)

    @pytest.mark.parametrize("library", ["jax.numpy", "torch"])
    def test_other_libraries(self, library):
        module = pytest.importorskip(library)
        as_array = getattr(module, "asarray")  # noqa: B009
        got = tp.trace(lambda x: tp.at(module.sin(x))[1:, 0].set(3.0))(as_array(X.astype("float32")))
        want = np.sin(X.astype("float32"))
        want[1:, 0] = 3
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-6)
        assert "x" not in tp.provenance(got).rows(1) or tp.provenance(got).rows(1)["x"].tolist() == [1]


class TestCond:
    def test_both_ways(self):
        check(lambda x: tp.cond(x.sum() > -1, lambda a: a * 2, lambda a: a - 1, x), X, exactly=False)
        check(lambda x: tp.cond(x.sum() > 99, lambda a: a * 2, lambda a: a - 1, x), X, exactly=False)

    def test_kinds(self):
        view = tp.provenance(tp.trace(lambda x: tp.cond(x[0, 0] > 0, lambda a: a * 2, lambda a: a, x))(X))
        assert view.cells((2, 1), kind="direct")["x"].tolist() == [[2, 1]]
        assert view.cells((2, 1), kind="control")["x"].tolist() == [[0, 0]]

    def test_structures(self):
        function = tp.trace(
            lambda x: tp.cond(x.sum() > 0, lambda a: {"a": a, "b": 1.0}, lambda a: {"a": -a, "b": 2.0}, x)
        )
        got = function(X)
        np.testing.assert_array_equal(got["a"], X * (1 if X.sum() > 0 else -1))
        assert float(got["b"]) == 1 + (X.sum() <= 0)

    def test_bodies(self, golden):
        mean = np.array([1.0, 2.0, 3.0])

        def function(x):
            low = x.min(axis=0)
            return tp.cond(x.sum() > 0, lambda v: (v - low, 1.0), lambda v: (v * mean, v.sum()), x)

        traced = tp.trace(function)
        program = traced.ir(X)
        assert dump(program, locations=False) == golden
        assert parse(str(program), constants_of(program)) == program
        for x in (X, X + 9):
            got = traced(x)
            want = (x - x.min(axis=0), 1) if x.sum() > 0 else (x * mean, x.sum())
            np.testing.assert_array_equal(got[0], want[0])
            assert float(got[1]) == want[1]
        check(lambda x: function(x)[0], X, exactly=False)
        check(lambda x: function(x)[1], X, exactly=False)

    def test_only_the_one_that_is_chosen_is_computed(self):
        code = tp.trace(lambda x: tp.cond(x.sum() > 0, lambda v: v @ v.T @ v, lambda v: v * 2, x))
        assert code.compile(X).code.count("def body") == 2
        logged = tp.trace(lambda x: tp.cond(x.min() > 0, np.log, lambda v: v, x))
        with np.errstate(all="raise"):
            np.testing.assert_array_equal(logged(X), X)

    def test_positions_that_the_data_decides_are_recorded(self):
        function = tp.trace(lambda x: tp.cond(x.sum() > 0, lambda v: v[np.argsort(v[:, 0])], lambda v: v, x))
        assert "branch" not in str(function.ir(X))
        view = tp.provenance(function(X[::-1] + 9))
        assert view.exact
        assert view.rows(0)["x"].tolist() == [0, 3]

    def test_branches_in_branches(self):
        def function(x):
            def inner(v):
                return tp.cond(v.max() > 5, lambda w: w / 2, lambda w: w[::-1] + x[0], v)

            return tp.cond(x.sum() > 0, inner, lambda v: v, x)

        for x in (X, X + 2, X + 9):
            want = x if x.sum() <= 0 else x / 2 if x.max() > 5 else x[::-1] + x[0]
            np.testing.assert_array_equal(tp.trace(function)(x), want)
        check(function, X + 1, exactly=False)
        program = tp.trace(function).ir(X)
        assert sum(op.definition.name == "branch" for op in program.walk()) == 2
        assert parse(str(program)) == program

    def test_types_are_brought_together(self):
        for dtype in ("f4", "i8", "?", "c16"):
            x = np.ones(3, dtype)
            got = tp.trace(lambda x: tp.cond(x.sum() > 0, lambda v: v, lambda v: 2.5, x[0]))(x)
            assert got.dtype == np.where(True, x[0], 2.5).dtype if dtype != "f4" else np.where(True, x, 2.5).dtype

    def test_values_of_a_branch_stay_in_it(self):
        kept = []

        def leaking(x):
            y = tp.cond(x.sum() > 0, lambda v: kept.append(v * 2) or v, lambda v: -v, x)
            return y + kept[-1]

        with pytest.raises(
            TraceError, match=r"inside a branch of tp.cond is used outside of it at test_ways_out.py:\d+"
        ):
            tp.trace(leaking)(X)

        def returned(x):
            y = tp.cond(x.sum() > 0, lambda v: kept.append(v * 2) or v, lambda v: -v, x)
            return y, kept[-1]

        with pytest.raises(TraceError, match="return it from both branches"):
            tp.trace(returned)(X)

    def test_statistics_in_a_branch_are_fitted_and_weighted(self):
        def function(x):
            return tp.cond(x.sum() > -99, lambda v: v - v.mean(axis=0), lambda v: v, x)

        traced = tp.trace(function)
        np.testing.assert_allclose(traced.fit(X)(X[:1] + 1), X[:1] + 1 - X.mean(axis=0))
        weighted = tp.reweight(traced)(X, weights={"x": [1, 0, 1, 1]})
        np.testing.assert_allclose(np.asarray(weighted)[[0, 2, 3]], function(X[[0, 2, 3]]))

    def test_outside_a_trace_one_of_them_runs(self):
        assert tp.cond(True, lambda: 1, lambda: 1 / 0) == 1

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (lambda x: tp.cond(x > 0, np.abs, np.negative, x), "single boolean.*np.where"),
            (lambda x: tp.cond(x.sum(), np.abs, np.negative, x), "single boolean"),
            (lambda x: tp.cond(x.sum() > 0, lambda a: a, lambda a: (a, a), x), "branches of tp.cond"),
            (lambda x: tp.cond(x.sum() > 0, lambda a: a, lambda a: a[0], x), "give shapes"),
        ],
    )
    def test_refused(self, function, message):
        with pytest.raises(TraceError, match=message):
            tp.trace(function)(X)

    @pytest.mark.parametrize("library", ["jax.numpy", "torch"])
    def test_other_libraries(self, library):
        module = pytest.importorskip(library)
        function = tp.trace(lambda x: tp.cond(module.sum(x) > 0, lambda a: a * 2, lambda a: a - 1, x))
        for sign in (1, -1):
            x = module.asarray(np.ones((2, 2), "float32") * sign)
            np.testing.assert_allclose(np.asarray(function(x)), np.asarray(x) * 2 if sign > 0 else np.asarray(x) - 1)


class TestRandom:
    def test_the_same_in_every_run_and_as_plain(self):
        def function(x):
            rng = tp.random(5)
            noisy = x + rng.normal(size=3) + rng.uniform(1, 2) + rng.integers(4, size=(4, 1))
            return rng.permutation(noisy), rng.choice(x, 2), x[rng.permutation(4)]

        traced = tp.trace(function)
        for got, again, plain in zip(traced(X), traced(X), function(X), strict=True):
            np.testing.assert_array_equal(got, again)
            np.testing.assert_array_equal(got, plain)

    def test_draws_differ(self):
        rng = tp.random(0)
        assert rng.normal() != rng.normal()
        assert tp.random(0).normal() != tp.random(1).normal()

    def test_rows_keep_their_identity_whatever_their_number(self):
        function = tp.trace(lambda x: tp.random(1).permutation(x))
        program = function.ir(X)
        assert str(program.returns[0].type) == "f64[N,3]"
        assert tp.ir.parse(str(program)) == program
        for rows in (4, 3, 40):
            x = np.arange(rows * 2.0).reshape(rows, 2)
            got = function(x)
            view = tp.provenance(got)
            order = [int(view.rows(i)["x"][0]) for i in range(rows)]
            assert sorted(order) == list(range(rows))
            np.testing.assert_array_equal(got, x[order])

    def test_tables(self):
        pl = pytest.importorskip("polars")
        table = pl.DataFrame({"a": [1, 2, 3, 4]})
        got = tp.trace(lambda t: tp.random(3).permutation(t))(table)
        assert sorted(got.compute()["a"]) == [1, 2, 3, 4]
        assert tp.provenance(got).rows(0)["t"].tolist() == [got.compute()["a"][0] - 1]

    @pytest.mark.parametrize("seed", [-1, 1.5, None, True])
    def test_a_seed_is_a_number(self, seed):
        with pytest.raises(TraceError, match="a seed is an integer from 0 up"):
            tp.random(seed)


def smooth(x, width=3):
    return np.convolve(np.asarray(x), np.ones(width) / width, "valid")


class TestRegisteredRules:
    def test_values_and_lineage(self):
        smoothed = tp.register_rule(smooth, "(i) <- %x[i..i+3]", check=True)
        check(lambda x: smoothed(x) * 2, np.arange(7.0))
        np.testing.assert_array_equal(smoothed(np.arange(7.0)), smooth(np.arange(7.0)))

    def test_options_go_to_the_function(self):
        smoothed = tp.register_rule(smooth, "(i) <- %x[i..i+2]", check=True)
        np.testing.assert_array_equal(
            tp.trace(lambda x: smoothed(x, width=2))(np.arange(5.0)), smooth(np.arange(5.0), 2)
        )

    def test_two_arrays_and_control(self):
        def pick(values, keep):
            return np.where(np.asarray(keep) > 0, np.asarray(values)[::-1], 0.0)

        picked = tp.register_rule(pick, "(i) <- %values[3-i], control %keep[i]", check=True)
        view = tp.provenance(tp.trace(lambda values, keep: picked(values, keep))(np.arange(4.0), np.ones(4)))
        assert view.rows(0)["values"].tolist() == [3]
        assert view.rows(0, kind="control")["keep"].tolist() == [0]

    def test_functions_of_numpy_under_their_own_name(self):
        tp.register_rule(np.unwrap, "(i) <- %p[0..i+1]", check=True)
        got = tp.trace(lambda x: np.unwrap(x))(np.array([0.0, 4.0, 9.0]))
        np.testing.assert_array_equal(got, np.unwrap([0.0, 4.0, 9.0]))
        assert tp.provenance(got).rows(1, "any")["x"].tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            ("(i) <- %x[i..i+2]", r"is wrong at test_ways_out\.py:\d+: result cell \(0,\) changed with cell \(2,\)"),
            ("(i) <- %x[i, j]", "does not fit"),
            ("(i <- %x[i]", "does not fit"),
            ("(i) <- %y[i]", "names none of the parameters: %x, %width"),
            ("everything", "a rule reads such as"),
        ],
    )
    def test_refused(self, rule, message):
        with pytest.raises(TraceError, match=message):
            tp.trace(lambda x: tp.register_rule(smooth, rule, check=True)(x))(np.arange(6.0))
