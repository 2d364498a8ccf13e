"""A whole program over texts, in full: weights of words as a dense matrix, beside what is counted in each message."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import traceprop as tp
from traceprop.ir import dump

SMS = pd.DataFrame(
    {
        "label": ["ham", "spam", "ham", "spam"],
        "text": ["see you at home", "a prize for you", "home at last", "claim the prize, call home"],
    }
)


def features(sms):
    """The weights of words, and how long a message is."""
    words = sms[["text"]].tfidf("text").to_numpy(float)
    length = np.log1p(sms["text"].str.len().astype(float))
    prize = sms["text"].str.lower().str.contains("prize").astype(float)
    return np.column_stack([words, length, prize]), (sms["label"] == "spam").astype(int)


def test_the_program(golden):
    assert dump(tp.trace(features).ir(SMS), locations=False) == golden


def test_its_values_and_rows():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    found, spam = tp.trace(features)(SMS)
    words = text.TfidfVectorizer().fit_transform(SMS["text"]).toarray()
    wanted = np.column_stack([words, np.log1p(SMS["text"].str.len()), SMS["text"].str.contains("prize")])
    np.testing.assert_allclose(found, wanted.astype(float), rtol=1e-12)
    np.testing.assert_array_equal(spam, [0, 1, 0, 1])
    view = tp.provenance(found)
    assert view.exact
    assert [view.rows(i)["sms"].tolist() for i in range(4)] == [[0], [1], [2], [3]]
    assert view.rows(0, "aggregate")["sms"].tolist() == [0, 1, 2, 3]  # how many messages each word is in
