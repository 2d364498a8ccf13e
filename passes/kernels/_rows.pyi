from typing import Any

from numpy.typing import NDArray

def add_rows(rows: NDArray[Any], total: NDArray[Any], panel: int) -> None: ...
