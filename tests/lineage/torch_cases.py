"""PyTorch's core ATen set, op by op, and what is built on it: each with tensors to try it on."""

from __future__ import annotations

from typing import Any

import torch

from tests.lineage.case import Case, counts, few, floats, masks, mixed, wholes
from tests.lineage.torch_modules import IN_PLACE, MODULES, SIZES, VIEWS

aten = torch.ops.aten
F = torch.nn.functional
A, V, X, S, SB = floats(4, 3), floats(5), floats(2, 3, 4), floats(3, 3), floats(2, 3, 3)
I, B = wholes(4, 3, low=0, high=6), masks(4, 3)  # noqa: E741
IMAGE, VOLUME, LINE = floats(1, 2, 4, 4), floats(1, 1, 3, 4, 4), floats(2, 2, 5)
GONE = "a row that is gone is no cell of it"
NOISE = "rounding hides some cells"
Cases = dict[str, Case]


def _made(op: Any, *draws: Any, blind: str = "", **options: Any) -> Case:
    return Case(lambda *given: op(*given, **options), draws, blind)


def _with(op: Any, *more: Any, draws: tuple[Any, ...] = (A,), blind: str = "", **options: Any) -> Case:
    return Case(lambda *given: op(*given, *more, **options), draws, blind)


UNARY = (
    "abs acos acosh asin asinh atan atanh ceil cos cosh erf exp expm1 floor isinf isnan log log10 log1p "
    "log2 neg reciprocal relu round rsqrt sigmoid sign sin sinh sqrt tan tanh trunc gelu"
)
COMPARED = "eq ne lt le gt ge"
BITS = "bitwise_and bitwise_or bitwise_xor"

