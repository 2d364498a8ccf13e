"""benchmarks/stream.py: a small file, and a judge who sees a wrong answer."""

import numpy as np

from benchmarks import stream


def test_a_small_file(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "BLOCK", 20_000)
    path = tmp_path / "people.csv"
    truth = stream.generate(path, 0.0003)
    asked = [0, 5, int(truth["kept"].sum()) - 1]
    ours = stream.run_traceprop(str(path), asked, 700)
    by_hand = stream.run_pandas(str(path), asked, 700)
    verdict = stream.judged(ours, truth, asked, by_hand["sums"])
    assert (verdict["right"], verdict["asked"], verdict["rows_right"]) == (3, 3, True)
    assert verdict["features_off"] < 1e-6
    np.testing.assert_allclose(stream.run_polars(str(path), asked, 700)["sums"], by_hand["sums"], atol=1e-6)
    ours["found"][1][0] += 1
    assert stream.judged(ours, truth, asked, by_hand["sums"])["right"] == 2
