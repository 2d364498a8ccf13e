"""Tensors are known by what PyTorch counts, and read where it does not count; never does watching mark the user's own."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ChangedSourceError
from traceprop.sources import tensors
from traceprop.sources.tensors import TensorSource, Watched, seen_as_numpy

torch = pytest.importorskip("torch")
nn = torch.nn


def large():
    return torch.arange(4_000.0).reshape(1_000, 4)


WRITES = {
    "a cell": lambda x: x.view(-1)[1_777].add_(1),
    "a row of a view": lambda x: x[3:9][2].zero_(),
    "all, past the count": lambda x: x.data.mul_(2),
    "by an optimiser": lambda x: torch._foreach_add_([x], 1.0),
    "memory taken away": lambda x: x.untyped_storage().resize_(0),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writes_are_seen(write):
    x = large()
    watched = Watched(x)
    assert watched.same()
    write(x)
    assert not watched.same()


OTHERS = {
    "small": lambda: torch.arange(12.0).reshape(3, 4),
    "of NumPy": lambda: torch.from_numpy(np.arange(4_000.0).reshape(1_000, 4)),
    "shown to NumPy": lambda: (x := large(), x.numpy())[0],
    "not in order": lambda: large().T,
    "inference": lambda: torch.inference_mode()(large)(),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_what_is_not_counted_is_read_to_the_last_cell(make):
    x = make()
    watched = Watched(x)
    with torch.inference_mode(x.is_inference()):
        before = x[2, 1].item()
        x.data[2, 1] = -1.0
        assert not watched.same()
        x.data[2, 1] = before
    assert watched.same()


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "bool", "complex64", "uint8"])
def test_a_tensor_seen_as_numpy_is_its_memory_and_can_still_be_resized(dtype):
    x = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    seen = seen_as_numpy(x.T)
    assert x.untyped_storage().resizable()
    assert np.array_equal(seen, x.T.numpy())
    x.zero_()
    assert not seen.any()
    assert seen_as_numpy(x[:0]).shape == (0, 3)


def test_a_call_of_a_large_tensor_reads_a_few_of_its_cells(monkeypatch):
    network = nn.Sequential(nn.Linear(40, 300), nn.ReLU(), nn.Linear(300, 40))
    f, x = tp.trace(network), torch.randn(500, 40)
    f(x).compute()
    read = []
    real = tensors.sample
    monkeypatch.setattr(
        tensors, "sample", lambda at, size, *words: read.append(words or size) or real(at, size, *words)
    )
    whole = []
    monkeypatch.setattr("traceprop.sources.array.content_fingerprint", lambda array: whole.append(array))
    monkeypatch.setattr(tensors, "content_fingerprint", lambda array: whole.append(array))
    monkeypatch.setattr("traceprop.tracing.contents.content_fingerprint", lambda array: whole.append(array))
    torch.testing.assert_close(f(x).compute(), network(x).detach(), rtol=0, atol=0)
    assert not whole
    # The argument and four tensors of weights, at the call and at the run; of the biases, which are small, all is read.
    assert len(read) == 2 * 5
    assert sorted(size[0] for size in read if isinstance(size, tuple)) == [160, 160, 1200, 1200]


def test_a_large_result_of_pytorch_is_handed_over_and_made_again_where_it_was_written_to():
    f, x = tp.trace(lambda x: x * 2.0), torch.randn(400, 200)
    y = f(x)
    mine = y.compute()
    assert mine.data_ptr() == y.call().outcome().results[0].data_ptr()
    other = y.compute()
    assert other.data_ptr() != mine.data_ptr()
    mine.zero_()
    torch.testing.assert_close(y.compute(), x * 2.0)
    again = f(x)
    shown = again.compute().numpy()
    shown[:] = 0.0
    torch.testing.assert_close(again.compute(), x * 2.0)


def test_what_a_function_holds_is_not_handed_over():
    weight = torch.randn(400, 200)
    f, x = tp.trace(lambda x: (weight.T, weight.detach(), x.sum())), torch.randn(4)
    before = weight.clone()
    for _ in range(2):
        turned, same, _ = (value.compute() for value in f(x))
        turned.zero_()
        same.zero_()
    torch.testing.assert_close(weight, before)


def test_between_call_and_run_a_write_is_an_error_that_names_the_tensor():
    f = tp.trace(lambda x: x * 2.0)
    x = torch.randn(2_000, 4)
    f(x).compute()
    late = f(x)
    x[1_234, 2] = 7.0
    with pytest.raises(ChangedSourceError, match="'x'"):
        late.compute()
    shown = f(x)
    x.numpy()  # being looked at changes nothing
    shown.compute()


def test_a_content_hash_is_of_the_cells_and_of_nothing_that_was_written_since():
    x = torch.randn(2_000, 4)
    by_torch, by_numpy = tp.from_torch(x, "x").source, tp.from_numpy(x.clone().numpy(), "x").source
    assert by_torch.content_hash == by_numpy.content_hash
    other, third = TensorSource(x, "x"), TensorSource(x, "x")
    x[0] = 1.0
    assert len({by_torch.content_hash, other.content_hash, third.content_hash}) == 3
