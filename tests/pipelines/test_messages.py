"""Text messages: tf-idf beside counted signs of spam, a linear model, and a sentiment classifier of embedded words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import traceprop as tp
from tests.pipelines.held import same_rows, same_values


@pytest.fixture(scope="module")
def messages(data_dir):
    return pd.read_csv(data_dir / "sms_spam.csv.gz", keep_default_na=False, nrows=600)


@tp.trace
def prepare(sms):
    sms = sms.unique(["text"])
    text = sms["text"]
    signs = np.stack(
        [
            text.str.len(),
            text.str.count("!"),
            text.str.count(r"\d", regex=True),
            text.str.count(r"[A-Z]", regex=True) / np.maximum(text.str.len(), 1.0),
            text.str.contains("(?i)free|win|prize", regex=True).astype(float),
            text.str.lower().str.contains("http").astype(float),
        ],
        axis=1,
    )
    scaled = (signs - signs.mean(axis=0)) / np.where(signs.std(axis=0) == 0, 1.0, signs.std(axis=0))
    words = sms[["text"]].tfidf("text").to_numpy("float64")
    return np.concatenate([scaled, words], axis=1), (sms["label"] == "spam").astype(float)


def prepare_plain(sms):
    from sklearn.feature_extraction.text import TfidfVectorizer

    sms = sms.drop_duplicates(["text"])
    text = sms["text"]
    length = text.str.len()
    signs = np.column_stack(
        [
            length,
            text.str.count("!"),
            text.str.count(r"\d"),
            text.str.count("[A-Z]") / np.maximum(length, 1.0),
            text.str.contains("free|win|prize", case=False),
            text.str.lower().str.contains("http"),
        ]
    ).astype(float)
    deviation = signs.std(axis=0)
    scaled = (signs - signs.mean(axis=0)) / np.where(deviation == 0, 1.0, deviation)
    words = TfidfVectorizer().fit_transform(text).toarray()
    return np.concatenate([scaled, words], axis=1), (sms["label"] == "spam").astype(float), sms.index.to_numpy()


def test_it_is_what_pandas_and_sklearn_make_and_every_row_is_known(messages):
    X, spam = prepare(tp.from_dataframe(messages, "sms"))
    plain, label, rows = prepare_plain(messages)
    same_values(X, plain, rtol=1e-7)
    same_values(spam, label)
    same_rows(tp.provenance({"X": X, "spam": spam}), {"sms": rows})


def test_new_messages_go_through_what_was_fitted(messages):
    from sklearn.feature_extraction.text import TfidfVectorizer

    old, new = messages.iloc[:500], messages.iloc[500:520]
    fitted = prepare.fit(tp.from_dataframe(old, "sms"))
    X, _ = fitted(tp.from_dataframe(new.drop_duplicates(["text"]), "new"))
    found = np.asarray(X)
    text = old.drop_duplicates(["text"])["text"]
    words = TfidfVectorizer().fit(text).transform(new.drop_duplicates(["text"])["text"]).toarray()
    same_values(found[:, 6:], words, rtol=1e-7)
    view = tp.provenance(X)
    assert view.rows(3)["new"].tolist() == [3]
