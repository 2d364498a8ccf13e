"""KNN-Shapley of other libraries, in a virtual environment of their own, which benchmarks/cache keeps.

Run by that environment's Python: `valuation_peers.py LIBRARY in.npz out.npz`, with X, y, X_val, y_val and k in the
first file and values and seconds in the second.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

# OpenDataVal pins libraries of 2023 that Python 3.11's current wheels no longer go with; its KNN-Shapley needs none of them.
PEERS = ("dattri==0.3.0", "opendataval==1.3.0")
NEEDED = (
    "torch numpy scipy pandas scikit-learn tqdm pyyaml pretty_midi requests torcheval transformers geomloss==0.2.6 "
    "pandera pykeops matplotlib typer setuptools<81"
).split()


def environment() -> tuple[Path | None, str]:
    """Return the Python with both libraries, made where it is missing; or None, and what went wrong."""
    # Imported here: the environment's Python runs this file too, and knows nothing of the project.
    from benchmarks.peers.environment import NotInstalled, python

    try:
        return python("valuation", NEEDED, ["--no-deps", *PEERS]), ""
    except NotInstalled as error:
        return None, str(error)


def values(python: Path, library: str, problem: dict[str, Any]) -> tuple[np.ndarray, float]:
    """Return a library's values (n,) and the seconds they took. Raises RuntimeError with its last words."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(given, **problem)
        done = subprocess.run(
            [str(python), "-W", "ignore", __file__, library, str(given), str(found)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
        with np.load(found) as result:
            return result["values"], float(result["seconds"])


def dattri(X: Any, y: Any, X_val: Any, y_val: Any, k: int) -> tuple[Any, float]:
    import torch
    from dattri.algorithm.data_shapley import KNNShapleyAttributor
    from torch.utils.data import DataLoader, TensorDataset

    def loader(rows: Any, labels: Any) -> Any:
        return DataLoader(TensorDataset(torch.as_tensor(rows), torch.as_tensor(labels)), batch_size=512, shuffle=False)

    attributor = KNNShapleyAttributor(k_neighbors=k)
    start = time.perf_counter()
    found = attributor.attribute(loader(X, y), loader(X_val, y_val), y.tolist(), y_val.tolist())
    return found.numpy().astype(np.float64).mean(axis=0), time.perf_counter() - start


def opendataval(X: Any, y: Any, X_val: Any, y_val: Any, k: int) -> tuple[Any, float]:
    from unittest.mock import MagicMock

    import torch
    import transformers  # noqa: F401  (looks for torchvision, and must not find the stand-in)

    # Only its image data sets use torchvision, whose wheels on PyPI do not load beside every build of torch.
    for name in ("", ".transforms", ".transforms.functional", ".datasets"):
        sys.modules["torchvision" + name] = MagicMock(__spec__=None)
    from opendataval.dataval.knnshap import KNNShapley

    evaluator = KNNShapley(k_neighbors=k, batch_size=512)
    classes = int(max(y.max(), y_val.max())) + 1
    one_hot = [torch.nn.functional.one_hot(torch.as_tensor(labels), classes).float() for labels in (y, y_val)]
    evaluator.input_data(torch.as_tensor(X), one_hot[0], torch.as_tensor(X_val), one_hot[1])
    start = time.perf_counter()
    evaluator.train_data_values()
    return evaluator.evaluate_data_values(), time.perf_counter() - start


def main() -> None:
    library, given, found = sys.argv[1:]
    with np.load(given) as problem:
        arrays = {name: problem[name] for name in ("X", "y", "X_val", "y_val")}
        k = int(problem["k"])
    run = {"dattri": dattri, "opendataval": opendataval}[library]
    scores, seconds = run(**arrays, k=k)
    np.savez(found, values=scores, seconds=seconds)


if __name__ == "__main__":
    main()
