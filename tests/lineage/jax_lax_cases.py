"""jax.nn, jax.lax and JAX's transformations, each function with arrays to try it on."""
# ruff: noqa: B008 (the functions that lambdas in a loop hold on to are looked up in their defaults)

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tests.lineage.case import Case, complexes, counts, floats, masks
from tests.lineage.jax_cases import SB, TRUE_NOW_AND_THEN, A, B, Cases, F, I, M, S, V, X, called, each

NN: Cases = {
    **each(
        jax.nn,
        "celu elu gelu hard_sigmoid hard_silu hard_swish hard_tanh identity leaky_relu log_sigmoid "
        "log_softmax mish relu relu6 selu sigmoid silu soft_sign softmax softplus sparse_plus sparse_sigmoid "
        "squareplus standardize swish tanh logsumexp logmeanexp glu",
        floats(3, 2),
    ),
    **called(
        jax.nn,
        one_hot=(lambda i: jax.nn.one_hot(i, 3), counts(4, high=3)),
        log1mexp=(lambda v: jax.nn.log1mexp(jnp.abs(v)), V),
        dot_product_attention=(
            lambda q, k, v: jax.nn.dot_product_attention(q, k, v),
            floats(1, 2, 1, 2),
            floats(1, 2, 1, 2),
            floats(1, 2, 1, 2),
        ),
    ),
}
LAX_CELLS = (
    "abs acos acosh asin asinh atan atanh bessel_i0e bessel_i1e cbrt ceil cos cosh digamma erf erf_inv "
    "erfc exp exp2 expm1 floor is_finite lgamma log log1p logistic neg reciprocal round rsqrt sign sin "
    "sinh sqrt square tan tanh stop_gradient"
)
LAX: Cases = {
    **each(lax, LAX_CELLS, M),
    **each(lax, "add sub mul div max min rem atan2 nextafter pow", M, M),
    **each(lax, "eq ne lt le gt ge", F, F),
    **each(lax, "bitwise_and bitwise_or bitwise_xor shift_left shift_right_arithmetic shift_right_logical", I, I),
    **each(lax, "bitwise_not clz population_count", I),
    **each(lax, "conj real imag", complexes(3, 2)),
    **each(lax, "complex", A, A),
    **each(
        lax,
        "igamma igammac zeta polygamma",
        lambda rng: rng.random((3, 2)) * 2 + 1.5,
        lambda rng: rng.random((3, 2)) * 2 + 0.5,
    ),
    **each(lax, "cumsum cumprod cummax cummin cumlogsumexp", A),
    **each(lax, "argmax argmin", A, axis=0, index_dtype=jnp.int32),
    **each(lax, "batch_matmul", SB, SB),
    **each(lax, "dot", S, S),
    **called(
        lax,
        mulhi=(lambda a, b: lax.mulhi(a << 40, b << 40), counts(3, high=9000), counts(3, high=9000)),
        betainc=(lambda a, b, x: lax.betainc(a, b, x), *(lambda rng: rng.random(3) * 0.8 + 0.1,) * 3),
        associative_scan=(lambda v: lax.associative_scan(jnp.add, v), V),
        bitcast_convert_type=(lambda i: lax.bitcast_convert_type(i, jnp.float64), I, "many bits are not seen"),
        broadcast=(lambda v: lax.broadcast(v, (2,)), V),
        broadcast_in_dim=(lambda v: lax.broadcast_in_dim(v, (2, 4), (1,)), V),
        broadcasted_iota=(lambda a: lax.broadcasted_iota(a.dtype, (3, 2), 0) + a, A),
        clamp=(lambda a: lax.clamp(-0.5, a, 0.5), A),
        collapse=(lambda x: lax.collapse(x, 0, 2), X),
        concatenate=(lambda a, b: lax.concatenate([a, b], 0), A, A),
        cond=(
            lambda v, p: lax.cond(p[0], lambda x: x * 2, lambda x: x[::-1], v),
            V,
            masks(1),
            "the branch that is not taken",
        ),
        conv=(lambda x, w: lax.conv(x, w, (1, 1), "SAME"), floats(1, 1, 3, 3), floats(1, 1, 2, 2)),
        conv_general_dilated=(
            lambda x, w: lax.conv_general_dilated(x, w, (2,), [(1, 1)], rhs_dilation=(2,)),
            floats(1, 2, 5),
            floats(2, 2, 2),
        ),
        conv_general_dilated_patches=(
            lambda x: lax.conv_general_dilated_patches(x, (2,), (1,), "VALID"),
            floats(1, 1, 4),
        ),
        conv_transpose=(
            lambda x, w: lax.conv_transpose(x, w, (2,), "VALID", dimension_numbers=("NCH", "IOH", "NCH")),
            floats(1, 1, 3),
            floats(1, 1, 2),
        ),
        convert_element_type=(lambda a: lax.convert_element_type(a, jnp.float32), A),
        custom_linear_solve=(
            lambda s, b: lax.custom_linear_solve(
                lambda x: s @ x, b, lambda mv, y: jnp.linalg.solve(s, y), lambda mv, y: jnp.linalg.solve(s.T, y)
            ),
            S,
            floats(3),
        ),
        custom_root=(
            lambda v: lax.custom_root(lambda x: x - v, v, lambda f, x: x - f(x), lambda g, y: y / g(jnp.ones_like(y))),
            V,
        ),
        dot_general=(lambda x, y: lax.dot_general(x, y, (((2,), (1,)), ((0,), (0,)))), SB, SB),
        dynamic_index_in_dim=(lambda a, i: lax.dynamic_index_in_dim(a, i[0], 0), A, counts(1, high=3)),
        dynamic_slice=(lambda a, i: lax.dynamic_slice(a, (i[0], 0), (1, 2)), A, counts(1, high=3)),
        dynamic_slice_in_dim=(lambda a, i: lax.dynamic_slice_in_dim(a, i[0], 2), A, counts(1, high=2)),
        dynamic_update_index_in_dim=(
            lambda a, v, i: lax.dynamic_update_index_in_dim(a, v, i[0], 0),
            A,
            floats(2),
            counts(1, high=3),
        ),
        dynamic_update_slice=(lambda a, b, i: lax.dynamic_update_slice(a, b[:1], (i[0], 0)), A, A, counts(1, high=3)),
        dynamic_update_slice_in_dim=(
            lambda a, b, i: lax.dynamic_update_slice_in_dim(a, b[:1], i[0], 0),
            A,
            A,
            counts(1, high=3),
        ),
        expand_dims=(lambda a: lax.expand_dims(a, (0,)), A),
        fft=(lambda a: lax.fft(a, "RFFT", (2,)), A),
        fori_loop=(lambda v: lax.fori_loop(0, 3, lambda k, c: c * 2 + v, v), V),
        full=(lambda v: lax.full((4,), 2.0) * v, V),
        gather=(lambda a, i: a.at[i].get(mode="fill"), A, counts(2, high=3)),
        index_in_dim=(lambda a: lax.index_in_dim(a, 1, 0), A),
        index_take=(lambda a, i: lax.index_take(a, (i,), (0,)), A, counts(2, high=3)),
        integer_pow=(lambda a: lax.integer_pow(a, 3), A),
        iota=(lambda v: lax.iota(v.dtype, 4) + v, V),
        map=(lambda a: lax.map(lambda r: r - r.sum(), a), A),
        optimization_barrier=(lax.optimization_barrier, A),
        pad=(lambda a: lax.pad(a, 2.0, [(1, 0, 1), (0, -1, 0)]), A),
        ragged_dot=(lambda a, w: lax.ragged_dot(a, w, jnp.array([1, 2])), A, SB),
        reduce=(lambda a: lax.reduce(a, 0.0, lax.add, (0,)), A),
        reduce_precision=(lambda a: lax.reduce_precision(a, 8, 10), A),
        reduce_window=(lambda v: lax.reduce_window(v, -jnp.inf, lax.max, (2,), (1,), "VALID"), V),
        rev=(lambda a: lax.rev(a, (0,)), A),
        reshape=(lambda a: lax.reshape(a, (2, 3)), A),
        scan=(lambda a: lax.scan(lambda c, r: (c + r, c * r), a[0] * 0, a), A, "a product with 0"),
        scatter=(lambda a, i: a.at[i].set(7.0), A, counts(2, high=3)),
        scatter_add=(lambda a, b, i: a.at[i].add(b[:2]), A, A, counts(2, high=3)),
        scatter_mul=(lambda a, b, i: a.at[i].multiply(b[:2]), A, A, counts(2, high=3)),
        scatter_min=(lambda a, b, i: a.at[i].min(b[:2]), A, A, counts(2, high=3)),
        scatter_max=(lambda a, b, i: a.at[i].max(b[:2]), A, A, counts(2, high=3)),
        scatter_sub=(lambda a, b, i: a.at[i].subtract(b[:2]), A, A, counts(2, high=3)),
        scatter_apply=(lambda a, i: a.at[i].apply(jnp.exp), A, counts(2, high=3)),
        select=(lax.select, B, A, A),
        select_n=(lambda i, a, b: lax.select_n(i, a, b), counts(3, 2, high=2), A, A),
        slice=(lambda a: lax.slice(a, (1, 0), (3, 1)), A),
        slice_in_dim=(lambda a: lax.slice_in_dim(a, 0, 3, 2), A),
        sort=(lambda a: lax.sort(a, dimension=0), A),
        sort_key_val=(lambda v, w: lax.sort_key_val(v, w), V, V),
        split=(lambda a: lax.split(a, (1, 2)), A),
        squeeze=(lambda a: lax.squeeze(a, (1,)), floats(3, 1)),
        switch=(
            lambda v, i: lax.switch(i[0], [lambda x: x * 2, lambda x: x - 1, lambda x: x[::-1]], v),
            V,
            counts(1, high=3),
            "the branches that are not taken",
        ),
        stack=(lambda a, b: lax.stack([a, b], 0), A, A),
        full_like=(lambda v: lax.full_like(v, 2.0) * v, V),
        empty=(lambda v: lax.empty((4,), v.dtype) * 0 + v, V),
        conv_with_general_padding=(
            lambda x, w: lax.conv_with_general_padding(x, w, (1,), [(1, 0)], (1,), (1,)),
            floats(1, 1, 4),
            floats(1, 1, 2),
        ),
        conv_general_dilated_local=(
            lambda x, w: lax.conv_general_dilated_local(x, w, (1,), "VALID", (2,)),
            floats(1, 1, 4),
            floats(1, 2, 3),
        ),
        tile=(lambda a: lax.tile(a, (2, 1)), A),
        top_k=(lambda v: lax.top_k(v, 2), V),
        approx_max_k=(lambda v: lax.approx_max_k(v, 2), V),
        approx_min_k=(lambda v: lax.approx_min_k(v, 2), V),
        transpose=(lambda x: lax.transpose(x, (2, 0, 1)), X),
        while_loop=(lambda v: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 2), (0, v))[1], V),
        unstack=(lambda a: jnp.unstack(a), A),
    ),
    **{
        f"jax.lax.reduce_{name}": {"": Case(lambda a, f=getattr(lax, f"reduce_{name}"): f(a, (0,)), (draw,))}
        for name, draw in {
            "sum": A,
            "max": A,
            "min": A,
            "prod": A,
            "and": TRUE_NOW_AND_THEN,
            "or": TRUE_NOW_AND_THEN,
            "xor": I,
        }.items()
    },
}


