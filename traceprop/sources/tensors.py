"""PyTorch tensors as sources, watched by the count of writes that PyTorch keeps itself, so that they need not be read.

What can be written to past that count is read: tensors whose memory NumPy, or another process, sees too, and small ones.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any

import numpy as np

from traceprop.ir import ArrayType, Dim
from traceprop.ir.types import dtype_name
from traceprop.passes.kernels.dispatch import sample
from traceprop.sources.array import ArraySource, array_kind, changed, content_fingerprint, hashed, unlike_any
from traceprop.sources.source import check_id, next_array_id

SMALL = 1 << 12
"""Bytes up to which all of a tensor is read."""
_TYPES = {
    "float16": "<f2", "float32": "<f4", "float64": "<f8", "int8": "|i1", "int16": "<i2", "int32": "<i4", "int64": "<i8",
    "uint8": "|u1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8", "bool": "|b1", "complex64": "<c8",
    "complex128": "<c16",
}  # fmt: skip
_NAMES: dict[Any, str] = {}


def seen_as_numpy(tensor: Any) -> np.ndarray:
    """A strided tensor of this machine as an array over its memory, which PyTorch is not told of.

    `tensor.numpy()` would mark the user's tensor as one that others write to, and that cannot be resized. Not to be written to.
    """
    kind = _typestr(tensor)
    if kind is None or not tensor.numel():
        found: np.ndarray = tensor.detach().clone().numpy()
        return found
    return np.asarray(_Memory(tensor.detach(), kind))


class _Memory:
    """What NumPy asks of an array that is not its own; it keeps the tensor alive."""

    __slots__ = ("__array_interface__", "tensor")

    def __init__(self, tensor: Any, kind: str) -> None:
        width = tensor.element_size()
        self.tensor = tensor
        self.__array_interface__ = {
            "shape": tuple(tensor.shape),
            "strides": tuple(width * step for step in tensor.stride()),
            "typestr": kind,
            "data": (tensor.data_ptr(), False),
            "version": 3,
        }


class Watched:
    """A strided tensor of this machine, and whether it holds what it held when this was made.

    A large one whose memory PyTorch alone sees goes by where it lies, how often PyTorch counted a write, and a few of its cells:
    who writes past the count (`tensor.data`) writes to most of a tensor as a rule. Of any other, all cells are read.
    """

    __slots__ = ("_bytes", "_counted", "_memory", "_seen", "tensor")

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor
        memory = tensor.untyped_storage()
        self._bytes, self._memory = size, held = tensor.nbytes, memory.nbytes()
        self._counted = SMALL < size <= held and memory.resizable() and tensor.is_contiguous()
        try:
            self._seen = self._state()
        except RuntimeError:  # a tensor of `torch.inference_mode`, whose writes nobody counts
            self._counted = False
            self._seen = self._state()

    def same(self) -> bool:
        """Whether nobody has written to it."""
        return self._state() == self._seen

    def _state(self) -> Hashable:
        tensor = self.tensor
        memory = tensor.untyped_storage().nbytes()  # which the user may have taken away
        if self._counted:
            at = tensor.data_ptr()
            found = tensor._version, at, memory, tensor.stride()
            return (*found, sample(at, self._bytes)) if memory == self._memory else found
        if memory < tensor.nbytes + tensor.storage_offset() * tensor.itemsize:
            return tensor.shape
        if tensor.is_contiguous():
            size = tensor.nbytes
            return tensor.dtype, tensor.shape, sample(tensor.data_ptr(), size, size)
        return content_fingerprint(seen_as_numpy(tensor))


class TensorSource(ArraySource):
    """A PyTorch tensor whose axis 0 is its rows; NumPy sees it only when asked for.

    `tensor`: strided, of this machine, of a dtype that NumPy has, without a gradient; not the user's own object, which they may
    give other memory.
    """

    def __init__(self, tensor: Any, source_id: str | None = None) -> None:
        self.id = check_id(source_id) if source_id is not None else next_array_id()
        self._shape = shape = tensor.shape
        self.n_rows = shape[0] if shape else 1
        self.dtype = _NAMES[tensor.dtype] if tensor.dtype in _NAMES else _named(tensor.dtype)
        self._watched = Watched(tensor)
        self.stands_for(tensor, "torch")

    @staticmethod
    def serves(tensor: Any) -> bool:
        """Whether NumPy has the tensor's dtype."""
        return tensor.dtype in _NAMES or _typestr(tensor) is not None

    @functools.cached_property
    def _array(self) -> np.ndarray:  # type: ignore[override]
        return seen_as_numpy(self._original)

    @functools.cached_property
    def content_hash(self) -> str:  # type: ignore[override]
        """Of the cells, which are read when this is first asked for; one like no other where they were written to before."""
        kind = f"{self.dtype}{tuple(self._shape)}"
        if not self._watched.same():
            return f"{kind}:{unlike_any()}"
        return hashed(kind, self._array)

    def _kind(self) -> ArrayType:
        return array_kind(self.dtype, tuple(self._shape[1:]) if self._shape else None)

    def type(self, rows: Dim) -> ArrayType:
        return ArrayType(self.dtype, (rows, *self._shape[1:]) if self._shape else ())

    def check_unchanged(self) -> None:
        if not self._watched.same():
            raise changed(self.id)


def _typestr(tensor: Any) -> str | None:
    return _TYPES.get(str(tensor.dtype).removeprefix("torch."))


def _named(dtype: Any) -> str:
    """The IR's name of a dtype of PyTorch's."""
    name = _NAMES[dtype] = dtype_name(np.dtype(_TYPES[str(dtype).removeprefix("torch.")]))
    return name
