"""Whole PyTorch programs: equal to the plain run, asked for lineage, printed as agreed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import TraceError
from traceprop.ir import dump

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(3)


def shown(function: Any, *args: Any) -> str:
    """The program without its lines; weights print by their content, which differs from machine to machine in its last bits."""
    program = function.ir(*args)
    assert tp.ir.parse(str(program), tp.ir.constants_of(program)) == program
    text = dump(program, locations=False)
    return "\n".join(line.split("[sha256:")[0] if "[sha256:" in line else line for line in text.splitlines())


def run(function: Any, *args: Any) -> Any:
    """The traced result: equal to the plain one, exact, and no cell that a change of one input cell changes unreported."""
    lazy = tp.trace(function)(*args)
    with torch.no_grad():
        base = function(*args)
        np.testing.assert_allclose(np.asarray(lazy), base, rtol=1e-9, atol=1e-12)
        view = tp.provenance(lazy)
        assert view.exact
        rng = np.random.default_rng(1)
        for k, (array, source) in enumerate(zip(args, view.program.params, strict=True)):
            for flat in rng.choice(array.numel(), size=min(array.numel(), 12), replace=False):
                cell = tuple(int(n) for n in np.unravel_index(flat, array.shape))
                moved = [a.clone() for a in args]
                moved[k][cell] = (moved[k][cell] + 1) % 11 if array.dtype == torch.int64 else moved[k][cell] + 1.5
                for hit in (function(*moved) != base).nonzero().tolist()[::7]:
                    assert cell in set(map(tuple, view.cells(tuple(hit)).get(source.source, np.empty((0, 0))).tolist()))
    return view


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 3))

    def forward(self, x):
        return F.log_softmax(self.layers((x - x.mean(0)) / x.std(0)), dim=1)


class Block(nn.Module):
    """Two convolutions with a way around them."""

    def __init__(self, given: int, wide: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(given, wide, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(wide, wide, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(wide), nn.BatchNorm2d(wide)])
        self.around = nn.Conv2d(given, wide, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(y)) + self.around(x))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.blocks = nn.Sequential(Block(4, 4, 1), Block(4, 8, 2))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1).flatten(1))


class Encoder(nn.Module):
    """Embedded tokens with positions, one block of attention, and a score for each sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 8)
        self.places = nn.Parameter(torch.randn(5, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, tokens):
        return self.head(self.block(self.tokens(tokens) + self.places).mean(1))


def augmented(images, flipped):
    """Crop, mirror some, brighten, and normalise by channel, over a batch."""
    cropped = F.pad(images, (1, 1, 1, 1), mode="reflect")[:, :, 1:7, 2:8]
    mirrored = torch.where(flipped[:, None, None, None], cropped.flip(-1), cropped)
    bright = (mirrored * 1.2).clamp(0, 1)
    return (bright - bright.mean((0, 2, 3), keepdim=True)) / bright.std((0, 2, 3), keepdim=True)


def test_mlp(golden):
    model = MLP().double().eval()
    view = run(model, torch.randn(6, 4, dtype=torch.float64))

    assert {s: r.tolist() for s, r in view.rows(2).items()} == {"x": [2]}
    assert {s: len(r) for s, r in view.rows(2, "aggregate").items()} == {"x": 6}
    assert shown(tp.trace(model), torch.randn(5, 4, dtype=torch.float64)) == golden


def test_resnet(golden):
    model = ResNet().double().eval()
    images = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    view = run(model, images)

    assert {s: r.tolist() for s, r in view.rows(1, "any").items()} == {"x": [1]}
    assert shown(tp.trace(model), images) == golden


def test_encoder(golden):
    model = Encoder().double().eval()
    tokens = torch.randint(0, 11, (4, 5))
    view = run(model, tokens)

    assert {s: r.tolist() for s, r in view.rows(3, "any").items()} == {"tokens": [3]}
    assert shown(tp.trace(model), tokens) == golden


def test_augmentation(golden):
    images, flipped = torch.rand(4, 2, 8, 8, dtype=torch.float64), torch.tensor([True, False, False, True])
    traced = tp.trace(augmented)
    lazy = traced(images, flipped)
    np.testing.assert_allclose(np.asarray(lazy), augmented(images, flipped), rtol=1e-9)
    view = tp.provenance(lazy)

    assert view.exact
    assert {s: r.tolist() for s, r in view.rows(1).items()} == {"images": [1]}
    assert {s: r.tolist() for s, r in view.rows(1, "control").items()} == {"flipped": [0, 1, 2, 3]}
    assert shown(traced, images, flipped) == golden


def test_one_trace_for_any_batch():
    model = Encoder().double().eval()
    traced = tp.trace(model)
    for rows in (4, 7):
        tokens = torch.randint(0, 11, (rows, 5))
        with torch.no_grad():
            np.testing.assert_allclose(np.asarray(traced(tokens)), model(tokens), rtol=1e-9)
    assert sum(map(len, traced._traces.values())) == 1


@pytest.mark.parametrize("name", ["Dropout", "BatchNorm1d"])
def test_training_mode_is_refused(name):
    layer = {"Dropout": nn.Dropout(), "BatchNorm1d": nn.BatchNorm1d(4)}[name]
    with pytest.raises(TraceError, match=r"module\.eval\(\)"):
        tp.trace(lambda x: layer(x))(torch.randn(6, 4))
    layer.eval()
    assert tp.provenance(tp.trace(lambda x: layer(x))(torch.randn(6, 4))).exact
