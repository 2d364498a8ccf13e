"""Sentiment of film reviews (SST-2): phrases as word numbers, and an embedding classifier that retrains in a second."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.tasks.adult import folder
from benchmarks.tasks.network import AbstractNetworkTask

TRAIN_ROWS, TEST_ROWS = 6_000, 500
LENGTH, SHORTEST = 24, 6
NONE, UNKNOWN = 0, 1


@dataclass(frozen=True)
class Phrases(AbstractNetworkTask):
    """Word numbers int64 (n, T), 0 behind the end, and the widths of the network."""

    vocabulary: int
    width: int
    hidden: int

    @property
    def architecture(self) -> dict[str, Any]:
        return {"kind": "text", "vocabulary": self.vocabulary, "width": self.width, "hidden": self.hidden}


def sentiments() -> Phrases:
    """6,000 phrases of six words or more at random, and 500 sentences; words that occur twice. Widths 32 and 64; 8 passes."""
    import pandas as pd

    path = folder() / "sst2.csv.gz"
    if not path.exists():
        raise SystemExit(f"no {path.name}: set TRACEPROP_DATA to the folder with the data sets")
    table = pd.read_csv(path, keep_default_na=False)
    words = table["text"].str.split()
    long = (words.str.len() >= SHORTEST).to_numpy()
    order = np.random.RandomState(42)
    train = order.permutation(np.flatnonzero((table["split"] == "train").to_numpy() & long))[:TRAIN_ROWS]
    test = order.permutation(np.flatnonzero((table["split"] == "dev").to_numpy() & long))[:TEST_ROWS]
    counts = Counter(word for row in train for word in words[row])
    known = sorted(word for word, count in counts.items() if count > 1)
    numbers = {word: number for number, word in enumerate(known, UNKNOWN + 1)}
    X = np.full((len(table), LENGTH), NONE, dtype=np.int64)
    for row in (*train, *test):
        ids = [numbers.get(word, UNKNOWN) for word in words[row][:LENGTH]]
        X[row, : len(ids)] = ids
    y = table["label"].to_numpy(np.int64)
    words_known = UNKNOWN + 1 + len(known)
    return Phrases(
        "SST-2", X[train], y[train], X[test], y[test], "adam", 3e-3, 64, 8, (1, 2, 4, 6, 8), words_known, 32, 64
    )
