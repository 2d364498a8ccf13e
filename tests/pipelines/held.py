"""What every pipeline here is held to: the values of plain code, and the rows that its index remembers."""

from __future__ import annotations

import numpy as np

ASKED = 40


def same_values(found, expected, rtol=1e-9):
    """Equal to rounding, and of one shape; NaN where NaN is."""
    found = np.asarray(found)
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-12)


def same_rows(view, expected):
    """Row i of the result is row `expected[source][i]` of each source; -1 where it has none there. Both ways."""
    count = len(next(iter(expected.values())))
    rng = np.random.default_rng(count)
    for i in rng.integers(0, count, min(ASKED, count)):
        wanted = {source: [int(rows[i])] for source, rows in expected.items() if rows[i] >= 0}
        assert {source: rows.tolist() for source, rows in view.rows(int(i)).items()} == wanted
    for source, rows in expected.items():
        for row in rng.choice(np.unique(rows[rows >= 0]), 5):
            np.testing.assert_array_equal(view.affected_rows(source, [int(row)]), np.flatnonzero(rows == row))
