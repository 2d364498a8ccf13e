"""What rows and sources are worth, as a user asks: values in rows of files, games run again, and errors that say why."""

import functools
import itertools
import math
import re

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import LineageError, ModelError
from traceprop.passes.valuation import Points, SameLabel, knn_shapley

METHODS = ("knn-shapley", "threshold", "weighted")


@pytest.fixture
def ask(clinics, store):
    def value(**how):
        how = {"gradient_store": store, "X_val": clinics.X_test, "y_val": clinics.y_test, "k": 5} | how
        return tp.data_valuation(**how)

    return value


def slow_values(X, y, X_val, y_val, k):
    """Jia et al. 2019, theorem 1, as it is printed."""
    values = np.zeros(len(X))
    for x, label in zip(X_val, y_val, strict=True):
        order = np.argsort(((X - x) ** 2).sum(axis=1), kind="stable")
        right = (y[order] == label).astype(float)
        s = right[-1] / len(X)
        values[order[-1]] += s
        for i in range(len(X) - 1, 0, -1):
            s += (right[i - 1] - right[i]) / k * min(k, i) / i
            values[order[i - 1]] += s
    return values / len(X_val)


def test_values_are_those_of_the_paper(clinics, ask):
    expected = slow_values(clinics.features, clinics.y, clinics.X_test, clinics.y_test, 5)
    result = ask()
    np.testing.assert_allclose(result.values, expected, atol=1e-12)
    assert result.verdict == result.values.verdict == "exact"
    assert "5 nearest" in result.why


@pytest.mark.parametrize("space", ["features", "gradients"])
@pytest.mark.parametrize("method", METHODS)
def test_rows_of_files(clinics, ask, method, space):
    result = ask(method=method, space=space)
    assert result.values.dtype == np.float64
    assert result.values.shape == (138,)
    order = np.argsort(-np.asarray(result.values), kind="stable")
    for entries, expected in ((result.top(3), order[:3]), (result.lowest(2), order[::-1][:2])):
        for rank, (entry, sample) in enumerate(zip(entries, expected, strict=True)):
            assert entry["value"] == result.values[sample]
            assert (entry["rank"], entry["source_id"], entry["row"]) == (rank, *clinics.rows[entry["sample_index"]])
            assert entry["file"] == str(clinics.paths[entry["source_id"]])
            text = clinics.paths[entry["source_id"]].read_text().splitlines()[entry["line"] - 1]
            assert entry["text"] == text
    of_north = np.array([name == "north" for name, _ in clinics.rows])
    sums = result.by_source()
    values = np.asarray(result.values)
    assert sums == pytest.approx({"north": values[of_north].sum(), "south": values[~of_north].sum()})
    by_row = result.by_row()
    assert by_row["north"].shape == (60,)
    assert by_row["north"][[5, 17]].tolist() == [0, 0]  # never trained on
    for name, row in clinics.rows[::40]:
        assert by_row[name][row] == result.values[clinics.rows.index((name, row))]
    steps = result.by_op()
    assert steps[next(name for name in steps if name.startswith("concat"))] == pytest.approx(result.values.sum())
    assert steps[next(name for name in steps if name.startswith("gather"))] == pytest.approx(sums["north"])


def test_data_frame(ask):
    result = ask()
    frame = result.to_pandas()
    assert len(frame) == 138
    assert frame["value"].is_monotonic_decreasing
    assert list(result.to_pandas(4)["sample_index"]) == [entry["sample_index"] for entry in result.top(4)]


def test_gradients_given_are_gradients_computed(clinics, ask):
    model = clinics.sklearn()
    miss = model.predict_proba(clinics.X_test)[:, 1] - clinics.y_test
    given = np.column_stack([miss[:, None] * clinics.X_test, miss])
    for method in METHODS:
        mine = ask(X_val=None, val_gradients=given, method=method)
        np.testing.assert_allclose(mine.values, ask(space="gradients", method=method).values, atol=1e-12)
    free = ask(X_val=None, y_val=None, val_gradients=given)
    assert "sign" in free.why
    assert free.values.sum() > 0


