"""Lazy arrays: they speak NumPy's protocols, and every operation on them is an op."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from traceprop.ir import ArrayType, Expr
from traceprop.ir.expr import product
from traceprop.ir.types import numpy_dtype
from traceprop.tracing import indexing
from traceprop.tracing import numpy as front
from traceprop.tracing.batched import batches
from traceprop.tracing.column import ColumnMethods
from traceprop.tracing.lazy import Lazy, _no_data
from traceprop.tracing.lending import WORTH
from traceprop.tracing.trace import Size
from traceprop.tracing.worlds import to_numpy, to_world, world_of_value


class LazyArray(ColumnMethods, np.lib.mixins.NDArrayOperatorsMixin, Lazy):
    """An array of a program that has not run.

    Outside a traced function `np.asarray(x)` and `x.compute()` run what it needs and give a plain array, whose lineage
    ends there; `tp.provenance(x)` is asked of the lazy value.
    """

    __slots__ = ()
    __hash__ = object.__hash__
    __array_priority__ = 1000.0

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> np.dtype:
        assert isinstance(self.type, ArrayType)
        return numpy_dtype(self.type.dtype)

    @property
    def ndim(self) -> int:
        return self.value.rank

    @property
    def shape(self) -> tuple[Any, ...]:
        """Outside a trace plain sizes, running as little as they need; inside, sizes that stay symbolic in shapes."""
        if self.trace is None:
            return self.concrete_shape()
        return tuple(Size(dim, self.trace) if isinstance(dim, Expr) else dim for dim in self.type.dims)

    @property
    def size(self) -> Any:
        """The number of cells."""
        if self.trace is None:
            return int(np.prod(self.concrete_shape(), dtype=np.int64))
        total = product(self.type.dims)
        return Size(total, self.trace) if isinstance(total, Expr) else total

    @property
    def T(self) -> LazyArray:
        return np.transpose(self)

    @property
    def mT(self) -> LazyArray:
        return np.matrix_transpose(self)

    @property
    def real(self) -> LazyArray:
        return np.real(self) if self.dtype.kind == "c" else self

    @property
    def imag(self) -> LazyArray:
        return np.imag(self)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d array")
        return int(self.shape[0])

    def __repr__(self) -> str:
        if self.trace is not None:
            return f"traced {self.type}"
        return f"LazyArray({np.array2string(self.compute(), separator=', ', prefix='LazyArray(')}, lazy {self.type})"

    # -- what it gives ------------------------------------------------------------------------------------------------

    def compute(self) -> np.ndarray:
        """Runs what this value needs, once, and gives a plain array that is the caller's own to write to.

        The result of a JAX or PyTorch function, and a source made from their arrays, is an array of that library.
        """
        world = self.world
        if world == "numpy":
            return self._own()
        if self.trace is not None:
            raise _no_data(self, "its value")
        value = self.native(world)
        if world_of_value(value) != world:
            return to_world(self._own(), world)
        if world == "jax":  # which nobody can write to
            return value
        if value.nbytes < WORTH or self._call is None:
            return value.clone()
        del value  # which would count as somebody else
        lent = self._call.lend(self.value)
        return self.native(world).clone() if lent is None else lent

    def numpy(self) -> np.ndarray:
        """The value as a NumPy array."""
        return self._own()

    def to_numpy(self, dtype: Any = None) -> LazyArray:
        """Itself, or converted to `dtype`: a column of a table is an array already."""
        return self if dtype is None else self.astype(dtype)

    def _own(self) -> np.ndarray:
        """The value as an array that is the caller's own: copied, or handed over where it is large and nobody else's."""
        plain = self._plain()
        if plain.nbytes < WORTH or self._call is None:
            return plain.copy()
        del plain  # which would count as somebody else
        lent = self._call.lend(self.value)
        return self._plain().copy() if lent is None else lent

    def to_npy(self, path: str | PathLike[str]) -> None:
        """Writes the array as a `.npy` file, batch by batch: whole or, after an error or Ctrl-C, not at all.

        `np.load(path, mmap_mode="r")` maps it into memory. Raises `ExecutionError` for text.
        """
        assert self.executor is not None
        self.executor.write_npy(path, (piece for (piece,) in batches([self], None, empties=True)))

    def _plain(self) -> np.ndarray:
        value = self.concrete()
        return value if isinstance(value, np.ndarray) else to_numpy(getattr(value, "to_numpy", lambda: value)())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.trace is not None:
            self._refuse(
                "conversion of a traced value to a plain array",
                "it has no data while the function is traced, and lineage would be lost; use NumPy functions and "
                "operators on the value itself (np.concatenate, np.where, x[mask], tp.at(plain)[x].get() for plain[x], …), or "
                "convert after the call",
            )
        if dtype is not None or copy is False:
            plain = self._plain()
            if dtype is not None and plain.dtype != dtype:
                return plain.astype(dtype)
            if copy is False and plain.flags.writeable:
                return plain
        return self._own()

    def __dlpack__(self, **options: Any) -> Any:
        return np.asarray(self).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __float__(self) -> float:
        return float(self._scalar("float()"))

    def __int__(self) -> int:
        return int(self._scalar("int()"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex()"))

    def __index__(self) -> int:
        return self._scalar("an index").__index__()

    def item(self, *index: Any) -> Any:
        """The single cell as a Python scalar."""
        return self._scalar("item()").item(*index)

    def tolist(self) -> Any:
        """The cells as nested lists."""
        return self._scalar("tolist()").tolist()

    def _scalar(self, what: str) -> np.ndarray:
        if self.trace is not None:
            raise _no_data(self, what)
        return self._plain()

    # -- what can be done with it -------------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> LazyArray:
        return indexing.getitem(self, index)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return front.ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return front.function(function, args, kwargs)

    def astype(self, dtype: Any, **options: Any) -> LazyArray:
        """The cells converted to `dtype`."""
        return front.astype(self, dtype)

    def reshape(self, *shape: Any, order: str = "C") -> LazyArray:
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, order=order)

    def transpose(self, *axes: Any) -> LazyArray:
        return np.transpose(self, (axes[0] if len(axes) == 1 else axes) or None)

    def compress(self, condition: Any, axis: int | None = None) -> LazyArray:
        return np.compress(condition, self, axis=axis)

    def flatten(self, order: str = "C") -> LazyArray:
        return np.ravel(self, order=order)

    def copy(self) -> LazyArray:
        return self


def _in_place(name: str) -> Any:
    def method(self: LazyArray, other: Any) -> Any:
        self._refuse(
            "in-place write to a traced value" if self.trace is not None else "in-place write to a lazy value",
            f"values of a program are written once; write x = x {name} … instead",
        )

    return method


for _name, _symbol in {
    "add": "+", "sub": "-", "mul": "*", "matmul": "@", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "lshift": "<<", "rshift": ">>", "and": "&", "or": "|", "xor": "^",
}.items():  # fmt: skip
    setattr(LazyArray, f"__i{_name}__", _in_place(_symbol))


def _method(name: str) -> Any:
    function = getattr(np, name)

    def method(self: LazyArray, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"`np.{name}` of this array."
    return method


for _name in (
    "all any argmax argmin argpartition argsort choose clip conj conjugate cumprod cumsum diagonal dot max mean min "
    "nonzero prod ravel repeat round searchsorted squeeze std sum swapaxes take var"
).split():
    setattr(LazyArray, _name, _method(_name))

Lazy.kinds[ArrayType] = LazyArray
