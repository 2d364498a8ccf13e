from typing import Any

from numpy import int64
from numpy.typing import NDArray

def topk(scores: NDArray[Any], order: NDArray[int64], heap: NDArray[Any]) -> None: ...
def keep_largest(
    scores: NDArray[Any], positions: NDArray[int64], best: NDArray[Any], places: NDArray[int64]
) -> None: ...
def sort_kept(best: NDArray[Any], places: NDArray[int64]) -> None: ...
