"""What a user of traceprop writes: the preparation of two offices' files, as one traced function."""

from __future__ import annotations

import numpy as np

import traceprop as tp

NUMBERS = ["age", "education-num", "capital-gain", "capital-loss", "hours-per-week"]
CATEGORIES = ["workclass", "education", "marital-status", "occupation", "relationship", "race", "sex", "native-country"]


@tp.trace
def prepare(north, south):
    """Two tables → the features of everybody whose row is complete, and whether they earn more than 50K."""
    north, south = north.drop_nulls(), south.drop_nulls()
    people = tp.concat([north, south])
    numbers = people.select(NUMBERS).to_numpy("float64")
    scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    groups = people.select(CATEGORIES).one_hot(CATEGORIES).to_numpy("float64")
    features = np.concatenate([scaled, groups], axis=1)
    label = (people["income"] == ">50K").astype("float64")
    return features, label
