"""Film reviews: a vocabulary by counts, ids with padding, a small embedding classifier in torch, and who taught it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import traceprop as tp
from tests.pipelines.held import same_rows

torch = pytest.importorskip("torch")
nn = torch.nn
F = torch.nn.functional

WORDS, LENGTH = 300, 12


@pytest.fixture(scope="module")
def reviews(data_dir):
    frame = pd.read_csv(data_dir / "sst2.csv.gz", keep_default_na=False, nrows=3_000)
    return frame[frame["text"].str.split().str.len() >= 4].head(400).reset_index(drop=True)


def ids_of(texts, vocabulary):
    known = {word: k + 1 for k, word in enumerate(vocabulary)}
    ids = np.zeros((len(texts), LENGTH), dtype=np.int64)
    for row, text in zip(ids, texts, strict=True):
        found = [known[word] for word in text.split() if word in known][:LENGTH]
        row[: len(found)] = found
    return ids


@tp.trace
def chosen(ids, labels):
    """Reviews with three known words or more; frequent ones first."""
    enough = (ids > 0).sum(axis=1) >= 3
    order = np.argsort(-(ids[enough] > 0).sum(axis=1), kind="stable")
    return ids[enough][order], labels[enough][order]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS + 1, 8, padding_idx=0)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 2)

    def forward(self, ids):
        there = (ids > 0).unsqueeze(-1).float()
        return self.out(self.norm((self.words(ids) * there).sum(1) / there.sum(1)))


def test_a_reviews_teachers_are_reviews_of_the_file(reviews):
    words = reviews["text"].str.split().explode().value_counts().index[:WORDS]
    ids = ids_of(reviews["text"], words)
    X, y = chosen(tp.from_numpy(ids, "reviews"), tp.from_numpy(reviews["label"].to_numpy(), "labels"))
    known = (ids > 0).sum(axis=1)
    kept = np.flatnonzero(known >= 3)
    rows = kept[np.argsort(-known[kept], kind="stable")]
    np.testing.assert_array_equal(np.asarray(X), ids[rows])
    same_rows(tp.provenance(X), {"reviews": rows})

    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    with tp.training_context(model, X, y, loss=F.cross_entropy) as ctx:
        for epoch in range(2):
            for xb, yb, batch in ctx.batches(64, shuffle=True, seed=epoch):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(xb.long()), yb.long())
                loss.backward()
                optimizer.step()
                ctx.step(loss, batch)
    engine = tp.attribution_engine(ctx.gradient_store, "influence", checkpoints=1)
    found = engine.explain(np.asarray(X)[:1], np.asarray(y)[:1])
    best = found.top(3)
    assert {row["source_id"] for row in best} <= {"reviews", "labels"}
    assert all(row["row"] in rows for row in best)
    scores = np.asarray(engine.scores(np.asarray(X)[:50], np.asarray(y)[:50]))
    own = scores[np.arange(50), np.arange(50)]
    assert (own > np.median(scores, axis=1)).mean() > 0.9  # what a row says of itself counts
