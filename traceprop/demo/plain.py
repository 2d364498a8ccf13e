"""The same preparation without traceprop, in pandas and NumPy: what the traced one has to equal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from traceprop.demo.pipeline import CATEGORIES, NUMBERS
from traceprop.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas as pd


def read(path: Path) -> pd.DataFrame:
    """Read one office's file; `?` alone means missing."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("the demo compares with pandas: pip install 'traceprop[demo]'") from None
    return pd.read_csv(path, na_values=["?"], keep_default_na=False)


def prepare_plain(north: pd.DataFrame, south: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Do line by line what `prepare` does."""
    import pandas as pd

    north, south = north.dropna(), south.dropna()
    people = pd.concat([north, south])
    numbers = people[NUMBERS].to_numpy("float64")
    scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    groups = pd.get_dummies(people[CATEGORIES]).to_numpy("float64")
    features = np.concatenate([scaled, groups], axis=1)
    label = (people["income"] == ">50K").to_numpy("float64")
    return features, label
