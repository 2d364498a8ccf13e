"""The JAX front end: the function's jaxpr, equation by equation, as ops. JAX internals appear in this file alone.

`jax.make_jaxpr` runs the function on abstract arrays of the sizes at hand. Nested calls (`jit`, `custom_jvp`, `remat`, …) are
inlined; what hangs on no argument is computed while tracing. Which ops a primitive is, the modules of `jaxpr/` say.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from traceprop.errors import TraceError
from traceprop.ir import ArrayType, Location, Op, Param, Program, Value
from traceprop.ir.location import user_location
from traceprop.ir.types import dtype_name, numpy_dtype
from traceprop.passes.optimize.same_call import Unlike, key_of
from traceprop.tracing.jaxpr import control, decompositions, elementwise, folds, linalg, rows, scatter, shape, windows
from traceprop.tracing.jaxpr.flat import Flat, FlatEquation
from traceprop.tracing.jaxpr.graph import MANY_CELLS, Equation, Graph, Handler, Held, Known, traced
from traceprop.tracing.jaxpr.known import by_numpy
from traceprop.tracing.structure import flatten, rebuild
from traceprop.tracing.worlds import key_kind, wrapped_keys

HANDLERS: dict[str, Handler] = {
    **elementwise.HANDLERS,
    **shape.HANDLERS,
    **folds.HANDLERS,
    **rows.HANDLERS,
    **scatter.HANDLERS,
    **windows.HANDLERS,
    **linalg.HANDLERS,
    **decompositions.HANDLERS,
    **control.HANDLERS,
}
_CALLS = {
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr", "custom_lin", "xla_call", "run_state",
}  # fmt: skip
_WIDE = ("f64", "c128", "i64", "u64")
_WIDE_FLOATS, _NARROW_FLOATS = ("f64", "c128"), ("f16", "f32", "c64")


def trace(name: str, call: Callable[[list[Any]], Any], params: list[Param]) -> tuple[list[Op], Any]:
    """The ops of `call`, in order, and its result with `Value`s for arrays.

    64-bit arguments stay so, by `jax.enable_x64` in this scope alone; beside 32-bit floats 64-bit integers become 32-bit
    ones, as they do in JAX by default. Raises `TraceError` for what depends on values while the function is traced.
    """
    dtypes = {_dtype(param) for param in params}
    wide = bool(dtypes.intersection(_WIDE_FLOATS)) or (
        bool(dtypes.intersection(_WIDE)) and not dtypes.intersection(_NARROW_FLOATS)
    )
    seen: list[Any] = []

    def flat(*arrays: Any) -> list[Any]:
        result = call(list(arrays))
        seen[:] = [result]
        return [leaf for _, leaf in flatten(result, "", _is_leaf) if _is_array(name, leaf)]

    with jax.enable_x64(wide or bool(jax.config.jax_enable_x64)):
        narrow = [jax.dtypes.canonicalize_dtype(numpy_dtype(_dtype(param))) for param in params]
        given = [jax.ShapeDtypeStruct(p.type.dims, dtype) for p, dtype in zip(params, narrow, strict=True)]
        try:
            closed = jax.make_jaxpr(flat)(*given)
        except TraceError:
            raise
        except Exception as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            raise TraceError(refusal) from error
        graph = Graph()
        graph.location = _of_traceback(None)
        walk = _Walk(graph)
        inputs = [_narrowed(graph, param, dtype) for param, dtype in zip(params, narrow, strict=True)]
        found = iter([graph.value(held) for held in walk.inlined(closed, inputs, True)])
    result = rebuild(seen[0], lambda leaf: next(found) if _is_array(name, leaf) else leaf, _is_leaf)
    values = [leaf for _, leaf in flatten(result, "", _is_leaf) if isinstance(leaf, Value)]
    return _needed(graph.ops, values), result


def _needed(ops: list[Op], values: list[Value]) -> list[Op]:
    """The ops that some values need; `ops` stand in an order that runs."""
    wanted, kept = set(values), []
    for op in reversed(ops):
        if op.result in wanted:
            wanted.update(op.operands)
            kept.append(op)
    return kept[::-1]


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, (tuple, list, dict))


def _is_array(name: str, leaf: Any) -> bool:
    """Raises `TraceError` for a structure that holds arrays and is no tuple, list or dict."""
    if isinstance(leaf, jax.Array):
        return True
    if not jax.tree_util.all_leaves([leaf]) and any(isinstance(x, jax.Array) for x in jax.tree_util.tree_leaves(leaf)):
        raise TraceError(
            f"{name!r} returns a {type(leaf).__name__}, whose arrays cannot be seen; return tuples, lists or dicts of arrays"
        )
    return False


def _dtype(param: Param) -> str:
    if not isinstance(param.type, ArrayType) or param.type.dtype in (
        "str",
        "object",
        "date",
        "datetime",
        "days",
        "duration",
    ):
        raise TraceError(f"the argument {param.name!r} is {param.type}, which JAX has no array for")
    return param.type.dtype


def _narrowed(graph: Graph, param: Param, dtype: Any) -> Value:
    if numpy_dtype(_dtype(param)) == dtype:
        return param
    name = dtype_name(dtype)
    convert = functools.partial(jax.lax.convert_element_type, new_dtype=dtype)
    payload = "jax.convert_element_type"
    return graph.add(elementwise.elementwise, [param], {"dtype_": name}, payload, name, convert)


# -- jaxprs -----------------------------------------------------------------------------------------------------------


class _Walk:
    """Traces jaxprs into one graph, nested ones inline."""

    def __init__(self, graph: Graph, lines: dict[Any, Location | None] | None = None) -> None:
        self.graph = graph
        self._lines = {} if lines is None else lines  # of tracebacks: a line in a loop has one for all its equations

    def inlined(self, jaxpr: Any, inputs: Sequence[Held], outermost: bool = False) -> list[Held]:
        """What a jaxpr gives on some inputs; its ops join the graph."""
        closed = jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else core.ClosedJaxpr(jaxpr, ())
        body = closed.jaxpr
        env: dict[Any, Held] = dict(zip(body.invars, inputs, strict=True))
        env.update(zip(body.constvars, map(Known, closed.consts), strict=True))
        outer = self.graph.location
        users = outermost or _written_by_user(body)
        for eqn in body.eqns:
            self.graph.location = (users and self._line(eqn.source_info.traceback)) or outer
            given = [env[v] if type(v) is core.Var else _literal(v) for v in eqn.invars]
            found = self._equation(eqn, given)
            for variable, held in zip(eqn.outvars, found, strict=True):
                env[variable] = held
        self.graph.location = outer
        return [_literal(v) if isinstance(v, core.Literal) else env[v] for v in body.outvars]

    def mapped(self, jaxpr: Any, inputs: Sequence[Held], shared: int) -> list[Held]:
        """What a jaxpr gives row by row: for each row of the inputs behind the first `shared` ones."""
        rows = [
            jax.ShapeDtypeStruct(
                (np.shape(_computed(x))[0] if isinstance(x, Known) else x.type.dims[0], *v.aval.shape), v.aval.dtype
            )
            for v, x in zip(jaxpr.jaxpr.invars[shared:], inputs[shared:], strict=True)
        ]
        same = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in jaxpr.jaxpr.invars[:shared]]
        body = jax.vmap(core.jaxpr_as_fun(jaxpr), in_axes=(*[None] * shared, *[0] * len(rows)))
        return self.inlined(jax.make_jaxpr(body)(*same, *rows), inputs)

    def apart(self, name: str, jaxpr: Any, params: Sequence[Param], taken: Sequence[Param]) -> Program:
        """A jaxpr as a program of its own: a body with some parameters, of which it takes these."""
        scratch = Graph([], self.graph.location, self.graph.warned)
        found = _Walk(scratch, self._lines).inlined(jaxpr, taken)
        return Program.of_values(name, params, map(scratch.value, found))

    def gives_last(self, jaxpr: Any) -> bool:
        """Whether a jaxpr gives its last input as it is; so does none at all."""
        if jaxpr is None:
            return True
        body = jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr
        return not body.eqns and body.outvars[0] is body.invars[-1]

    def primitives(self, jaxpr: Any) -> list[str]:
        """The names of all its primitives, nested ones too."""
        body = jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr
        names = []
        for eqn in body.eqns:
            names.append(eqn.primitive.name)
            for inner in core.jaxprs_in_params(eqn.params):
                names += self.primitives(inner)
        return names

    def _line(self, traceback: Any) -> Location | None:
        if traceback not in self._lines:
            self._lines[traceback] = _of_traceback(traceback)
        return self._lines[traceback]

    def _equation(self, eqn: Any, given: list[Held]) -> Sequence[Held]:
        name = eqn.primitive.name
        if not eqn.outvars:
            self.graph.warn(
                f"jax.{name}",
                "has an effect and no result; a traced function is run for its results, and leaves it out",
            )
            return []
        if name in _CALLS:
            inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr") or eqn.params.get("fun_jaxpr")
            return self.inlined(inner, given)
        if eqn.effects:  # a callback, say: never computed while tracing, nor dropped
            return self._traced(eqn, given)
        if given and all(isinstance(held, Known) and held.small for held in given):
            cells = sum(int(np.prod(v.aval.shape)) for v in eqn.outvars)
            if cells <= MANY_CELLS:
                return _folded(eqn, [_computed(held) for held in given])
        return self._traced(eqn, given)

    def _traced(self, eqn: Any, given: list[Held]) -> Sequence[Held]:
        keyed = any(_is_key(v.aval) for v in eqn.invars) or any(_is_key(v.aval) for v in eqn.outvars)
        held = [Known(_raw(k.array)) if isinstance(k, Known) else k for k in given] if keyed else given
        types = [_type(v.aval, self.graph.location) for v in eqn.outvars]
        bind = _Bound(eqn, keyed)
        return traced(Equation(self.graph, eqn.primitive.name, eqn.params, held, types, bind, self), HANDLERS)


class _Bound:
    """An equation's primitive on arrays, always giving a list; `keyed`: random keys are given and taken as their words."""

    __slots__ = ("eqn", "keyed")

    def __init__(self, eqn: Any, keyed: bool) -> None:
        self.eqn, self.keyed = eqn, keyed

    def __call__(self, *arrays: Any) -> list[Any]:
        return _bound_raw(self.eqn, *arrays) if self.keyed else _bound(self.eqn, *arrays)

    def call_key(self) -> Hashable:
        """What the call is: primitives give the same for the same, but for those with an effect."""
        if self.eqn.effects:
            raise Unlike
        return (self.eqn.primitive, self.keyed, key_of(self.eqn.params))