def test_gradients_of_a_network_and_gradients_by_hand(clinics):
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    with tp.training_context(model, clinics.X, clinics.y, loss=loss) as ctx:
        pass
    store = ctx.gradient_store
    common = {"gradient_store": store, "y_val": clinics.y_test, "space": "gradients", "k": 3}
    result = tp.data_valuation(X_val=clinics.X_test, **common)
    _, gradients = store.adapter.gradients(clinics.X_test, clinics.y_test)
    expected = knn_shapley(Points(store.gradients, gradients), SameLabel(clinics.y, clinics.y_test), 3)
    np.testing.assert_allclose(result.values, expected, atol=1e-12)

    for parameter in model.parameters():
        parameter.data.zero_()  # what becomes of the model later is another matter
    np.testing.assert_array_equal(tp.data_valuation(X_val=clinics.X_test, **common).values, result.values)

    with tp.training_context() as by_hand:
        by_hand.log_gradient(store.gradients, np.arange(138))
    unlabelled = tp.data_valuation(by_hand.gradient_store, gradients, k=3)
    same = tp.data_valuation(store, gradients, k=3)
    np.testing.assert_allclose(unlabelled.values, same.values, atol=1e-12)
    with pytest.raises(ModelError, match="without labels"):
        tp.data_valuation(by_hand.gradient_store, gradients, y_val=clinics.y_test)
    with pytest.raises(ModelError, match="logged without"):
        tp.data_valuation(by_hand.gradient_store, X_val=clinics.X_test, y_val=clinics.y_test)


def test_numbers(clinics, ask):
    from sklearn.linear_model import Ridge

    y = clinics.features[:, 0] * 2 + 0.25
    with tp.training_context(Ridge().fit(clinics.features, y), clinics.X, y) as ctx:
        pass
    result = ask(gradient_store=ctx.gradient_store, y_val=clinics.X_test[:, 0])
    assert "squared error" in result.why
    assert result.values.sum() > 0
    with pytest.raises(ModelError, match="is for labels"):
        ask(gradient_store=ctx.gradient_store, y_val=clinics.X_test[:, 0], method="threshold")


def test_forgotten_rows_are_no_players(clinics, store, ask):
    gone = tp.unlearn(gradient_store=store, source_id="north", rows=[0, 1], through="features", inplace=True)
    assert gone.verdict != "refused"
    values = ask().values
    assert values[:2].tolist() == [0, 0]
    expected = slow_values(clinics.features[2:], clinics.y[2:], clinics.X_test, clinics.y_test, 5)
    np.testing.assert_allclose(values[2:], expected, atol=1e-12)


def test_wrong_labels_are_worth_least(clinics):
    rng = np.random.default_rng(0)
    y, y_val = np.arange(200) % 2, np.arange(100) % 2
    X, X_val = (rng.normal(size=(len(labels), 3)) + 3 * labels[:, None] for labels in (y, y_val))
    wrong = rng.choice(200, 20, replace=False)
    y[wrong] ^= 1
    model = clinics.sklearn().fit(X, y)
    with tp.training_context(model, X, y, source_id="patients") as ctx:
        pass
    result = tp.data_valuation(ctx.gradient_store, X_val=X_val, y_val=y_val, k=5)
    found = [entry["row"] for entry in result.lowest(20)]
    assert len(set(found) & set(wrong.tolist())) >= 18
    assert result.by_row()["patients"].tolist() == result.values.tolist()


# -- sources ----------------------------------------------------------------------------------------------------------


@tp.trace
def scaled(a, b, c):
    rows = np.concatenate([a, b, c])
    return (rows - rows.mean(axis=0)) / rows.std(axis=0)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(2)
    return {name: rng.normal(loc=shift, size=(n, 2)) for name, n, shift in (("a", 8, 0), ("b", 5, 1), ("c", 11, -2))}


def spread(rows):
    return float(np.tanh(np.abs(rows).sum() + (rows[0, 0] if len(rows) else 0)))


def by_all_orders(names, worth):
    values = dict.fromkeys(names, 0.0)
    for order in itertools.permutations(names):
        for place, name in enumerate(order):
            values[name] += worth(order[: place + 1]) - worth(order[:place])
    return {name: value / math.factorial(len(names)) for name, value in values.items()}


