"""Four preparations of the shapes that mlinspect (Grafberger and others, SIGMOD 2022) is measured on, in pandas and traced.

Written for this benchmark, on generated data of the same numbers of rows and kinds of columns: a join of patients with their
histories and an aggregate joined back (`healthcare`), one with everything in one file (`adult easy`), one with imputation and
more columns (`adult normal`), and filters in a row (`compas`). Both give the same features and labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

ROWS = {"healthcare": 889, "adult easy": 32_561, "adult normal": 32_561, "compas": 7_214}


@dataclass(frozen=True)
class Pipeline:
    """One preparation: tables by name, and both ways to prepare them, which take the tables in order."""

    name: str
    tables: dict[str, Any]
    plain: Callable[..., Any]
    traced: Callable[..., Any]


def pipelines(scale: float = 1.0) -> list[Pipeline]:
    """All four, on `scale` times the usual rows."""
    rows = {name: max(60, int(scale * n)) for name, n in ROWS.items()}
    return [
        Pipeline("healthcare", healthcare_tables(rows["healthcare"]), healthcare_plain, healthcare),
        Pipeline("adult easy", {"adult": adult_table(rows["adult easy"])}, adult_easy_plain, adult_easy),
        Pipeline("adult normal", {"adult": adult_table(rows["adult normal"])}, adult_normal_plain, adult_normal),
        Pipeline("compas", {"compas": compas_table(rows["compas"])}, compas_plain, compas),
    ]


# -- data -----------------------------------------------------------------------------------------------------------------


def _texts(rng: np.random.Generator, n: int, words: list[str], missing: float = 0.0) -> Any:
    weights = 1.0 / np.arange(1, len(words) + 1)
    found = rng.choice(np.array(words, dtype=object), n, p=weights / weights.sum())
    found[rng.random(n) < missing] = None
    return found


def _words(name: str, count: int) -> list[str]:
    return [f"{name}-{k}" for k in range(count)]


def healthcare_tables(n: int) -> dict[str, Any]:
    import pandas as pd

    rng = np.random.default_rng(1)
    numbers = rng.permutation(n)
    patients = pd.DataFrame(
        {
            "ssn": [f"{k:09d}" for k in numbers],
            "age_group": _texts(rng, n, _words("group", 3)),
            "race": _texts(rng, n, _words("race", 3), 0.1),
            "county": _texts(rng, n, _words("county", 4)),
            "num_children": rng.integers(0, 6, n),
            "income": np.round(rng.lognormal(11, 0.5, n)),
        }
    )
    histories = pd.DataFrame(
        {
            "ssn": [f"{k:09d}" for k in rng.permutation(n)],
            "smoker": _texts(rng, n, ["no", "yes"], 0.05),
            "complications": rng.integers(0, 10, n),
        }
    )
    return {"patients": patients, "histories": histories}


def adult_table(n: int) -> Any:
    import pandas as pd

    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "age": rng.integers(17, 91, n),
            "workclass": _texts(rng, n, _words("work", 8), 0.056),
            "education": _texts(rng, n, _words("school", 16)),
            "marital-status": _texts(rng, n, _words("marital", 7)),
            "occupation": _texts(rng, n, _words("job", 14), 0.057),
            "race": _texts(rng, n, _words("race", 5)),
            "sex": _texts(rng, n, ["male", "female"]),
            "capital-gain": np.where(rng.random(n) < 0.08, rng.integers(100, 99_999, n), 0),
            "hours-per-week": rng.integers(1, 99, n),
            "native-country": _texts(rng, n, _words("country", 41), 0.018),
            "income": _texts(rng, n, ["<=50K", ">50K"]),
        }
    )


def compas_table(n: int) -> Any:
    import pandas as pd

    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "sex": _texts(rng, n, ["male", "female"]),
            "age": rng.integers(18, 96, n),
            "race": _texts(rng, n, _words("race", 6)),
            "priors_count": rng.integers(0, 38, n),
            "days_b_screening_arrest": np.where(rng.random(n) < 0.04, np.nan, np.round(rng.normal(0, 25, n))),
            "c_charge_degree": _texts(rng, n, ["F", "M", "O"]),
            "is_recid": rng.integers(-1, 2, n),
            "score_text": _texts(rng, n, ["Low", "Medium", "High", "N/A"]),
        }
    )


# -- in pandas ------------------------------------------------------------------------------------------------------------


def _scaled(numbers: Any) -> Any:
    return (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)


def _features_plain(table: Any, numbers: list[str], categories: list[str]) -> Any:
    import pandas as pd

    groups = pd.get_dummies(table[categories]).to_numpy("float64")
    return np.concatenate([_scaled(table[numbers].to_numpy("float64")), groups], axis=1)


def _filled_plain(table: Any, columns: list[str]) -> Any:
    return table.assign(**{name: table[name].fillna(table[name].mode()[0]) for name in columns})


COUNTIES = ["county-1", "county-2"]


def healthcare_plain(patients: Any, histories: Any) -> Any:
    table = patients.merge(histories, on="ssn")
    means = table.groupby("age_group").agg(typical=("complications", "mean")).reset_index()
    table = table.merge(means, on="age_group")
    label = (table["complications"] > 1.2 * table["typical"]).to_numpy()
    table = table[["smoker", "county", "num_children", "race", "income"]].assign(label=label)
    table = table[table["county"].isin(COUNTIES)]
    table = _filled_plain(table, ["smoker", "race"])
    x = _features_plain(table, ["num_children", "income"], ["smoker", "county", "race"])
    return x, table["label"].to_numpy("float64")


def adult_easy_plain(table: Any) -> Any:
    table = table.dropna()
    label = (table["income"] == ">50K").to_numpy("float64")
    return _features_plain(table, ["age", "hours-per-week"], ["education", "workclass"]), label


MANY = ["workclass", "education", "marital-status", "occupation", "race", "sex", "native-country"]


def adult_normal_plain(table: Any) -> Any:
    label = (table["income"] == ">50K").to_numpy("float64")
    table = _filled_plain(table, ["workclass", "occupation", "native-country"])
    return _features_plain(table, ["age", "capital-gain", "hours-per-week"], MANY), label


def compas_plain(table: Any) -> Any:
    table = table[(table["days_b_screening_arrest"] <= 30) & (table["days_b_screening_arrest"] >= -30)]
    table = table[table["is_recid"] != -1]
    table = table[table["c_charge_degree"] != "O"]
    table = table[table["score_text"] != "N/A"]
    label = (table["score_text"] == "High").to_numpy("float64")
    old = (table["age"] > 45).to_numpy("float64")
    x = _features_plain(table, ["priors_count", "is_recid"], ["c_charge_degree", "race", "sex"])
    return np.concatenate([x, old[:, None]], axis=1), label


# -- traced -----------------------------------------------------------------------------------------------------------------


def _features(table: Any, numbers: list[str], categories: list[str]) -> Any:
    groups = table.select(categories).one_hot(categories).to_numpy("float64")
    return np.concatenate([_scaled(table.select(numbers).to_numpy("float64")), groups], axis=1)


def _filled(table: Any, columns: list[str]) -> Any:
    rest = [name for name in table.columns if name not in columns]
    if not rest:
        return table.fill_nulls("mode")
    return table.assign(**{name: table.select([name]).fill_nulls("mode")[name] for name in columns})


def healthcare(patients: Any, histories: Any) -> Any:
    table = patients.join(histories, on="ssn")
    means = table.group_by("age_group").agg(typical=("complications", "mean"))
    table = table.join(means, on="age_group")
    table = table.assign(label=table["complications"] > 1.2 * table["typical"])
    table = table.select(["smoker", "county", "num_children", "race", "income", "label"])
    table = table[table["county"].isin(COUNTIES)]
    table = _filled(table, ["smoker", "race"])
    x = _features(table, ["num_children", "income"], ["smoker", "county", "race"])
    return x, table["label"].astype("float64")


def adult_easy(adult: Any) -> Any:
    table = adult.drop_nulls()
    label = (table["income"] == ">50K").astype("float64")
    return _features(table, ["age", "hours-per-week"], ["education", "workclass"]), label


def adult_normal(adult: Any) -> Any:
    label = (adult["income"] == ">50K").astype("float64")
    table = _filled(adult, ["workclass", "occupation", "native-country"])
    return _features(table, ["age", "capital-gain", "hours-per-week"], MANY), label


def compas(compas: Any) -> Any:
    table = compas
    table = table[(table["days_b_screening_arrest"] <= 30) & (table["days_b_screening_arrest"] >= -30)]
    table = table[table["is_recid"] != -1]
    table = table[table["c_charge_degree"] != "O"]
    table = table[table["score_text"] != "N/A"]
    label = (table["score_text"] == "High").astype("float64")
    old = (table["age"] > 45).astype("float64")
    x = _features(table, ["priors_count", "is_recid"], ["c_charge_degree", "race", "sex"])
    return np.concatenate([x, old[:, None]], axis=1), label
