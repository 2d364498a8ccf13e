from typing import Any

from numpy import float64, int16, uint8
from numpy.typing import NDArray

def knn_classes(
    distances: NDArray[Any], hits: NDArray[uint8], k: int, shares: NDArray[float64], values: NDArray[float64]
) -> None: ...
def knn_numbers(
    distances: NDArray[Any], targets: NDArray[float64], wanted: NDArray[float64], k: int, values: NDArray[float64]
) -> None: ...
def knn_votes(
    distances: NDArray[Any],
    votes: NDArray[int16],
    k: int,
    most: int,
    few: NDArray[float64],
    full: NDArray[float64],
    values: NDArray[float64],
) -> None: ...