def test_sources_by_running_the_pipeline_really_without_them(arrays):
    def really(kept):
        rows = np.concatenate([array for name, array in arrays.items() if name in kept] or [np.empty((0, 2))])
        return spread((rows - rows.mean(axis=0)) / rows.std(axis=0)) if len(rows) else 0.25

    expected = by_all_orders(list(arrays), really)
    lazy = scaled(**arrays)
    for pipeline in (lazy, functools.partial(scaled, **arrays), functools.partial(tp.reweight(scaled), **arrays)):
        result = tp.data_valuation(method="source-shapley", pipeline=pipeline, utility=spread, empty=0.25)
        assert result.verdict == "exact"
        assert result.by_source() == pytest.approx(expected, abs=1e-10)
        assert result.values.sum() == pytest.approx(really("abc") - 0.25, abs=1e-9)
    assert result.sources == ["a", "b", "c"]
    best = max(expected, key=expected.get)
    assert [result.top(1)[0][key] for key in ("source_id", "row", "sample_index")] == [best, None, None]
    assert result.lowest(1)[0]["source_id"] == min(expected, key=expected.get)
    (joined,) = [value for name, value in result.by_op().items() if name.startswith("concat")]
    assert joined == pytest.approx(result.values.sum())
    assert len(result.to_pandas()) == 3
    with pytest.raises(LineageError, match="whole sources"):
        result.by_row()


def test_structures_keep_their_form_and_rows_stay_together(arrays):
    @tp.trace
    def both(a, b):
        return {"X": np.concatenate([a, b]), "first": (np.concatenate([a[:, 0], b[:, 0]]),)}

    seen = []

    def utility(result):
        seen.append((len(result["X"]), len(result["first"][0])))
        assert (result["X"][:, 0] == result["first"][0]).all()
        return len(result["X"])

    lazy = both(arrays["a"], arrays["b"])
    result = tp.data_valuation(method="source-shapley", pipeline=lazy, utility=utility)
    assert seen == [(0, 0), (8, 8), (5, 5), (13, 13)]
    assert result.by_source() == pytest.approx({"a": 8, "b": 5})


def test_the_stores_own_data(clinics, store):
    def utility(data):
        X, y = data
        assert len(X) == len(y)
        return len(y)

    result = tp.data_valuation(store, method="source-shapley", utility=utility)
    assert result.by_source() == pytest.approx({"north": 58, "south": 80})


def test_functions_of_names_and_of_weights(arrays, store):
    game = {"": 0, "p": 1, "q": 2, "pq": 7}
    result = tp.data_valuation(method="source-shapley", pipeline="".join, utility=game.__getitem__, sources=["p", "q"])
    assert result.by_source() == {"p": 3.0, "q": 4.0}
    assert result.by_op() == {}

    def weighted(weights):
        return sum(w.sum() for w in weights.values())

    by_weight = tp.data_valuation(method="source-shapley", pipeline=weighted, utility=float, sources={"a": 3, "b": 4})
    assert by_weight.by_source() == {"a": 3.0, "b": 4.0}
    of_store = tp.data_valuation(store, method="source-shapley", pipeline=weighted, utility=float)
    assert of_store.by_source() == pytest.approx({"north": 60, "south": 80})


def test_a_traced_function_is_run_as_the_store_knows_it(arrays):
    from sklearn.linear_model import LogisticRegression

    X = scaled(**arrays)[:, :1]
    y = np.arange(24) % 2
    with tp.training_context(LogisticRegression().fit(np.asarray(X), y), X, y) as ctx:
        pass
    for pipeline in (scaled, tp.reweight(scaled)):
        result = tp.data_valuation(ctx.gradient_store, method="source-shapley", pipeline=pipeline, utility=len)
        assert result.by_source() == pytest.approx({"a": 8, "b": 5, "c": 11})


def test_many_sources_are_estimated(arrays):
    names = [f"s{i}" for i in range(14)]
    weight = dict(zip(names, np.linspace(-1, 2, 14), strict=True))
    game = {"method": "source-shapley", "pipeline": lambda kept: kept, "sources": names}

    def alone(kept):
        return sum(weight[name] for name in kept)

    result = tp.data_valuation(**game, utility=alone, rounds=2)
    assert result.verdict == "estimated"
    assert result.by_source() == pytest.approx(weight)
    result = tp.data_valuation(**game, utility=lambda kept: float(np.sqrt(len(kept))), rounds=5)
    np.testing.assert_allclose(result.values, np.sqrt(14) / 14, atol=1e-12)  # strata: sizes alone decide
    result = tp.data_valuation(**game, utility=lambda kept: float(alone(kept) > 3), rounds=6, seed=1)
    assert float(result.values.sum()) == pytest.approx(1)
    assert result.parameters["half_width"].shape == (14,)
    again = tp.data_valuation(**game, utility=lambda kept: float(alone(kept) > 3), rounds=6, seed=1)
    assert again.values.tolist() == result.values.tolist()