CELLS: Cases = {
    **{f"{name}.default": _made(getattr(aten, name).default, mixed(3, 2)) for name in UNARY.split()},
    **{f"{name}.Tensor": _made(getattr(aten, name).Tensor, few(4, 3), few(4, 3)) for name in COMPARED.split()},
    **{f"{name}.Scalar": _with(getattr(aten, name).Scalar, 0.5, draws=(few(4, 3),)) for name in COMPARED.split()},
    **{f"{name}.Tensor": _made(getattr(aten, name).Tensor, I, I) for name in BITS.split()},
    **{f"{name}.Scalar": _with(getattr(aten, name).Scalar, 3, draws=(I,)) for name in BITS.split()},
    **{f"{name}.Tensor": _made(getattr(aten, name).Tensor, A, A) for name in "add sub mul div fmod remainder".split()},
    **{f"{name}.Scalar": _with(getattr(aten, name).Scalar, 1.5) for name in "add sub mul div fmod remainder".split()},
    "div.Tensor_mode": _with(aten.div.Tensor_mode, draws=(A, A), rounding_mode="floor"),
    "div.Scalar_mode": _with(aten.div.Scalar_mode, 0.3, rounding_mode="trunc"),
    "pow.Tensor_Tensor": Case(lambda a, b: aten.pow.Tensor_Tensor(a.abs() + 0.1, b), (A, A)),
    "pow.Tensor_Scalar": _with(aten.pow.Tensor_Scalar, 2),
    "pow.Scalar": Case(lambda a: aten.pow.Scalar(2.0, a), (A,)),
    "atan2.default": _made(aten.atan2.default, A, A),
    "atan2.out": Case(lambda a, b: torch.atan2(a, b, out=torch.empty_like(a)), (A, A)),
    **{f"{name}.default": _made(getattr(aten, name).default, A, A) for name in ("maximum", "minimum")},
    **{
        f"logical_{name}.default": _made(getattr(aten, f"logical_{name}").default, B, B)
        for name in ("and", "or", "xor")
    },
    "logical_not.default": _made(aten.logical_not.default, B),
    "bitwise_not.default": _made(aten.bitwise_not.default, I),
    "clamp.default": _with(aten.clamp.default, -0.5, 0.5),
    "clamp.Tensor": Case(lambda a, b: aten.clamp.Tensor(a, b - 1, b + 1), (A, A)),
    "elu.default": _made(aten.elu.default, A),
    "hardtanh.default": _made(aten.hardtanh.default, A),
    "leaky_relu.default": _made(aten.leaky_relu.default, A),
    "where.self": _made(aten.where.self, B, A, A),
    "_to_copy.default": _with(aten._to_copy.default, dtype=torch.float32),
    "alias.default": _made(aten.alias.default, A),
    "clone.default": _made(aten.clone.default, A),
    "copy.default": _made(aten.copy.default, A, A),
    "fill.Scalar": Case(lambda a: aten.fill.Scalar(a, 2.0) * a, (A,)),
    "native_dropout.default": Case(lambda a: aten.native_dropout.default(a, 0.5, False)[0], (A,)),
}
MADE: Cases = {
    "arange.start_step": Case(lambda v: aten.arange.start_step(1, 6, 1) * v, (V,)),
    "empty.memory_format": Case(lambda v: aten.empty.memory_format([5], dtype=torch.float64).fill_(2) * v, (V,)),
    "empty_strided.default": Case(
        lambda v: aten.empty_strided.default([5], [1], dtype=torch.float64).fill_(2) * v, (V,)
    ),
    "full.default": Case(lambda v: aten.full.default([5], 2.0) * v, (V,)),
    "full_like.default": Case(lambda v: aten.full_like.default(v, 2.0) * v, (V,)),
    "scalar_tensor.default": Case(lambda v: aten.scalar_tensor.default(2.0) * v, (V,)),
    "sym_size.int": Case(lambda v: v * aten.sym_size.int(v, 0), (V,)),
    "sym_numel.default": Case(lambda a: a * aten.sym_numel.default(a), (A,)),
}
PLACES: Cases = {
    "as_strided.default": _with(aten.as_strided.default, [3, 2], [3, 1]),
    "cat.default": Case(lambda a, b: aten.cat.default([a, b], 1), (A, A)),
    "constant_pad_nd.default": _with(aten.constant_pad_nd.default, [1, 0, 0, 2], 3.0),
    "diagonal.default": _with(aten.diagonal.default, 1),
    "expand.default": _with(aten.expand.default, [2, 4, 3]),
    "flip.default": _with(aten.flip.default, [0]),
    "permute.default": _with(aten.permute.default, [2, 0, 1], draws=(X,)),
    "repeat.default": _with(aten.repeat.default, [2, 1]),
    "reflection_pad1d.default": _with(aten.reflection_pad1d.default, [1, 2], draws=(LINE,)),
    "reflection_pad2d.default": _with(aten.reflection_pad2d.default, [1, 2, 0, 1], draws=(IMAGE,)),
    "reflection_pad3d.default": _with(aten.reflection_pad3d.default, [1, 0, 1, 1, 0, 2], draws=(VOLUME,)),
    "replication_pad2d.default": _with(aten.replication_pad2d.default, [1, 2, 0, 1], draws=(IMAGE,)),
    "replication_pad3d.default": _with(aten.replication_pad3d.default, [1, 0, 1, 1, 0, 2], draws=(VOLUME,)),
    "select.int": _with(aten.select.int, 1, 2),
    "slice.Tensor": _with(aten.slice.Tensor, 0, 1, 4, 2),
    "split_with_sizes.default": _with(aten.split_with_sizes.default, [1, 3]),
    "squeeze.dim": _with(aten.squeeze.dim, 1, draws=(floats(4, 1),)),
    "squeeze.dims": _with(aten.squeeze.dims, [0, 2], draws=(floats(1, 4, 1),)),
    "unsqueeze.default": _with(aten.unsqueeze.default, 1),
    "view.default": _with(aten.view.default, [2, 6]),
    "col2im.default": _with(aten.col2im.default, [3, 4], [2, 2], [1, 1], [0, 0], [1, 1], draws=(floats(1, 4, 6),)),
    "upsample_nearest2d.vec": _with(aten.upsample_nearest2d.vec, [6, 8], None, draws=(IMAGE,)),
    "upsample_bilinear2d.vec": _with(
        aten.upsample_bilinear2d.vec, [6, 8], False, None, draws=(floats(1, 1, 3, 4),), blind="weights of 0"
    ),
    "grid_sampler_2d.default": Case(
        lambda x, g: aten.grid_sampler_2d.default(x, g.tanh(), 0, 0, False),
        (floats(1, 1, 3, 3), floats(1, 2, 2, 2)),
        "the four cells that a place lies between",
    ),
}
ROWS: Cases = {
    "embedding.default": Case(aten.embedding.default, (A, counts(5))),
    "gather.default": Case(lambda a, i: aten.gather.default(a, 0, i), (A, counts(2, 3))),
    "index.Tensor": Case(lambda a, i, j: aten.index.Tensor(a, [i, j]), (A, counts(3), counts(3, high=3))),
    "index_select.default": Case(lambda a, i: aten.index_select.default(a, 0, i), (A, counts(3))),
    "index_put.default": Case(lambda a, i, b: aten.index_put.default(a, [i], b[:2]), (A, counts(2), A)),
    "masked_scatter.default": Case(
        lambda a, m, b: aten.masked_scatter.default(a, m, b),
        (floats(3, 2), masks(3, 2), floats(3, 2)),
        "counts of the cells before",
    ),
    "nonzero.default": Case(aten.nonzero.default, (masks(3, 2),), GONE),
    "scatter.value": Case(lambda a, i: aten.scatter.value(a, 0, i, 2.0), (A, counts(2, 3))),
    "scatter.src": Case(lambda a, i, b: aten.scatter.src(a, 0, i, b), (A, counts(2, 3), A)),
    "scatter_add.default": Case(lambda a, i, b: aten.scatter_add.default(a, 0, i, b), (A, counts(2, 3), A)),
    "scatter_reduce.two": Case(lambda a, i, b: aten.scatter_reduce.two(a, 0, i, b, "amax"), (A, counts(2, 3), A)),
    "select_scatter.default": Case(lambda a, v: aten.select_scatter.default(a, v, 1, 2), (A, floats(4))),
    "slice_scatter.default": Case(lambda a, b: aten.slice_scatter.default(a, b[:2], 0, 0, 4, 2), (A, A)),
    "sort.default": Case(lambda a: aten.sort.default(a, 0), (A,)),
    "topk.default": Case(lambda a: aten.topk.default(a, 2, 0), (A,)),
    "_embedding_bag.default": Case(
        lambda w, i: aten._embedding_bag.default(w, i, torch.tensor([0, 2]), False, 0)[0], (A, counts(5))
    ),
    "embedding_dense_backward.default": Case(
        lambda g, i: aten.embedding_dense_backward.default(g, i, 4, -1, False), (floats(5, 2), counts(5))
    ),
}
FOLDS: Cases = {
    **{f"{name}.default": _with(getattr(aten, name).default, [0]) for name in ("amax", "amin")},
    "any.default": _made(aten.any.default, lambda rng: rng.random((3, 2)) < 0.05),
    "any.dim": _with(aten.any.dim, 0, draws=(lambda rng: rng.random((3, 2)) < 0.2,)),
    "any.dims": _with(aten.any.dims, [0], draws=(lambda rng: rng.random((3, 2)) < 0.2,)),
    "argmax.default": _with(aten.argmax.default, 0),
    "argmin.default": _with(aten.argmin.default, 0),
    "cumsum.default": _with(aten.cumsum.default, 0),
    "max.dim": _with(aten.max.dim, 0),
    "min.dim": _with(aten.min.dim, 1),
    "mean.default": _made(aten.mean.default, A),
    "mean.dim": _with(aten.mean.dim, [0]),
    "prod.default": _made(aten.prod.default, A),
    "prod.dim_int": _with(aten.prod.dim_int, 0),
    "sum.dim_IntList": _with(aten.sum.dim_IntList, [1]),
    "var.dim": _with(aten.var.dim, [0]),
    "var.correction": _with(aten.var.correction, [0], correction=0.0),
    "_softmax.default": _with(aten._softmax.default, 1, False),
    "_log_softmax.default": _with(aten._log_softmax.default, 1, False),
}
PRODUCTS: Cases = {
    "addmm.default": Case(lambda b, x, w: aten.addmm.default(b, x, w), (floats(2), A, floats(3, 2))),
    "bmm.default": _made(aten.bmm.default, SB, SB),
    "mm.default": _made(aten.mm.default, A, S),
    "_cdist_forward.default": _with(aten._cdist_forward.default, 2.0, None, draws=(A, floats(2, 3))),
    "_pdist_forward.default": _with(aten._pdist_forward.default, 2.0),
    "_fft_r2c.default": _with(aten._fft_r2c.default, [1], 0, True),
    "_fft_c2r.default": Case(
        lambda a: aten._fft_c2r.default(torch.complex(a, a * 2), [1], 0, 4),
        (A,),
        "imaginary parts that a real result has none of",
    ),
}
LAYERS: Cases = {
    "convolution.default": Case(
        lambda x, w, b: aten.convolution.default(x, w, b, [1, 1], [1, 0], [1, 1], False, [0, 0], 1),
        (floats(1, 2, 3, 3), floats(2, 2, 2, 2), floats(2)),
    ),
    "avg_pool1d.default": _with(aten.avg_pool1d.default, [2], draws=(floats(1, 2, 6),)),
    "adaptive_avg_pool1d.default": _with(aten.adaptive_avg_pool1d.default, [3], draws=(floats(1, 2, 6),)),
    "avg_pool2d.default": _with(aten.avg_pool2d.default, [2, 2], draws=(IMAGE,)),
    "avg_pool3d.default": _with(aten.avg_pool3d.default, [2, 2, 2], [1, 1, 1], draws=(VOLUME,)),
    "_adaptive_avg_pool2d.default": _with(aten._adaptive_avg_pool2d.default, [2, 3], draws=(IMAGE,)),
    "_adaptive_avg_pool3d.default": _with(aten._adaptive_avg_pool3d.default, [2, 2, 1], draws=(VOLUME,)),
    "max_pool2d_with_indices.default": _with(aten.max_pool2d_with_indices.default, [2, 2], [1, 1], draws=(IMAGE,)),
    "max_pool3d_with_indices.default": _with(
        aten.max_pool3d_with_indices.default, [2, 2, 2], [1, 1, 1], draws=(floats(1, 1, 2, 3, 3),)
    ),
    "native_layer_norm.default": Case(
        lambda a, w, b: aten.native_layer_norm.default(a, [3], w, b, 1e-5), (A, floats(3), floats(3))
    ),
    "native_group_norm.default": Case(
        lambda x, w, b: aten.native_group_norm.default(x, w, b, 2, 4, 3, 2, 1e-5),
        (floats(2, 4, 3), floats(4), floats(4)),
    ),
    "_native_batch_norm_legit.default": Case(
        lambda a, w, b: aten._native_batch_norm_legit.default(
            a, w, b, torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64), False, 0.1, 1e-5
        )[0],
        (A, floats(3), floats(3)),
    ),
    "_native_batch_norm_legit.no_stats": Case(
        lambda a, w, b: aten._native_batch_norm_legit.no_stats(a, w, b, True, 0.1, 1e-5), (A, floats(3), floats(3))
    ),
    "_native_batch_norm_legit_no_training.default": Case(
        lambda a, m, v: aten._native_batch_norm_legit_no_training.default(a, None, None, m, v.abs() + 1, 0.1, 1e-5)[0],
        (A, floats(3), floats(3)),
    ),
}
BACKWARD: Cases = {
    "convolution_backward.default": Case(
        lambda g, x, w: aten.convolution_backward.default(
            g, x, w, [2], [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, True, True]
        ),
        (floats(1, 2, 2, 2), floats(1, 1, 3, 3), floats(2, 1, 2, 2)),
    ),
    "avg_pool2d_backward.default": Case(
        lambda g, x: aten.avg_pool2d_backward.default(g, x, [2, 2], [2, 2], [0, 0], False, True, None),
        (floats(1, 1, 2, 2), floats(1, 1, 4, 4)),
        "the input, whose size alone matters",
    ),
    "_adaptive_avg_pool2d_backward.default": Case(
        lambda g, x: aten._adaptive_avg_pool2d_backward.default(g, x),
        (floats(1, 1, 2, 2), floats(1, 1, 4, 4)),
        "the input, whose size alone matters",
    ),
    "max_pool2d_with_indices_backward.default": Case(
        lambda g, x: aten.max_pool2d_with_indices_backward.default(
            g, x, [2, 2], [2, 2], [0, 0], [1, 1], False, aten.max_pool2d_with_indices.default(x, [2, 2], [2, 2])[1]
        ),
        (floats(1, 1, 2, 2), floats(1, 1, 4, 4)),
    ),
    "native_layer_norm_backward.default": Case(
        lambda g, a, w: aten.native_layer_norm_backward.default(
            g,
            a,
            [3],
            a.mean(1, True),
            (a.var(1, keepdim=True, correction=0) + 1e-5).rsqrt(),
            w,
            None,
            [True, True, False],
        )[:2],
        (A, A, floats(3)),
    ),
    "native_group_norm_backward.default": Case(
        lambda g, x, w: aten.native_group_norm_backward.default(
            g,
            x,
            x.view(2, 2, 4).mean(2),
            (x.view(2, 2, 4).var(2, correction=0) + 1e-5).rsqrt(),
            w,
            2,
            4,
            2,
            2,
            [True, True, True],
        ),
        (floats(2, 4, 2), floats(2, 4, 2), floats(4)),
    ),
}

