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

    `distances` are facts as (name, value, meaning) for reading; figures stand in `figures` under stable names.
    """

    models: Sequence[ComparedModel]
    figures: Mapping[str, float]
    distances: Sequence[tuple[str, str, str]] = ()