def test_what_has_no_weighted_form_is_named(arrays):
    @tp.trace
    def centred(a, b):
        rows = np.concatenate([a, b])
        return rows - np.median(rows, axis=0)

    lazy = centred(arrays["a"], arrays["b"])
    result = tp.data_valuation(method="source-shapley", pipeline=lazy, utility=spread)
    assert result.verdict == "estimated"
    assert "median" in result.why


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how, words",
    [
        ({"method": "shapley"}, "there is no method 'shapley'"),
        ({"gradient_store": None}, "needs gradient_store"),
        ({"gradient_store": 3}, "not int"),
        ({"k": 0}, "k is"),
        ({"k": 2.5}, "k is"),
        ({"k": True}, "k is"),
        ({"space": "logits"}, "space is"),
        ({"y_val": None}, "y_val is missing"),
        ({"X_val": None}, "validation rows are needed"),
        ({"val_gradients": np.zeros((2, 4))}, "not both"),
        ({"X_val": None, "val_gradients": np.zeros((40, 3))}, "3 numbers"),
        ({"X_val": None, "val_gradients": np.zeros(4)}, "one row per"),
        ({"X_val": None, "val_gradients": np.zeros((2, 4))}, "there are 2 validation rows"),
        ({"X_val": None, "y_val": None, "val_gradients": np.zeros((0, 4))}, "no rows"),
        ({"X_val": np.zeros((40, 2))}, "rows of shape"),
        ({"X_val": np.zeros((39, 3))}, "39 rows"),
        ({"X_val": np.zeros((0, 3)), "y_val": np.zeros(0)}, "no rows"),
        ({"X_val": np.full((40, 3), np.nan)}, "NaN"),
        ({"y_val": np.array(["sick"] * 40)}, "no label can be equal"),
        ({"y_val": np.full(40, 7)}, "no label of y_val"),
        ({"radius": 1.0}, "radius= is for"),
        ({"radius": -1.0, "method": "threshold"}, "radius is"),
        ({"bits": 9, "method": "weighted"}, "bits is"),
        ({"k": 65, "method": "weighted"}, "up to 64"),
        ({"utility": len}, "utility= is not for"),
        ({"rounds": 3}, "rounds= is not for"),
        ({"method": "source-shapley"}, "X_val= is not for"),
    ],
)
def test_errors_say_what_is_wrong(ask, how, words):
    with pytest.raises(ModelError, match=re.escape(words)):
        ask(**how)


def test_weighted_refuses_more_than_two_classes(clinics):
    from sklearn.linear_model import LogisticRegression

    y = np.arange(138) % 3
    with tp.training_context(LogisticRegression().fit(clinics.features, y), clinics.X, y) as ctx:
        pass
    with pytest.raises(ModelError, match="two classes, and there are 3"):
        tp.data_valuation(ctx.gradient_store, X_val=clinics.X_test, y_val=clinics.y_test, method="weighted")


@pytest.mark.parametrize(
    "how, words",
    [
        ({"utility": None}, "needs utility"),
        ({"pipeline": None}, "needs pipeline"),
        ({"pipeline": scaled}, "call it"),
        ({"pipeline": 3}, "not int"),
        ({"sources": None}, "name its sources"),
        ({"sources": []}, "no source"),
        ({"sources": ["a", "a"]}, "named twice"),
        ({"sources": [f"s{i}" for i in range(13)]}, "12 sources at most, and there are 13"),
        ({"rounds": 1}, "rounds is"),
        ({"utility": lambda kept: np.nan}, "no source at all"),
        ({"utility": lambda kept: [1, 2], "empty": 0}, "the coalition of 'a'"),
        ({"utility": lambda kept: 1 / len(kept)}, "ZeroDivisionError"),
        ({"pipeline": lambda weights: 1}, "no known number of rows"),
    ],
)
def test_errors_of_source_games(how, words):
    usual = {"pipeline": lambda kept: kept, "utility": len, "sources": ["a", "b"]}
    with pytest.raises(ModelError, match=re.escape(words)):
        tp.data_valuation(method="source-shapley", **(usual | how))
