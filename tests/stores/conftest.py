"""One fixture for all stores: `store` is an empty one of each kind, and `make()` opens it anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stores.asking import opened
from tests.stores.postgres import dsn, postgres
from traceprop.stores import AbstractStore

__all__ = ["dsn", "postgres"]
KINDS = ("sqlite", "postgres", "parquet")


class Make:
    """Opens one and the same new store, as often as it is called."""

    def __init__(self, kind: str, address: str) -> None:
        self.kind = kind
        self.address = address
        self.opened: list[AbstractStore] = []

    def __call__(self) -> AbstractStore:
        self.opened.append(opened(self.kind, self.address))
        return self.opened[-1]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    address = request.getfixturevalue("dsn") if request.param == "postgres" else str(tmp_path / "runs")
    maker = Make(request.param, address)
    yield maker
    for store in maker.opened:
        store.close()


@pytest.fixture
def store(make: Make) -> AbstractStore:
    return make()
