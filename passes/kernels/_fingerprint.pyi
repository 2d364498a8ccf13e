from typing import Any

from numpy import uint8
from numpy.typing import NDArray

def hash_words(words: NDArray[uint8]) -> int: ...
def fingerprint(array: NDArray[Any], header: int) -> int: ...