FAMILIES: dict[str, Cases] = {
    "core ATen, cell by cell": CELLS,
    "core ATen, made of sizes": MADE,
    "core ATen, places": PLACES,
    "core ATen, rows": ROWS,
    "core ATen, folds": FOLDS,
    "core ATen, products": PRODUCTS,
    "core ATen, layers": LAYERS,
    "core ATen, gradients": BACKWARD,
    "modules": MODULES,
    "writes in place": IN_PLACE,
    "views": VIEWS,
    "sizes that the data decides": SIZES,
}
LEFT_OUT: dict[str, str] = {
    "_local_scalar_dense.default": "is .item(): an error that names the line and says what to write instead",
    "rand.default": "draws random numbers: an error; draw them outside and pass them in",
    "randn.default": "draws random numbers: an error; draw them outside and pass them in",
    "randperm.default": "draws random numbers: an error; draw them outside and pass them in",
    "resize_.default": "changes the memory of what it is given: an error; reshape, or make a new tensor",
    "sym_is_contiguous.default": "asks how memory is laid out, and of no cell",
    "sym_stride.int": "asks how memory is laid out, and of no cell",
    "sym_storage_offset.default": "asks how memory is laid out, and of no cell",
}


def core() -> list[str]:
    """The overloads that PyTorch tags as core ATen."""
    registered = {
        name.split("::")[1].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name[:6] == "aten::"
    }
    found = []
    for name in sorted(registered):  # and not dir(aten), which has what somebody asked for
        packet = getattr(aten, name, None)
        if isinstance(packet, torch._ops.OpOverloadPacket):
            overloads = [getattr(packet, overload) for overload in packet.overloads()]
            found += [str(op).removeprefix("aten.") for op in overloads if torch.Tag.core in op.tags]
    return found
