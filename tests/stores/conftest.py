"""One fixture for all stores: `store` is an empty one of each kind, and `again(store)` the same store opened anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from traceprop.stores import AbstractStore, SQLiteStore

Make = Callable[[], AbstractStore]
KINDS = ("sqlite",)


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Opens one and the same new store, as often as it is called."""
    return lambda: SQLiteStore(tmp_path / "runs.db")


@pytest.fixture
def store(make: Make) -> Iterator[AbstractStore]:
    with make() as opened:
        yield opened
