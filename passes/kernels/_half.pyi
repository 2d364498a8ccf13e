from numpy import float32, uint16
from numpy.typing import NDArray

def widen(stored: NDArray[uint16], scale: NDArray[float32], out: NDArray[float32]) -> None: ...
