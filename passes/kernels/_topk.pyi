from typing import Any

from numpy import int64
from numpy.typing import NDArray

def topk(scores: NDArray[Any], order: NDArray[int64], heap: NDArray[Any]) -> None: ...
