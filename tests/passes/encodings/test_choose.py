"""What is chosen is never larger than plain packing."""

from __future__ import annotations

import numpy as np
import pytest

from traceprop.passes.encodings import encode


@pytest.mark.parametrize("hint", [None, "permutation"])
@pytest.mark.parametrize("n", [1_000, 33_000, 42_119, 65_000])
def test_a_permutation_takes_no_more_than_its_bits(n, hint):
    """Of a random one every other pair is a run of two, and steps down and up are as wide as the numbers."""
    for seed in range(3):
        encoded = encode(np.random.default_rng(seed).permutation(n), hint)
        assert encoded.nbytes <= n * int(np.ceil(np.log2(n))) / 8 + 64
