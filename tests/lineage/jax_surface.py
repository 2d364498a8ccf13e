"""All of JAX's public functions by family: with cases, or with the reason why a function has none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from tests.lineage.jax_cases import CELL_BY_CELL, FOLDS, LINEAR, MADE, SEARCH, SHAPES, Cases
from tests.lineage.jax_lax_cases import LAX, NN, TRANSFORMED

FAMILIES: dict[str, Cases] = {
    "cell by cell": CELL_BY_CELL,
    "shapes": SHAPES,
    "made of sizes": MADE,
    "folds": FOLDS,
    "sorting, searching, sets": SEARCH,
    "linear algebra": LINEAR,
    "jax.nn": NN,
    "jax.lax": LAX,
    "transformations": TRANSFORMED,
}

LEFT_OUT: dict[str, str] = {
    name: reason
    for reason, names in {
        "reads or writes files, buffers or objects of Python's": (
            "jax.numpy.from_dlpack jax.numpy.frombuffer jax.numpy.fromfile jax.numpy.fromiter "
            "jax.numpy.fromstring jax.numpy.load "
            "jax.numpy.save jax.numpy.savez jax.numpy.frompyfunc"
        ),
        "prints, or sets how": (
            "jax.numpy.array_repr jax.numpy.array_str jax.numpy.get_printoptions jax.numpy.printoptions "
            "jax.numpy.set_printoptions"
        ),
        "asks about dtypes and shapes, and of no cell": (
            "jax.numpy.can_cast jax.numpy.iscomplexobj jax.numpy.isdtype jax.numpy.isrealobj jax.numpy.isscalar "
            "jax.numpy.issubdtype "
            "jax.numpy.iterable jax.numpy.promote_types jax.numpy.result_type jax.numpy.shape jax.numpy.size jax.numpy.ndim "
            "jax.numpy.broadcast_shapes jax.numpy.einsum_path jax.lax.broadcast_shapes jax.lax.broadcast_to_rank jax.lax.dtype "
            "jax.lax.conv_dimension_numbers jax.lax.conv_general_permutations jax.lax.conv_general_shape_tuple "
            "jax.lax.conv_shape_tuple jax.lax.conv_transpose_shape_tuple jax.lax.padtype_to_pads "
            "jax.lax.reduce_window_shape_tuple jax.lax.shape_as_value jax.lax.ConvGeneralDilatedDimensionNumbers "
            "jax.lax.DotDimensionNumbers jax.lax.PrecisionLike jax.nn.get_scaled_dot_general_config"
        ),
        "speaks of devices and their axes (pmap, shard_map)": (
            "jax.lax.all_gather jax.lax.all_to_all jax.lax.axis_index jax.lax.axis_size jax.lax.pbroadcast "
            "jax.lax.pcast jax.lax.pmax "
            "jax.lax.pmean jax.lax.pmin jax.lax.ppermute jax.lax.precv jax.lax.psend jax.lax.pshuffle jax.lax.psum "
            "jax.lax.psum_scatter jax.lax.pswapaxes jax.lax.ragged_all_to_all jax.lax.platform_dependent "
            "jax.lax.with_sharding_constraint jax.lax.stage"
        ),
        "orders effects, and gives no array": "jax.lax.after_all jax.lax.create_token jax.lax.dce_sink",
        "draws random bits of a device's own": "jax.lax.rng_bit_generator jax.lax.rng_uniform",
        "serves derivatives and transformations alone": (
            "jax.lax.igamma_grad_a jax.lax.random_gamma_grad jax.lax.composite jax.lax.ragged_dot_general jax.lax.broadcast_like"
        ),
        "runs on accelerators alone": "jax.nn.scaled_dot_general jax.nn.scaled_matmul jax.lax.scaled_dot",
    }.items()
    for name in names.split()
}


def public() -> list[str]:
    """The names of the public functions of jax.numpy, its linalg and fft, jax.nn and jax.lax."""
    found = []
    for module in (jnp, jnp.linalg, jnp.fft, jax.nn, lax):
        for name in dir(module):
            function = getattr(module, name)
            if not name.startswith("_") and callable(function) and not isinstance(function, type):
                found.append(f"{module.__name__}.{name}")
    return found
