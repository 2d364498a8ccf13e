from typing import Any

from numpy import int32, int64, uint64
from numpy.typing import NDArray

def project(
    x: NDArray[Any],
    columns: NDArray[int64],
    weights: NDArray[Any],
    out: NDArray[Any],
    offset: int,
    nonzeros: int,
    key: int,
    thresholds: NDArray[uint64],
    guide: NDArray[int32],
    tiles: int,
    block: int,
) -> None: ...