_INLINED = _CALLS - {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
"""Calls that are no more than what stands in them; the others have derivatives of their own."""


def flat(function: Callable[..., Any], *arguments: Any) -> Flat:
    """The equations of a function of pytrees of arrays that gives one array, at the shapes and dtypes of some arguments."""
    closed = jax.make_jaxpr(function)(*arguments)
    avals: list[Any] = []
    constants: dict[int, Any] = {}
    equations: list[FlatEquation] = []

    def new(aval: Any, value: Any = None) -> int:
        avals.append(aval)
        if value is not None:
            constants[len(avals) - 1] = value
        return len(avals) - 1

    def laid(jaxpr: Any, given: Sequence[int]) -> list[int]:
        outer = jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else core.ClosedJaxpr(jaxpr, ())
        body = outer.jaxpr
        env: dict[Any, int] = dict(zip(body.invars, given, strict=True))
        env.update((v, new(v.aval, value)) for v, value in zip(body.constvars, outer.consts, strict=True))

        def number(v: Any) -> int:
            return new(v.aval, np.asarray(v.val, v.aval.dtype)) if isinstance(v, core.Literal) else env[v]

        for eqn in body.eqns:
            inputs = [number(v) for v in eqn.invars]
            if eqn.primitive.name in _INLINED:
                outputs = laid(eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr"), inputs)
            else:
                outputs = [new(v.aval) for v in eqn.outvars]
                bound = functools.partial(_bound, eqn)
                equations.append(FlatEquation(eqn.primitive.name, eqn.params, tuple(inputs), tuple(outputs), bound))
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [number(v) for v in body.outvars]

    inputs = [new(v.aval) for v in closed.jaxpr.invars]
    [output] = laid(closed, inputs)
    shapes = tuple(tuple(map(int, aval.shape)) for aval in avals)
    dtypes = tuple(aval.dtype for aval in avals)
    return Flat(tuple(inputs), output, constants, tuple(equations), shapes, dtypes).ending_at(output)


def _literal(literal: Any) -> Known:
    return Known(np.asarray(literal.val, literal.aval.dtype))


def _computed(held: Held) -> Any:
    assert isinstance(held, Known)
    return held.array


def _folded(eqn: Any, arrays: list[Any]) -> list[Held]:
    aval = eqn.outvars[0].aval
    if not eqn.primitive.multiple_results and not _is_key(aval):
        found = by_numpy(eqn.primitive.name, arrays, eqn.params, aval.shape, aval.dtype)
        if found is not None:
            return [Known(found)]
    return [Known(array if _is_key(array) else np.asarray(array)) for array in _bound(eqn, arrays)]


def _bound(eqn: Any, *arrays: Any) -> list[Any]:
    """The primitive on arrays."""
    given = arrays[0] if len(arrays) == 1 and isinstance(arrays[0], list) else arrays
    params = eqn.primitive.get_bind_params(eqn.params) if _has_functions(eqn) else eqn.params
    functions, params = params if isinstance(params, tuple) else ((), params)  # older versions of JAX give both
    found = eqn.primitive.bind(*functions, *given, **params)
    return list(found) if eqn.primitive.multiple_results else [found]


def _has_functions(eqn: Any) -> bool:
    return any(key in eqn.params for key in ("jvp_jaxpr_fun", "jvp", "fwd", "call_jaxpr"))


def _bound_raw(eqn: Any, *arrays: Any) -> list[Any]:
    """The primitive on arrays that hold random keys as their words."""
    given = [
        wrapped_keys(array, str(key_kind(v.aval))) if _is_key(v.aval) else array
        for v, array in zip(eqn.invars, arrays, strict=True)
    ]
    return [_raw(array) for array in _bound(eqn, given)]


def _is_key(aval: Any) -> bool:
    return not isinstance(aval.dtype, np.dtype) and bool(jax.dtypes.issubdtype(aval.dtype, jax.dtypes.prng_key))


def _raw(array: Any) -> Any:
    """A random key as its words; any other array as it is."""
    keyed = isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(array) if keyed else array


def _type(aval: Any, location: Location | None) -> ArrayType:
    """The type of what JAX calls an abstract value; a random key counts as its words."""
    if _is_key(aval):
        aval = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(aval.shape, aval.dtype))
    try:
        return _array_type(aval.dtype, aval.shape)
    except TypeError as error:
        raise TraceError(f"{error}, at {location or 'an unknown line'}") from None


@functools.lru_cache(maxsize=4096)
def _array_type(dtype: Any, shape: tuple[Any, ...]) -> ArrayType:
    """One type for all values of a dtype and a shape, which then compare at once."""
    return ArrayType(dtype_name(dtype), tuple(int(n) for n in shape))


# -- where ------------------------------------------------------------------------------------------------------------


@functools.cache
def _plumbing() -> tuple[str, ...]:
    """Folders whose frames are ours or a library's, never the user's line."""
    import contextlib

    import jaxlib

    packages = [os.path.dirname(str(module.__file__)) + os.sep for module in (jax, jaxlib, np)]
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    return (*packages, here, str(functools.__file__), str(contextlib.__file__), "<frozen")


def _is_users(path: str) -> bool:
    return not path.startswith(_plumbing()) or f"{os.sep}traceprop{os.sep}demo{os.sep}" in path


def _of_traceback(traceback: Any) -> Location | None:
    """The innermost frame of the user's; JAX keeps a traceback with each equation."""
    if traceback is None:
        return None
    for frame in traceback.frames:
        if _is_users(frame.file_name):
            function = frame.function_name.rsplit(".", 1)[-1]
            return Location(os.path.basename(frame.file_name), frame.line_num, function, frame.file_name)
    return None


def _written_by_user(body: Any) -> bool:
    """Whether a jaxpr is of a function of the user's. JAX's own are traced once, and keep the line of their first caller."""
    where = getattr(body.debug_info, "func_src_info", None) or ""
    path = where.rpartition(" at ")[2].rpartition(":")[0]
    return not path or _is_users(path)


# -- what cannot be traced --------------------------------------------------------------------------------------------


def _refusal(error: Exception) -> str | None:
    """What to say of an error while the function was traced; `None` for one that is the user's own."""
    where = _of_error(error) or "an unknown line"
    unknown = "the value is not known while the function is traced"
    if isinstance(error, jax.errors.NonConcreteBooleanIndexError):
        return (
            f"a boolean mask as an index at {where}: in JAX the data cannot decide a size; keep the rows and choose cell by "
            "cell with jnp.where(mask, x, 0), or filter outside, with a NumPy function (x[mask])"
        )
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return (
            f"Python's if/while/and/or on a traced array at {where}: {unknown}; use jnp.where(condition, a, b) to choose cell "
            "by cell, jax.lax.cond or jax.lax.while_loop for whole steps, or decide outside the traced function"
        )
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return (
            f"a NumPy function or np.asarray on a traced array at {where}: {unknown}; use jax.numpy's function of that name, "
            "or do this after the call, on the result"
        )
    if isinstance(error, (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError)):
        return (
            f"Python asks for the value of a traced array (.item(), float(), int(), range, a size) at {where}: {unknown}; keep "
            "it an array (jnp.where, jax.lax.fori_loop, jax.lax.dynamic_slice), pass sizes as plain numbers, or do this "
            f"outside the traced function. JAX says: {str(error).splitlines()[0]}"
        )
    if isinstance(error, jax.errors.UnexpectedTracerError):
        return f"a traced array outlives the function that made it, at {where}; return it instead of keeping it aside"
    if isinstance(error, TypeError) and "immutable" in str(error):
        return (
            f"in-place write to a traced array at {where}: JAX arrays are written once; build a new one with "
            "x = x.at[index].set(values)"
        )
    if isinstance(error, IndexError) and "static integers" in str(error):
        return (
            f"a slice whose ends are traced arrays at {where}: in JAX the data cannot decide a size; use "
            "jax.lax.dynamic_slice(x, start, sizes), or pass the ends as plain numbers"
        )
    return None


def _of_error(error: Exception) -> Location | None:
    """The innermost frame of the user's in a traceback."""
    found, walked = None, error.__traceback__
    while walked is not None:
        code = walked.tb_frame.f_code
        if _is_users(code.co_filename):
            found = Location(os.path.basename(code.co_filename), walked.tb_lineno, code.co_name, code.co_filename)
        walked = walked.tb_next
    return found or user_location()


__all__ = ["trace"]
