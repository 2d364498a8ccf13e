"""The public names: there, documented, and meaning what they say."""

from __future__ import annotations

import inspect
import threading

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import SourceError

X = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize("name", sorted(tp.__all__))
def test_every_public_name_is_there_and_documented(name):
    value = getattr(tp, name)
    if callable(value):
        assert inspect.getdoc(value), f"tp.{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        tp.no_such_thing


def test_dir_shows_the_public_names():
    assert set(tp.__all__) <= set(dir(tp))


class TestGranularity:
    @pytest.fixture(autouse=True)
    def restored(self):
        yield
        tp.set_granularity("default")

    def test_the_default(self):
        assert tp.get_granularity() == tp.Granularity.OP == "op"

    def test_in_a_block(self):
        with tp.granularity("batch"):
            assert tp.get_granularity() == "batch"
            with tp.granularity(tp.Granularity.EPOCH):
                assert tp.get_granularity() == "epoch"
            assert tp.get_granularity() == "batch"
        assert tp.get_granularity() == "op"

    def test_a_thread_has_its_own(self):
        tp.set_granularity("epoch")
        seen = []
        thread = threading.Thread(target=lambda: seen.append(tp.get_granularity()))
        thread.start()
        thread.join()
        assert seen == ["op"]
        assert tp.get_granularity() == "epoch"

    def test_an_explicit_one_wins(self):
        function = tp.trace(granularity="batch")(lambda x: x * 2)
        with tp.granularity("epoch"):
            assert function.granularity == "batch"

    def test_off(self):
        tp.set_granularity(None)
        kept = tp.trace(lambda x: x[x[:, 0] > 3])(X)
        np.testing.assert_array_equal(kept, X[2:])
        with pytest.raises(tp.errors.LineageError, match="records no lineage"):
            tp.provenance(kept).rows(0)

    def test_an_unknown_one(self):
        with pytest.raises(ValueError, match="'op', 'batch'"):
            tp.set_granularity("sometimes")


class TestLazyValues:
    @pytest.fixture
    def x(self):
        return tp.from_numpy(X, source_id="x") * 2

    def test_protocols(self, x):
        assert x.shape == (4, 3)
        assert x.dtype == np.float64
        assert x.ndim == 2
        assert len(x) == 4
        for plain in (np.asarray(x), x.compute(), x.numpy(), np.from_dlpack(x)):
            assert type(plain) is np.ndarray
            np.testing.assert_array_equal(plain, X * 2)

    def test_persist_gives_the_value_itself(self, x):
        assert x.persist() is x

    def test_other_libraries_take_them(self, x):
        torch = pytest.importorskip("torch")
        np.testing.assert_array_equal(torch.as_tensor(np.asarray(x)).numpy(), X * 2)
        np.testing.assert_array_equal(torch.from_dlpack(x).numpy(), X * 2)

    def test_what_is_given_out_can_be_written_to(self, x):
        np.asarray(x)[0] = 99
        np.testing.assert_array_equal(np.asarray(x), X * 2)


def test_plain_arguments_are_sources_named_after_their_parameter():
    got = tp.trace(lambda rows, other: rows + other)(X, X)
    assert tp.provenance(got).sources() == ["rows", "other"]


def test_default_ids_are_stems(tmp_path):
    (tmp_path / "clinic.csv").write_text("a\n1\n")
    assert tp.from_csv(tmp_path / "clinic.csv").source_id == "clinic"
    assert tp.read_csv(tmp_path / "clinic.csv", source_id="other").source_id == "other"


def test_two_sources_of_one_id_in_one_program():
    with pytest.raises(SourceError, match="the id 'a'"):
        tp.trace(lambda x, y: x + y)(tp.from_numpy(X, source_id="a"), tp.from_numpy(X, source_id="a"))


def test_reset_graph_forgets_names_and_numbers():
    tp.reset_graph()
    first = tp.from_numpy(X).source_id
    tp.reset_graph()
    assert tp.from_numpy(X).source_id == first
