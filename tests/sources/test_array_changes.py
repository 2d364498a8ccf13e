"""Arrays that change between call and run are told, small ones and large, in cells, dtype and shape."""

import numpy as np
import pytest

from traceprop.errors import ChangedSourceError
from traceprop.passes.kernels.dispatch import fingerprint
from traceprop.sources import ArraySource


@pytest.mark.parametrize("rows", [0, 1, 100, 5_000])
@pytest.mark.parametrize("dtype", ["f8", "i2", "U3", "M8[D]", "O"])
def test_a_change_is_told_and_no_change_is_not(rows, dtype):
    array = np.arange(rows).astype("M8[D]" if dtype == "M8[D]" else dtype)
    source = ArraySource(array, "a")
    source.check_unchanged()
    before = source.content_hash
    assert before == ArraySource(array.copy(), "b").content_hash
    if dtype != "O":
        assert before.endswith(f"{fingerprint(array) & (2**64 - 1):016x}")
    if rows:
        array[rows // 2] = array[0] if rows > 1 else np.array(7).astype(array.dtype)
        with pytest.raises(ChangedSourceError):
            source.check_unchanged()
        assert source.content_hash == before


def test_another_shape_or_dtype_of_the_same_bytes_is_a_change():
    array = np.arange(6.0)
    source = ArraySource(array, "a")
    array.shape = (2, 3)
    with pytest.raises(ChangedSourceError):
        source.check_unchanged()


def test_nan_is_itself_and_minus_zero_is_not_zero():
    array = np.array([np.nan, 0.0])
    source = ArraySource(array, "a")
    source.check_unchanged()
    array[1] = -0.0
    with pytest.raises(ChangedSourceError):
        source.check_unchanged()
