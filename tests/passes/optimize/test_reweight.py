"""`reweight`: with weights 1 it is the program, with weights 0/1 the program run again without those rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import traceprop as tp
from tests.lineage.programs import FINITE, programs
from tests.lineage.test_values import same
from traceprop.errors import TraceError, TracepropError
from traceprop.ir import parse
from traceprop.ir.dump import dump
from traceprop.passes.optimize.reweight import Reweight

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")


def computed(result: Any) -> list[Any]:
    return [value.compute() for value in (result if isinstance(result, tuple) else (result,))]


def test_reweight(golden):
    program = parse("""
        func @prep(%a: f64[N,3] from "north", %b: f64[M,3] from "south") -> (f64[N+M,3], f64[3,3], f64[3]) {
          %0: f64[N+M,3] = concat(%a, %b) {axis=0}
          %1: f64[3] = reduce[numpy.mean](%0) {axes=(0,)}
          %2: f64[N+M,3] = elementwise[numpy.subtract](%0, %1)
          %3: f64[3,N+M] = transpose(%2) {axes=(1,0)}
          %4: f64[3,3] = contract[numpy.matmul](%3, %2) {spec="ab,bc->ac"}
          %5: f64[3] = reduce[numpy.median](%0) {axes=(0,)}
          return %2, %4, %5
        }""")
    found = Reweight(("south",)).of(program)
    text = dump(found.program, maps=False, locations=False)
    assert text + "\nheld:\n" + "\n".join(found.held) == golden
    assert parse(str(found.program)) == found.program


# -- random programs ----------------------------------------------------------------------------------------------------

_ROW_STEPS = {
    "centre": lambda x: x - x.mean(axis=0),
    "scale": lambda x: x / (1 + x.std(axis=0)),
    "spread": lambda x: x / (1 + x.var(axis=0, ddof=1)),
    "share": lambda x: x / (1 + np.abs(x).sum(axis=0, keepdims=True)),
    "range": lambda x: (x - x.min(axis=0)) / (1 + np.ptp(x, axis=0)),
    "below": lambda x: x - x.max(axis=0),
    "whole": lambda x: x - x.mean(),
    "gram": lambda x: x @ (x.T @ x) / 10,
    "einsum": lambda x: x + np.einsum("ij,ik->jk", x, x).sum(axis=0),
    "project": lambda x: x * (x.T @ x[:, 0]) / 10,
    "count": lambda x: x + np.count_nonzero(x > 0, axis=0),
    "counted": lambda x: x + (x > 0).sum(axis=0),
    "all": lambda x: np.where((x > -2).all(axis=0), x, -x),
    "any": lambda x: np.where(np.any(x > 1, axis=0), x, -x),
    "norm": lambda x: x / (1 + np.linalg.norm(x, axis=0)),
    "present": lambda x: x - np.nanmean(np.where(x > 1, np.nan, x), axis=0),
    "flat": lambda x: x - x.reshape(-1).max(),
    "impute": lambda x: np.where(x > 0, x, np.nanstd(np.where(x > 1, np.nan, x), axis=0)),
    "running": lambda x: np.cumsum(x, axis=0) / 10,
    "highest": lambda x: np.maximum.accumulate(x, axis=0),
    "product": lambda x: x + np.prod(np.tanh(x), axis=0),
    "columns": lambda x: np.concatenate([x[:, 1:], np.tanh(x[:, :1])], axis=1),
    "transposed": lambda x: (x.T - x.T.mean(axis=1, keepdims=True)).T,
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(axis=1, keepdims=True),
}
_STEPS = st.lists(st.sampled_from(sorted(_ROW_STEPS)), min_size=1, max_size=6)
_CELLS = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def build(steps: list[str], chosen: bool) -> Any:
    def program(x: Any, y: Any) -> Any:
        x = np.concatenate([x, y], axis=0)
        if chosen:  # rows are chosen and put in order by their own cells
            x = x[x[:, 0] > -1]
            x = x[np.argsort(x[:, 1], kind="stable")]
        for step in steps:
            x = _ROW_STEPS[step](x)
        return x

    return program


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(_STEPS, st.booleans(), _CELLS)
def test_weights_of_0_and_1_are_the_program_run_again_without_those_rows(steps, chosen, rng):
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(4, 3))
    kept = rng.random(9) > 0.3
    kept[:2] = True
    x[~kept] = np.where(rng.random((int((~kept).sum()), 3)) < 0.2, np.nan, x[~kept])  # what is taken out may be missing
    x[~kept, :2] = np.nan_to_num(x[~kept, :2])
    function = build(steps, chosen)
    f = tp.trace(function)
    ours = tp.reweight(f)(x, y, weights={"x": kept})
    again = np.asarray(function(x[kept], y))
    stays = np.concatenate([kept, np.ones(4, bool)])
    rows = np.concatenate([x, y])
    if chosen:
        at = np.flatnonzero(rows[:, 0] > -1)
        at = at[np.argsort(rows[at, 1], kind="stable")]
        stays = stays[at]
    np.testing.assert_allclose(ours.compute()[stays], again, rtol=1e-9, atol=1e-9)
    assert not tp.reweight(f).held(x, y)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(_STEPS, st.booleans(), _CELLS)
def test_weights_of_1_are_the_program(steps, chosen, rng):
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(4, 3))
    f = tp.trace(build(steps, chosen))
    ours = tp.reweight(f)(x, y, weights={"x": np.ones(9), "y": np.ones(4)})
    np.testing.assert_allclose(ours.compute(), f(x, y).compute(), rtol=1e-12, atol=1e-12)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(_STEPS, _CELLS, st.integers(0, 8))
def test_the_derivative_is_that_of_finite_differences_of_other_sizes(steps, rng, row):
    """Forms are smooth in the weights: two central differences, one ten times the other, agree."""
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(4, 3))
    r = tp.reweight(tp.trace(build(steps, False)))

    def at(step: float) -> np.ndarray:
        weights = np.ones(9)
        weights[row] += step
        return r(x, y, weights={"x": weights}).compute()

    small, large = ((at(h) - at(-h)) / (2 * h) for h in (1e-5, 1e-4))
    np.testing.assert_allclose(small, large, rtol=1e-4, atol=1e-4 * (1 + np.abs(large).max()))


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(programs(FINITE))
def test_weights_of_1_are_any_program(program):
    """Whatever a program does: what has weighted forms and what is held give its own values together."""
    f = tp.trace(lambda *given: program(*given))
    sources = [tp.from_numpy(array, source_id=f"s{k}") for k, array in enumerate(program.sources)]
    try:
        plain = f(*sources)
    except (TracepropError, ValueError, IndexError):
        reject()
    ones = {f"s{k}": np.ones(len(array)) for k, array in enumerate(program.sources) if array.ndim}
    if not ones:
        reject()
    for ours, value in zip(tp.reweight(f)(*sources, weights=ones), plain, strict=True):
        want = value.compute()
        got = ours.compute()
        assert got.shape == want.shape
        if want.dtype.kind not in "biufc":  # text, dates and spans
            np.testing.assert_array_equal(got, want)
            continue
        np.testing.assert_allclose(got.astype(complex), want.astype(complex), rtol=1e-5, atol=1e-5 * _largest(want))


def _largest(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)].astype(complex))
    return float(finite.max(initial=0))


# -- tables -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def people() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    n = 60
    return pl.DataFrame(
        {
            "city": rng.choice(["Bonn", "Cork", "Dole", "Elba"], n, p=[0.4, 0.3, 0.2, 0.1]),
            "age": np.where(rng.random(n) < 0.1, np.nan, rng.normal(40, 10, n)),
            "text": rng.choice(["ham egg egg", "egg tea", "tea tea jam", "jam bun ham"], n),
            "label": rng.integers(0, 2, n),
        }
    )


def prepare(t: Any) -> Any:
    age = t.select(["age"]).fill_nulls("mean").to_numpy("float64")
    city = t.target_encode(["city"], "label", smoothing=3.0).select(["city"]).to_numpy("float64")
    words = t.tfidf("text").drop(["age", "label", "city"]).to_numpy("float64")
    hot = t.select(["city"]).one_hot(["city"]).to_numpy("float64")
    x = np.concatenate([age, city, words, hot], axis=1)
    return (x - x.mean(axis=0)) / x.std(axis=0)


def source(frame: pl.DataFrame, name: str = "people") -> Any:
    return tp.from_dataframe(frame, source_id=name)


def test_imputers_encodings_vocabularies_and_scalers_follow(people):
    kept = np.random.default_rng(1).random(60) > 0.2
    f = tp.trace(prepare)
    assert tp.reweight(f).held(source(people)) == ()
    ours = tp.reweight(f)(source(people), weights={"people": kept}).compute()
    again = f(source(people.filter(pl.Series(kept)))).compute()
    np.testing.assert_allclose(ours[kept], again, rtol=1e-9, atol=1e-12)
    frozen = f(source(people)).compute()
    assert np.abs(frozen[kept] - again).max() > 0.01, "and this is not what the full run says"
    ones = tp.reweight(f)(source(people), weights={"people": np.ones(60)}).compute()
    np.testing.assert_allclose(ones, frozen, rtol=1e-12, atol=1e-14)


def test_a_category_that_vanishes_keeps_its_zero_column(people):
    kept = (people["city"] != "Elba").to_numpy()
    f = tp.trace(lambda t: t.select(["city"]).one_hot(["city"]).to_numpy("float64"))
    ours = tp.reweight(f)(source(people), weights={"people": kept}).compute()
    again = f(source(people.filter(pl.Series(kept)))).compute()
    np.testing.assert_array_equal(ours[kept], np.column_stack([again, np.zeros(len(again))]))


@pytest.mark.parametrize("fold", ["mean", "sum", "count", "len", "std", "var", "min", "max"])
def test_folds_of_groups(people, fold):
    kept = (np.random.default_rng(2).random(60) > 0.3) & (people["city"] != "Elba").to_numpy()
    f = tp.trace(lambda t: t.group_by("city").agg(age=fold))
    ours = tp.reweight(f)(source(people), weights={"people": kept}).compute()
    again = f(source(people.filter(pl.Series(kept)))).compute()
    assert ours["city"].to_list()[:-1] == again["city"].to_list()
    np.testing.assert_allclose(ours["age"].to_numpy()[:-1].astype(float), again["age"].to_numpy().astype(float))


def test_a_group_that_vanishes_counts_no_more(people):
    """The mean over cities of their mean ages: of three cities, not of four."""
    kept = (people["city"] != "Elba").to_numpy()
    f = tp.trace(lambda t: t.group_by("city").agg(age="mean")["age"].mean())
    ours = tp.reweight(f)(source(people), weights={"people": kept}).compute()
    again = f(source(people.filter(pl.Series(kept)))).compute()
    np.testing.assert_allclose(ours, again)


def test_a_dimension_row_takes_all_rows_that_joined_it(people):
    cities = pl.DataFrame({"city": ["Bonn", "Cork", "Dole", "Elba"], "size": [3.0, 2.0, 1.0, 0.5]})

    @tp.trace
    def f(t, c):
        x = t.join(c, on="city").select(["label", "size"]).to_numpy("float64")
        return x - x.mean(axis=0)

    ours = tp.reweight(f)(source(people), source(cities, "cities"), weights={"cities": [1, 0, 1, 1]}).compute()
    again = f(source(people), source(cities.filter(pl.col("city") != "Cork"), "cities")).compute()
    np.testing.assert_allclose(ours[(people["city"] != "Cork").to_numpy()], again)


def test_splits_and_samples_keep_the_positions_of_the_full_run(people):
    @tp.trace
    def f(t):
        x = t.sample(40, seed=3).select(["label"]).to_numpy("float64")
        train, test = x[:30], x[30:]
        return test - train.mean(axis=0), train

    weights = np.ones(60)
    weights[:20] = 0
    plain, train = computed(f(source(people)))
    taken = tp.provenance(f(source(people))[1])
    rows = np.array([taken.rows(k)["people"][0] for k in range(30)])
    ours, _ = computed(tp.reweight(f)(source(people), weights={"people": weights}))
    mean = train[rows >= 20].mean(axis=0)
    np.testing.assert_allclose(ours, plain + train.mean(axis=0) - mean)


# -- what has no weighted form --------------------------------------------------------------------------------------------


def test_what_has_no_weighted_form_is_held_and_named(people):
    cities = pl.DataFrame({"city": ["Bonn", "Cork"], "size": [3.0, 2.0]})

    @tp.trace
    def f(t, c):
        x = t.join(c, on="city", how="left").fill_nulls("median").select(["age", "size"]).to_numpy("float64")
        older = x[x[:, 0] > x[:, 0].mean()]
        return older, np.median(x, axis=0)

    held = tp.reweight(f).held(source(people), source(cities, "cities"))
    assert [text.split(" at ")[0] for text in held] == [
        "pad", "reduce[table.median]", "filter", "reduce[numpy.median]"
    ]  # fmt: skip
    assert all("test_reweight.py:" in text for text in held)
    plain = computed(f(source(people), source(cities, "cities")))
    weights = np.ones(60)
    weights[3] = 0
    ours = computed(tp.reweight(f)(source(people), source(cities, "cities"), weights={"people": weights}))
    same(ours[0], plain[0])
    same(ours[1], plain[1])


def test_a_number_of_rows_that_was_counted_is_named():
    f = tp.trace(lambda x: x.sum(axis=0) / len(x))
    (note,) = tp.reweight(f).held(np.ones((4, 2)))
    assert "4 rows written in" in note


def test_jax_reductions_are_held():
    jnp = pytest.importorskip("jax.numpy")
    f = tp.trace(lambda x: x - jnp.mean(x, axis=0))
    x = tp.from_jax(jnp.arange(6.0).reshape(3, 2), source_id="x")
    held = tp.reweight(f).held(x)
    assert "has no form with weights" in held[0]


def test_errors(people):
    f = tp.trace(prepare)
    r = tp.reweight(f)
    with pytest.raises(TraceError, match="has 60 rows, so its weights are 60 numbers"):
        r(source(people), weights={"people": np.ones(3)})
    with pytest.raises(TraceError, match="no source 'peple' with rows; its sources are 'people'"):
        r(source(people), weights={"peple": np.ones(60)})
    with pytest.raises(TraceError, match="weight of row 2 of 'people' is not finite"):
        r(source(people), weights={"people": np.r_[1.0, 1.0, np.nan, np.ones(57)]})
    with pytest.raises(TraceError, match="one number per row"):
        r(source(people), weights=None)
    with pytest.raises(TraceError, match=r"decorate it with @tp\.trace"):
        tp.reweight(prepare)


@pytest.mark.parametrize("shape", [(3, 0), (4, 2), (2, 4)])
def test_a_diagonal_that_is_shorter_than_its_rows(shape):
    """Its cells are those of the first rows, and a weight for every row does not fit them."""
    x = np.arange(float(np.prod(shape))).reshape(shape)
    f = tp.trace(lambda given: np.trace(given))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = tp.reweight(f)(x, weights={"given": np.ones(shape[0])})
    np.testing.assert_allclose(np.asarray(value), np.trace(x))
