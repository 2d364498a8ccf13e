"""A small problem of two classes, read from two files, and fits of it by two frameworks."""

import numpy as np
import pytest

import traceprop as tp

C = 1.0


class Clinics:
    """Two CSV files of 60 and 80 rows; rows 5 and 17 of the first are dropped before training."""

    def __init__(self, folder):
        rng = np.random.default_rng(5)
        self.paths = {}
        for name, n in (("north", 60), ("south", 80)):
            X = rng.normal(size=(n, 3))
            y = (X[:, 0] - X[:, 1] + rng.normal(size=n) > 0).astype(int)
            lines = [f"{a:.6f},{b:.6f},{c:.6f},{client},{label}" for (a, b, c), client, label in
                     zip(X, np.arange(n) % 7, y, strict=True)]  # fmt: skip
            path = folder / f"{name}.csv"
            path.write_text("\n".join(["a,b,c,client,sick", *lines]) + "\n", encoding="utf-8")
            self.paths[name] = path
        self.tables = {name: tp.read_csv(path) for name, path in self.paths.items()}
        kept = np.setdiff1d(np.arange(60), [5, 17])
        self.rows = [("north", int(row)) for row in kept] + [("south", row) for row in range(80)]
        north, south = (table[["a", "b", "c"]].to_numpy("float64") for table in self.tables.values())
        self.X = np.concatenate([north[kept], south])
        self.X = (self.X - self.X.mean(axis=0)) / self.X.std(axis=0)
        labels = [np.asarray(table[["sick"]].to_numpy("int64"))[:, 0] for table in self.tables.values()]
        self.y = np.concatenate([labels[0][kept], labels[1]])
        self.X_test = rng.normal(size=(40, 3))
        self.y_test = (self.X_test[:, 0] - self.X_test[:, 1] + rng.normal(size=40) > 0).astype(int)

    @property
    def features(self):
        return np.asarray(self.X)

    def sklearn(self, rows=slice(None)):
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12).fit(self.features[rows], self.y[rows])

    def store(self):
        with tp.training_context(self.sklearn(), self.X, self.y) as ctx:
            pass
        return ctx.gradient_store


@pytest.fixture(scope="session")
def clinics(tmp_path_factory):
    return Clinics(tmp_path_factory.mktemp("clinics"))


@pytest.fixture
def store(clinics):
    return clinics.store()
