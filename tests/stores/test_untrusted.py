"""Headers and blobs that somebody else made, checksums and all: an error of ours, and nothing run."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import traceprop as tp
from traceprop.errors import CorruptError, TracepropError
from traceprop.stores import Run
from traceprop.stores.blobs import digest_of, opened
from traceprop.stores.pack import packed
from traceprop.stores.unpack import unpacked

X = tp.from_numpy(np.array([[3.0, 1.0], [1.0, 2.0], [2.0, 0.0]]), source_id="x")
MADE = X[X[:, 1] > 0.5]
CHAINED = tp.from_numpy(MADE.compute(), source_id="made", lineage=tp.provenance(MADE))
PACKED = packed({"sorted": CHAINED[np.argsort(CHAINED[:, 0])], "x": X})
BLOBS = {blob.digest: blob for blob in PACKED.blobs}
RUN = Run.new("forged", "here.py:1", None, 0)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.text(max_size=4) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def asked(header: bytes, fetch) -> None:
    view = unpacked(RUN, header, fetch, "a store")
    for question in (
        view.sources,
        view.ops,
        lambda: view.rows(0, "any"),
        lambda: view.affected_rows("x", [0]),
        lambda: view.locate(0),
    ):
        question()


def test_the_header_as_it_was_is_asked():
    asked(PACKED.header, lambda digest: BLOBS[digest].fetch())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_changed_headers(data):
    header = json.loads(PACKED.header)
    place, key = header, data.draw(st.sampled_from(sorted(header)))
    while isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    if data.draw(st.booleans()):
        place[key] = data.draw(JSON)
    else:
        del place[key]
    with contextlib.suppress(TracepropError):
        asked(json.dumps(header).encode(), lambda digest: BLOBS[digest].fetch() if digest in BLOBS else None)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_headers_that_are_none(content):
    with pytest.raises(TracepropError):
        asked(content, lambda digest: None)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(BLOBS)), st.data())
def test_blobs_whose_checksum_was_made_to_fit(digest, data):
    blob = BLOBS[digest]
    content = bytearray(blob.fetch())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    bad = bytes(content[: data.draw(st.integers(0, len(content)))]) if data.draw(st.booleans()) else bytes(content)
    with contextlib.suppress(TracepropError):
        opened(blob.kind, digest_of(blob.kind, bad), bad, "a blob")


@pytest.mark.parametrize("kind", ["text", "array", "objects", "keys", "positions"])
def test_pickles_are_not_read(kind):
    import io
    import pickle

    out = io.BytesIO()
    np.save(out, np.array([print], dtype=object), allow_pickle=True)
    for content in (b"-" + out.getvalue(), pickle.dumps(print), out.getvalue()):
        with pytest.raises(CorruptError):
            opened(kind, digest_of(kind, content), content, "a blob")
