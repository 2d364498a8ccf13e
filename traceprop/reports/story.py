"""What a report is told beyond lineage and results: the prediction asked about, and models to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction that somebody asks about.

    Parameters
    ----------
    row : mapping of column name to the text of that cell, as it stood in the file
    said, truth : the model's answer, and the right one
    probability : what the model gave the right answer, from 0 to 1
    file, line : where the row came from, if from a file
    """

    row: Mapping[str, str]
    said: str
    truth: str
    probability: float
    file: str | None = None
    line: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"a probability is between 0 and 1, not {self.probability}")


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One model beside others: the original, the corrected one, one really retrained.

    Parameters
    ----------
    name : how the report calls it
    probability : what it gives the right answer of the prediction asked about, from 0 to 1
    accuracy : share of held-out rows that it gets right, from 0 to 1
    forgotten_loss : mean loss on the rows to forget
    seconds : wall-clock time to get this model from the trained one or from the data
    note : one sentence on what it is
    """

    name: str
    probability: float
    accuracy: float
    forgotten_loss: float
    seconds: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Models side by side, and how close the corrected one is to those really retrained.

    `figures` has numbers under stable names. `distances` is the same for reading: one row per measure, its name, its
    value against each of `targets`, and the value that would be right.
    """

    models: Sequence[ComparedModel]
    figures: Mapping[str, float]
    targets: Sequence[str] = ()
    distances: Sequence[Sequence[str]] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.targets) + 2 for row in self.distances):
            raise ValueError(f"a distance is a name, a value for each of {list(self.targets)}, and the right value")