@jax.custom_jvp
def _own_rule(x: Any) -> Any:
    return x * 2


_own_rule.defjvps(lambda t, _, x: t * 2)


@jax.custom_vjp
def _own_pull(x: Any) -> Any:
    return x * 3


_own_pull.defvjp(lambda x: (x * 3, None), lambda _, g: (g * 3,))

TRANSFORMED: Cases = {
    f"jax.{name}": {"": case}
    for name, case in {
        "jit": Case(lambda a: jax.jit(lambda x: x - x.mean(0))(a), (A,)),
        "jit with static arguments": Case(lambda a: jax.jit(lambda x, n: x * n, static_argnums=1)(a, 3), (A,)),
        "vmap": Case(lambda a: jax.vmap(lambda r: r / jnp.sum(r**2))(a), (A,)),
        "vmap over both": Case(lambda a, b: jax.vmap(jnp.dot)(a, b), (A, A)),
        "vmap of columns": Case(lambda a: jax.vmap(jnp.cumsum, in_axes=1, out_axes=1)(a), (A,)),
        "grad": Case(lambda a: jax.grad(lambda x: (jnp.tanh(x) ** 2).sum())(a), (A,)),
        "value_and_grad": Case(lambda v: jax.value_and_grad(lambda x: (x**3).sum())(v), (V,)),
        "jacfwd": Case(lambda v: jax.jacfwd(lambda x: jnp.sin(x))(v), (V,), "zeros off the diagonal"),
        "hessian": Case(lambda v: jax.hessian(lambda x: (x**3).sum())(v), (V,), "zeros off the diagonal"),
        "vmap of grad": Case(
            lambda a, w: jax.vmap(jax.grad(lambda w, r: jnp.tanh(r @ w)), in_axes=(None, 0))(w, a), (A, floats(2))
        ),
        "jvp": Case(lambda v, t: jax.jvp(jnp.sin, (v,), (t,))[1], (V, V)),
        "vjp": Case(lambda v, t: jax.vjp(jnp.sin, v)[1](t), (V, V)),
        "custom_jvp": Case(lambda v: _own_rule(v), (V,)),
        "custom_jvp, its derivative": Case(lambda v: jax.grad(lambda x: (_own_rule(x) ** 2).sum())(v), (V,)),
        "custom_vjp": Case(lambda v: _own_pull(v), (V,)),
        "custom_vjp, its derivative": Case(lambda v: jax.grad(lambda x: (_own_pull(x) ** 2).sum())(v), (V,)),
        "checkpoint": Case(lambda v: jax.grad(lambda x: jax.checkpoint(jnp.sin)(x).sum())(v), (V,)),
        "scan mapping rows": Case(lambda a: lax.scan(lambda c, r: (c, r * 2), 0.0, a)[1], (A,)),
        "scan with a carry": Case(lambda v: lax.scan(lambda c, x: (c + x, c + x), 0.0, v)[1], (V,)),
        "fori_loop over rows": Case(lambda a: lax.fori_loop(0, 3, lambda k, c: c + a[k], jnp.zeros(2)), (A,)),
        "pytrees": Case(
            lambda a, b: jax.tree.leaves(
                jax.tree.map(lambda x, y: x + y, {"u": a, "v": (a, b)}, {"u": b, "v": (b, a)})
            ),
            (A, A),
        ),
        "random keys given": Case(lambda v: v + jax.random.normal(jax.random.key(0), (4,)), (V,)),
    }.items()
}
