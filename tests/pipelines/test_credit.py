"""German credit, as tutorials score it: codes to ranks, a target encoding, a ColumnTransformer by hand, a logistic model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import traceprop as tp
from tests.pipelines.held import same_rows, same_values

CHECKING = {"A14": 0, "A11": 1, "A12": 2, "A13": 3}
NUMBERS = ["duration", "credit_amount", "age", "existing_credits"]


@pytest.fixture(scope="module")
def frame(data_dir):
    return pd.read_csv(data_dir / "german_credit.csv.gz")


@tp.trace
def prepare(loans):
    loans = loans.rename({"class": "bad"})
    loans = loans.assign(
        bad=(loans["bad"] == 2).astype(float),
        checking_status=loans["checking_status"].map(CHECKING),
        woman=loans["personal_status"].isin(["A92", "A95"]).astype(float),
        monthly=loans["credit_amount"] / loans["duration"],
        young=loans["age"].is_between(18, 25).astype(float),
        owns=loans["housing"].map({"A151": "rents", "A152": "owns", "A153": "free"}),
    )
    loans = loans.target_encode("purpose", target="bad", smoothing=10.0).sort(["duration", "credit_amount"])
    numbers = loans[[*NUMBERS, "monthly"]].to_numpy()
    low, high = numbers.min(axis=0), numbers.max(axis=0)
    rest = loans[["checking_status", "woman", "young", "purpose"]].to_numpy()
    owns = loans[["owns"]].one_hot("owns").to_numpy("float64")
    return np.hstack([(numbers - low) / (high - low), rest, owns]), loans["bad"]


def prepare_plain(loans):
    bad = (loans["class"] == 2).astype(float)
    prior, groups = bad.mean(), bad.groupby(loans["purpose"])
    purpose = loans["purpose"].map((groups.sum() + 10.0 * prior) / (groups.count() + 10.0))
    loans = loans.assign(
        bad=bad,
        purpose=purpose,
        checking_status=loans["checking_status"].map(CHECKING),
        woman=loans["personal_status"].isin(["A92", "A95"]).astype(float),
        monthly=loans["credit_amount"] / loans["duration"],
        young=loans["age"].between(18, 25).astype(float),
        owns=loans["housing"].map({"A151": "rents", "A152": "owns", "A153": "free"}),
    ).sort_values(["duration", "credit_amount"], kind="stable")
    numbers = loans[[*NUMBERS, "monthly"]].to_numpy(float)
    scaled = (numbers - numbers.min(axis=0)) / (numbers.max(axis=0) - numbers.min(axis=0))
    rest = loans[["checking_status", "woman", "young", "purpose"]].to_numpy(float)
    return (
        np.hstack([scaled, rest, pd.get_dummies(loans["owns"]).to_numpy(float)]),
        loans["bad"],
        loans.index.to_numpy(),
    )


def test_it_is_what_pandas_makes_and_every_row_is_known(frame):
    X, bad = prepare(tp.from_dataframe(frame, "credit"))
    plain, label, rows = prepare_plain(frame)
    same_values(X, plain)
    same_values(bad, label)
    same_rows(tp.provenance({"X": X, "bad": bad}), {"credit": rows})


def test_a_rejected_applicant_is_answered_in_rows_and_the_rows_can_go(frame):
    from sklearn.linear_model import LogisticRegression

    X, bad = prepare(tp.from_dataframe(frame, "credit"))
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=5_000).fit(np.asarray(X), np.asarray(bad))
    with tp.training_context(model, X, bad) as ctx:
        pass
    riskiest = int(np.argmax(model.predict_proba(np.asarray(X))[:, 1]))
    found = tp.attribution_engine(ctx.gradient_store).explain(X[riskiest], 1.0)
    strongest = found.top(5)
    assert found.verdict == "exact"
    assert {row["source_id"] for row in strongest} == {"credit"}
    gone = tp.unlearn(gradient_store=ctx.gradient_store, source_id="credit", rows=[row["row"] for row in strongest])
    before, after = (m.decision_function(np.asarray(X)[riskiest : riskiest + 1])[0] for m in (model, gone.model))
    assert gone.verified
    assert after < before
