from numpy import float64, int32, int64
from numpy.typing import NDArray

def run_steps(
    steps: NDArray[int32],
    kinds: NDArray[int32],
    places: NDArray[int64],
    numbers: NDArray[float64],
    first: int,
    last: int,
    chunk: int,
    buffers: int,
    double_: bool,
) -> bool: ...
