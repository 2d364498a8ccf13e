"""Census incomes, as tutorials prepare them: question marks out, rare countries together, groups of age, logs, scaling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import traceprop as tp
from tests.pipelines.held import same_rows, same_values

NUMBERS = ["age", "education-num", "capital-gain", "hours-per-week"]
ROWS = 8_000


@pytest.fixture(scope="module")
def frame(data_dir):
    return pd.read_csv(data_dir / "adult.csv.gz", keep_default_na=False, nrows=ROWS)


def prepare(people):
    people = people.filter((people["workclass"] != "?") & (people["occupation"] != "?"))
    people = people.assign(
        abroad=people["native-country"] != "United-States",
        married=people["marital-status"].str.starts_with("Married"),
        rich=people["income"].str.strip(" .") == ">50K",
    )
    people = people.unique(["age", "education", "occupation", "hours-per-week", "fnlwgt"])
    ages = people.bin("age", [25, 35, 50, 65])
    numbers = people[NUMBERS].to_numpy("float64")
    gains = np.log1p(numbers[:, 2])
    scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    codes = ages[["workclass", "sex", "age"]].one_hot(["workclass", "sex", "age"]).to_numpy("float64")
    flags = people[["abroad", "married"]].to_numpy("float64")
    X = np.concatenate([scaled, gains[:, None], codes, flags], axis=1)
    X = np.where(np.abs(X) > 5.0, 5.0 * np.sign(X), X)
    return X, people["rich"]


def prepare_plain(people):
    people = people[(people["workclass"] != "?") & (people["occupation"] != "?")]
    people = people.drop_duplicates(["age", "education", "occupation", "hours-per-week", "fnlwgt"])
    numbers = people[NUMBERS].to_numpy("float64")
    scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    ages = pd.cut(people["age"], [-np.inf, 25, 35, 50, 65, np.inf], right=False)
    codes = pd.get_dummies(people.assign(age=ages)[["workclass", "sex", "age"]], columns=["workclass", "sex", "age"])
    flags = np.column_stack(
        [people["native-country"] != "United-States", people["marital-status"].str.startswith("Married")]
    )
    X = np.concatenate([scaled, np.log1p(numbers[:, 2:3]), codes.to_numpy("float64"), flags.astype(float)], axis=1)
    X = np.where(np.abs(X) > 5.0, 5.0 * np.sign(X), X)
    return X, (people["income"].str.strip(" .") == ">50K").to_numpy(), people.index.to_numpy()


def test_it_is_what_pandas_makes_and_every_row_is_known(frame):
    X, rich = tp.trace(prepare)(tp.from_dataframe(frame, "census"))
    plain, label, rows = prepare_plain(frame)
    same_values(X, plain)
    np.testing.assert_array_equal(np.asarray(rich), label)
    same_rows(tp.provenance({"X": X, "rich": rich}), {"census": rows})
    assert tp.provenance(X).exact
