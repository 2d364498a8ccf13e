"""Factors from one backward pass, against a loop over single samples."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from traceprop.passes.attribution.factors import DenseFactors, EmbeddingFactors, PlainGradients, kernel  # noqa: E402
from traceprop.training.torch import margins  # noqa: E402
from traceprop.training.torch_factors import captured  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
nn = torch.nn


class Convolutional(nn.Module):
    """Both convolutions, a batch norm, and a parameter that no layer holds."""

    def __init__(self):
        super().__init__()
        self.two = nn.Conv2d(1, 4, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.one = nn.Conv1d(4, 5, 3, dilation=2)
        self.last = nn.Linear(5 * 12, 3)
        self.own = nn.Parameter(torch.randn(3, 3))

    def forward(self, x):
        h = torch.relu(self.norm(self.two(x[:, None])))
        return self.last(self.one(h.flatten(2)).flatten(1)) @ self.own


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.groups = nn.Conv1d(4, 4, 3, groups=2)
        self.same = nn.Conv1d(4, 2, 3, padding="same")
        self.last = nn.Linear(2 * 6, 3)

    def forward(self, x):
        return self.last(self.same(self.groups(x)).flatten(1))


class Attending(nn.Module):
    """Tokens through PyTorch's own encoder layer, batch first or sequence first."""

    def __init__(self, batch_first: bool):
        super().__init__()
        self.batch_first = batch_first
        self.tokens = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, dropout=0.0)
        self.last = nn.Linear(8, 3)

    def forward(self, ids):
        h = self.tokens(ids)
        h = self.block(h) if self.batch_first else self.block(h.transpose(0, 1)).transpose(0, 1)
        return self.last(h.mean(1))


class Twice(nn.Module):
    """One layer in two places, and a frozen one."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(6, 6)
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.last = nn.Linear(6, 3, bias=False)

    def forward(self, x):
        return self.last(torch.tanh(self.shared(torch.tanh(self.frozen(self.shared(x))))))


def module(name):
    torch.manual_seed(0)
    return {
        "mlp": lambda: (nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), torch.randn(700, 6)),
        "convolutions": lambda: (Convolutional(), torch.randn(40, 8, 8)),
        "groups": lambda: (Grouped(), torch.randn(9, 4, 8)),
        "encoder": lambda: (Attending(True), torch.randint(0, 11, (40, 7))),
        "sequence first": lambda: (Attending(False), torch.randint(0, 11, (7, 7))),
        "twice": lambda: (Twice(), torch.randn(20, 6)),
    }[name]()


@pytest.mark.parametrize("name", ["mlp", "convolutions", "groups", "encoder", "sequence first", "twice"])
def test_gradients_are_those_of_a_loop(name):
    model, x = module(name)
    model.eval()
    y = torch.randint(0, 3, (len(x),))
    found = captured(model, x, y, margins)
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert sorted(key for layer in found.names for key in layer) == sorted(trained)
    alone: dict[str, list[np.ndarray]] = {key: [] for key in trained}
    values = []
    for k in range(len(x)):
        value = margins(model(x[k : k + 1]), y[k : k + 1]).sum()
        values.append(float(value.detach()))
        for key, gradient in zip(trained, torch.autograd.grad(value, list(trained.values())), strict=True):
            alone[key].append(gradient.reshape(-1).numpy())
    np.testing.assert_allclose(found.values, values, rtol=1e-4, atol=1e-5)
    whole = 0
    for names, layer in zip(found.names, found.layers, strict=True):
        expected = np.concatenate([np.stack(alone[key]) for key in names], axis=1)
        np.testing.assert_allclose(layer.flat(), expected, rtol=1e-3, atol=1e-5 * max(1.0, np.abs(expected).max()))
        whole = whole + expected @ expected.T
    np.testing.assert_allclose(kernel(found.layers, found.layers, len(x), len(x)), whole, rtol=1e-3, atol=1e-3)


def test_which_layers_have_factors():
    kinds = {}
    for name in ("convolutions", "encoder", "sequence first", "groups"):
        model, x = module(name)
        found = captured(model.eval(), x, torch.zeros(len(x), dtype=torch.int64), margins)
        kinds[name] = {
            key: type(layer) for names, layer in zip(found.names, found.layers, strict=True) for key in names
        }
    assert kinds["convolutions"]["two.weight"] is kinds["convolutions"]["one.bias"] is DenseFactors
    assert kinds["convolutions"]["own"] is PlainGradients
    assert kinds["groups"]["groups.weight"] is kinds["groups"]["same.weight"] is PlainGradients
    for name in ("encoder", "sequence first"):
        assert kinds[name]["tokens.weight"] is EmbeddingFactors
        assert kinds[name]["block.self_attn.in_proj_weight"] is DenseFactors
        assert kinds[name]["block.self_attn.out_proj.bias"] is DenseFactors


def test_losses_in_float32_of_a_network_that_fits_are_no_mixed_samples():
    """bce(logits, y.float()) of a batch rounds at 1e-7 of the logits, which is all there is of the losses."""
    import traceprop as tp

    model = nn.Sequential(nn.Linear(1, 1), nn.Identity(), nn.Linear(1, 1))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
    X = np.linspace(12, 25, 20, dtype=np.float32)[:, None]
    loss = lambda out, y: nn.functional.binary_cross_entropy_with_logits(  # noqa: E731
        out.squeeze(-1), y.float(), reduction="none"
    )
    with tp.training_context(model, X, np.ones(20, dtype=np.int64), loss=loss) as ctx:
        pass
    assert ctx.gradient_store.adapter.cross_entropy
