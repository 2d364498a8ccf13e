"""Modules, writes in place, views and sizes that the data decides, in PyTorch: each with tensors to try it on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.lineage.case import Case, counts, floats, masks

F = nn.functional
A, V, X, SEQUENCE = floats(4, 3), floats(5), floats(2, 3, 4), floats(1, 3, 4)
IMAGE, LINE, VOLUME = floats(1, 2, 4, 4), floats(2, 2, 5), floats(1, 2, 3, 3, 3)
GONE = "a row that is gone is no cell of it"
CUT = "cells below 0 are cut off"


def module(make: Callable[[], nn.Module], *draws: Any, train: bool = False, blind: str = "", pick: Any = None) -> Case:
    """A module with parameters drawn once, in eval mode, or else in training."""
    torch.manual_seed(0)
    made = make().double().train(train)

    def apply(*given: Any) -> Any:
        with torch.no_grad():
            found = made(*given)
        return found if pick is None else pick(found)

    return Case(apply, draws, blind)


ACTIVATIONS = (
    "ReLU LeakyReLU ELU SELU CELU GELU SiLU Mish Sigmoid Tanh Softplus Softsign Hardtanh Hardswish "
    "Hardsigmoid ReLU6 Tanhshrink Softshrink LogSigmoid PReLU"
)
MODULES: dict[str, Case] = {
    **{name: module(getattr(nn, name), floats(3, 2)) for name in ACTIVATIONS.split()},
    "Softmax": module(lambda: nn.Softmax(1), A),
    "LogSoftmax": module(lambda: nn.LogSoftmax(1), A),
    "GLU": module(lambda: nn.GLU(), floats(3, 4)),
    "Linear": module(lambda: nn.Linear(3, 2), A),
    "Linear without bias": module(lambda: nn.Linear(3, 2, bias=False), floats(2, 2, 3)),
    "Bilinear": module(lambda: nn.Bilinear(3, 2, 2), A, floats(4, 2)),
    "Identity": module(nn.Identity, A),
    "Flatten": module(nn.Flatten, X),
    "Unflatten": module(lambda: nn.Unflatten(1, (3, 1)), A),
    "Sequential": module(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), A),
    "Conv1d": module(lambda: nn.Conv1d(2, 3, 2, padding=1), LINE),
    "Conv2d": module(lambda: nn.Conv2d(2, 2, 3, stride=2, padding=1), IMAGE),
    "Conv2d in groups": module(lambda: nn.Conv2d(2, 4, 2, groups=2), IMAGE),
    "Conv2d dilated": module(lambda: nn.Conv2d(2, 1, 2, dilation=2), IMAGE),
    "Conv3d": module(lambda: nn.Conv3d(2, 1, 2), VOLUME),
    "ConvTranspose1d": module(lambda: nn.ConvTranspose1d(2, 2, 3, stride=2), LINE),
    "ConvTranspose2d": module(lambda: nn.ConvTranspose2d(2, 1, 2, stride=2), floats(1, 2, 2, 2)),
    "MaxPool1d": module(lambda: nn.MaxPool1d(2), LINE),
    "MaxPool2d": module(lambda: nn.MaxPool2d(2, 1), IMAGE),
    "AvgPool1d": module(lambda: nn.AvgPool1d(2), LINE),
    "AvgPool2d": module(lambda: nn.AvgPool2d(2), IMAGE),
    "AdaptiveAvgPool1d": module(lambda: nn.AdaptiveAvgPool1d(2), LINE),
    "AdaptiveAvgPool2d": module(lambda: nn.AdaptiveAvgPool2d((1, 2)), IMAGE),
    "AdaptiveMaxPool2d": module(lambda: nn.AdaptiveMaxPool2d((2, 1)), IMAGE),
    "LPPool2d": module(lambda: nn.LPPool2d(2, 2), IMAGE),
    "BatchNorm1d in eval": module(lambda: nn.BatchNorm1d(3), A),
    "BatchNorm2d in eval": module(lambda: nn.BatchNorm2d(2), IMAGE),
    "BatchNorm1d in train, without running statistics": module(
        lambda: nn.BatchNorm1d(3, track_running_stats=False), A, train=True
    ),
    "BatchNorm1d in train": module(lambda: nn.BatchNorm1d(3), A, train=True),
    "LayerNorm": module(lambda: nn.LayerNorm(3), A),
    "GroupNorm": module(lambda: nn.GroupNorm(1, 2), LINE),
    "InstanceNorm2d": module(lambda: nn.InstanceNorm2d(2), IMAGE),
    "RMSNorm": module(lambda: nn.RMSNorm(3), A),
    "LocalResponseNorm": module(lambda: nn.LocalResponseNorm(2), IMAGE),
    "Dropout in eval": module(lambda: nn.Dropout(0.5), A),
    "Dropout in train": module(lambda: nn.Dropout(0.5), A, train=True),
    "AlphaDropout in eval": module(lambda: nn.AlphaDropout(0.5), A),
    "Embedding": module(lambda: nn.Embedding(4, 3), counts(5)),
    "EmbeddingBag": module(lambda: nn.EmbeddingBag(4, 3, mode="sum"), counts(2, 3)),
    "PixelShuffle": module(lambda: nn.PixelShuffle(2), floats(1, 4, 2, 2)),
    "PixelUnshuffle": module(lambda: nn.PixelUnshuffle(2), IMAGE),
    "Upsample": module(lambda: nn.Upsample(scale_factor=2), IMAGE),
    "Upsample bilinear": module(
        lambda: nn.Upsample(scale_factor=2, mode="bilinear"), floats(1, 1, 2, 2), blind="weights of 0"
    ),
    "ZeroPad2d": module(lambda: nn.ZeroPad2d(1), IMAGE),
    "ReflectionPad2d": module(lambda: nn.ReflectionPad2d(1), IMAGE),
    "CircularPad2d": module(lambda: nn.CircularPad2d(1), IMAGE),
    "Unfold": module(lambda: nn.Unfold(2), IMAGE),
    "Fold": module(lambda: nn.Fold((3, 3), 2), floats(1, 4, 4)),
    "MultiheadAttention": module(
        lambda: nn.MultiheadAttention(4, 2, batch_first=True), SEQUENCE, SEQUENCE, SEQUENCE, pick=lambda found: found[0]
    ),
    "TransformerEncoderLayer": module(lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), SEQUENCE),
    "RNN": module(lambda: nn.RNN(4, 2, batch_first=True), SEQUENCE, pick=lambda found: found[0]),
    "LSTM": module(lambda: nn.LSTM(4, 2, batch_first=True), SEQUENCE, pick=lambda found: found[0]),
    "GRU": module(lambda: nn.GRU(4, 2, batch_first=True), SEQUENCE, pick=lambda found: found[0]),
    "LSTMCell": module(lambda: nn.LSTMCell(3, 2), A, pick=lambda found: found[0]),
    "CosineSimilarity": module(lambda: nn.CosineSimilarity(1), A, A),
    "PairwiseDistance": module(nn.PairwiseDistance, A, A),
    "MSELoss": module(nn.MSELoss, A, A),
    "L1Loss": module(lambda: nn.L1Loss(reduction="none"), A, A),
    "SmoothL1Loss": module(nn.SmoothL1Loss, A, A),
    "HuberLoss": module(nn.HuberLoss, A, A),
    "CrossEntropyLoss": module(lambda: nn.CrossEntropyLoss(reduction="none"), A, counts(4, high=3)),
    "CrossEntropyLoss smoothed": module(lambda: nn.CrossEntropyLoss(label_smoothing=0.1), A, counts(4, high=3)),
    "NLLLoss": module(
        lambda: nn.NLLLoss(reduction="none"), A, counts(4, high=3), blind="the classes that are not the row's"
    ),
    "BCEWithLogitsLoss": module(nn.BCEWithLogitsLoss, A, lambda rng: rng.random((4, 3))),
    "KLDivLoss": module(lambda: nn.KLDivLoss(reduction="none"), A, lambda rng: rng.random((4, 3))),
}


def _set(a: Any, index: Any, value: Any) -> Any:
    a = a.clone()
    a[index] = value
    return a


IN_PLACE: dict[str, Case] = {
    "add_": Case(lambda a, b: a.clone().add_(b), (A, A)),
    "mul_": Case(lambda a: a.clone().mul_(2), (A,)),
    "relu_": Case(lambda a: a.clone().relu_(), (A,)),
    "clamp_": Case(lambda a: a.clone().clamp_(-0.5, 0.5), (A,)),
    "zero_": Case(lambda a: a.clone().zero_() + a, (A,)),
    "fill_": Case(lambda a: a.clone().fill_(2) * a, (A,)),
    "copy_": Case(lambda a, b: a.clone().copy_(b), (A, A)),
    "x[i] = v": Case(lambda a, b: _set(a, 1, b[0]), (A, A)),
    "x[:, j] = v": Case(lambda a, v: _set(a, (slice(None), 1), v), (A, floats(4))),
    "x[::2] = v": Case(lambda a, b: _set(a, slice(None, None, 2), b[:2]), (A, A)),
    "x[mask] = v": Case(lambda a, m: _set(a, m, 0.0), (A, masks(4, 3))),
    "x[index] = v": Case(lambda a, i, b: _set(a, i, b[:2]), (A, counts(2), A)),
    "x += y": Case(lambda a, b: (lambda c: c.__iadd__(b))(a.clone()), (A, A)),
    "a view written to": Case(lambda a: (lambda c: (c[1].mul_(2), c)[1])(a.clone()), (A,)),
    "a transposed view written to": Case(lambda a, v: (lambda c: (c.t()[0].add_(v), c)[1])(a.clone()), (A, floats(4))),
    "a reshaped view written to": Case(lambda a: (lambda c: (c.view(-1)[3:5].fill_(7), c)[1])(a.clone()), (A,)),
    "index_add_": Case(lambda a, i, b: a.clone().index_add_(0, i, b[:2]), (A, counts(2), A)),
    "scatter_": Case(lambda a, i: a.clone().scatter_(1, i, 9.0), (A, counts(4, 2, high=3))),
    "scatter_add_": Case(lambda a, i, b: a.clone().scatter_add_(1, i, b), (A, counts(4, 3, high=3), A)),
    "masked_fill_": Case(lambda a, m: a.clone().masked_fill_(m, 5.0), (A, masks(4, 3))),
    "index_fill_": Case(lambda a: a.clone().index_fill_(0, torch.tensor([0, 2]), 5.0), (A,)),
}
VIEWS: dict[str, Case] = {
    "view": Case(lambda a: a.view(2, 6), (A,)),
    "reshape": Case(lambda a: a.t().reshape(-1), (A,)),
    "t": Case(lambda a: a.t(), (A,)),
    "transpose": Case(lambda x: x.transpose(0, 2), (X,)),
    "movedim": Case(lambda x: x.movedim(0, 2), (X,)),
    "unbind": Case(lambda a: a.unbind(1), (A,)),
    "chunk": Case(lambda a: a.chunk(2), (A,)),
    "split": Case(lambda a: a.split([1, 3]), (A,)),
    "narrow": Case(lambda a: a.narrow(0, 1, 2), (A,)),
    "unfold": Case(lambda v: v.unfold(0, 2, 1), (V,)),
    "expand": Case(lambda v: v.expand(2, 5), (V,)),
    "diagonal": Case(lambda a: a.diagonal(), (A,)),
    "as_strided": Case(lambda a: a.as_strided((2, 2), (1, 3), 1), (A,)),
    "as_strided of a transposed": Case(lambda a: a.t().as_strided((2, 2), (3, 1)), (A,)),
    "squeeze": Case(lambda a: a[:, None].squeeze(1), (A,)),
    "flatten": Case(lambda x: x.flatten(1), (X,)),
    "unflatten": Case(lambda a: a.unflatten(0, (2, 2)), (A,)),
    "x[..., None, 1:]": Case(lambda a: a[..., None, 1:], (A,)),
}
SIZES: dict[str, Case] = {
    "x[mask]": Case(lambda a, m: a[m], (A, lambda rng: rng.random(4) < 0.7), GONE),
    "x[x > 0]": Case(lambda a: a[a > 0], (A,), GONE),
    "x[x[:, 0] > 0].mean(0)": Case(lambda a: a[a[:, 0] > -0.5].mean(0), (A,), GONE),
    "nonzero": Case(lambda m: m.nonzero(), (masks(3, 2),), GONE),
    "nonzero as a tuple": Case(lambda m: torch.nonzero(m, as_tuple=True), (masks(3, 2),), GONE),
    "where": Case(lambda m: torch.where(m)[0], (masks(5),), GONE),
    "masked_select": Case(lambda a, m: a.masked_select(m), (A, masks(4, 3)), GONE),
    "unique": Case(lambda i: torch.unique(i), (counts(5),), "what is there once more"),
    "unique with inverse": Case(
        lambda i: torch.unique(i, return_inverse=True), (counts(5),), "what is there once more"
    ),
    "unique with counts": Case(
        lambda i: torch.unique(i, return_counts=True)[1], (counts(5),), "what is there once more"
    ),
    "unique_consecutive": Case(lambda i: torch.unique_consecutive(i), (counts(5, high=2),), "what is there once more"),
    "repeat_interleave": Case(lambda v, i: torch.repeat_interleave(v, i), (V, counts(5, high=3)), GONE),
    "bincount": Case(lambda i: torch.bincount(i, minlength=4), (counts(5),)),
}
