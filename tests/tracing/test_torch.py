"""The PyTorch front end: values equal the plain call, lineage covers what perturbation shows, kinds equal NumPy's."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import traceprop as tp
from traceprop.errors import TraceError

torch = pytest.importorskip("torch")
F = torch.nn.functional

KINDS = ("direct", "aggregate", "control", "order", "any")
RNG = np.random.default_rng(7)
X = RNG.normal(size=(4, 3))
W = RNG.normal(size=(3, 2))
M = np.array([True, False, True, True])
I = np.array([2, 0, 2, -1])  # noqa: E741
T = torch.from_numpy


def kinds_of(lazy: Any) -> list[dict[str, list[int]]]:
    view = tp.provenance(lazy)
    return [{s: r.tolist() for s, r in view.rows(i, k).items()} for i in range(len(lazy)) for k in KINDS]


@tp.trace
def with_numpy(x, w):
    z = (x - x.mean(0)) / x.std(0)
    return z[np.argsort(z[:, 0])][:3] @ w


@tp.trace
def with_torch(x, w):
    z = (x - x.mean(0)) / x.std(0, correction=0)
    return z[torch.argsort(z[:, 0])][:3] @ w


@tp.trace
def masked_numpy(x, m, w):
    return ((x - x.mean(0)) / x.std(0))[m] @ w


@tp.trace
def masked_torch(x, m, w):
    torch.is_tensor(x)
    return ((x - x.mean(0)) / x.std(0, correction=0))[m] @ w


@pytest.mark.parametrize("give", [np.asarray, T], ids=["arrays", "tensors"])
@pytest.mark.parametrize(
    "left, right, args",
    [(with_numpy, with_torch, (X, W)), (masked_numpy, masked_torch, (X, M, W))],
    ids=["sort", "mask"],
)
def test_two_front_doors(left, right, args, give):
    ours, theirs = left(*args), right(*map(give, args))

    assert np.asarray(theirs) == pytest.approx(np.asarray(ours), rel=1e-6)
    assert kinds_of(theirs) == kinds_of(ours)
    program = right.ir(*map(give, args))
    assert tp.ir.parse(str(program)) == program


# -- every op: (name, function, arguments, exact) ----------------------------------------------------------------------


def in_place(x):
    y = x.clone()
    y[0] = 1.0
    y.add_(2)
    y[:, 1] *= 3
    return y


def attention(x):
    heads = torch.stack([x @ T(W) @ T(W).T, x])
    return F.softmax(heads @ heads.transpose(1, 2) / 3**0.5, -1) @ heads


def layer(x):
    return F.layer_norm(x, (3,), torch.ones(3, dtype=x.dtype), torch.zeros(3, dtype=x.dtype))


def batch_norm(x):
    mean, var = torch.zeros(3, dtype=x.dtype), torch.ones(3, dtype=x.dtype)
    return F.batch_norm(x, mean, var, training=False)


CASES: dict[str, tuple[Any, tuple[np.ndarray, ...]]] = {
    "add": (lambda x: x + 1, (X,)),
    "twice": (lambda x: x * 2 - x * 3, (X,)),
    "compare": (lambda x: (x > 0) & (x < 1), (X,)),
    "where": (lambda x: torch.where(x > 0, x, -x), (X,)),
    "to": (lambda x: x.to(torch.float32), (X,)),
    "relu": (lambda x: F.relu(x), (X,)),
    "gelu": (lambda x: F.gelu(x), (X,)),
    "sigmoid": (lambda x: torch.sigmoid(x) * torch.tanh(x), (X,)),
    "clamp": (lambda x: x.clamp(-1, 1), (X,)),
    "lerp": (lambda x: torch.lerp(x, x.flip(0), 0.5), (X,)),
    "view": (lambda x: x.view(2, 6), (X,)),
    "view_of_transposed": (lambda x: x.t().reshape(2, 6), (X,)),
    "permute": (lambda x: x.permute(1, 0), (X,)),
    "unsqueeze": (lambda x: x.unsqueeze(1).squeeze(1) + x.unsqueeze(0)[0], (X,)),
    "expand": (lambda x: x[0].expand(2, 3), (X,)),
    "slice": (lambda x: x[1:, ::2], (X,)),
    "select": (lambda x: x[-1], (X,)),
    "flip": (lambda x: x.flip(0, 1), (X,)),
    "cat": (lambda x: torch.cat([x, x[:1] * 2]), (X,)),
    "stack": (lambda x: torch.stack([x, x.flip(0)], 1), (X,)),
    "split": (lambda x: torch.split(x, 2)[1], (X,)),
    "chunk": (lambda x: x.chunk(2)[0], (X,)),
    "unbind": (lambda x: x.unbind(1)[2], (X,)),
    "roll": (lambda x: torch.roll(x, 1, 0), (X,)),
    "sum": (lambda x: x.sum(), (X,)),
    "mean": (lambda x: x.mean(1, keepdim=True), (X,)),
    "var": (lambda x: x.var(0), (X,)),
    "std": (lambda x: x.std(), (X,)),
    "amax": (lambda x: x.amax(0), (X,)),
    "max_dim": (lambda x: x.max(0).values, (X,)),
    "min_dim": (lambda x: x.min(1).indices, (X,)),
    "max": (lambda x: x.max(), (X,)),
    "any": (lambda x: (x > 0).any(0), (X,)),
    "all": (lambda x: (x > 0).all(), (X,)),
    "prod": (lambda x: x.prod(1), (X,)),
    "argmax": (lambda x: x.argmax(1), (X,)),
    "logsumexp": (lambda x: torch.logsumexp(x, 1), (X,)),
    "norm": (lambda x: torch.linalg.vector_norm(x, dim=1), (X,)),
    "softmax": (lambda x: F.softmax(x, 1), (X,)),
    "log_softmax": (lambda x: F.log_softmax(x, 0), (X,)),
    "mm": (lambda x, w: x @ w, (X, W)),
    "mv": (lambda x, w: x @ w[:, 0], (X, W)),
    "dot": (lambda x: x[0] @ x[1], (X,)),
    "linear": (lambda x, w: F.linear(x, w.t(), w[0]), (X, W)),
    "bmm": (lambda x: torch.bmm(x.view(2, 2, 3), x.view(2, 3, 2)), (X,)),
    "baddbmm": (lambda x: torch.baddbmm(x.view(2, 2, 3)[:, :, :2], x.view(2, 2, 3), x.view(2, 3, 2), alpha=2), (X,)),
    "einsum": (lambda x, w: torch.einsum("ij,jk->ki", x, w), (X, W)),
    "embedding": (lambda x: F.embedding(torch.tensor([1, 1, 0]), x), (X,)),
    "take": (lambda x, i: x[i], (X, I)),
    "take_columns": (lambda x: x[:, torch.tensor([2, 0])], (X,)),
    "pairs": (lambda x, i: x[i, torch.tensor([0, 1, 2, 0])], (X, I)),
    "index_select": (lambda x: x.index_select(1, torch.tensor([2, 2])), (X,)),
    "gather": (lambda x: x.gather(0, torch.tensor([[1, 0, 3]])), (X,)),
    "take_along": (lambda x: torch.take_along_dim(x, x.argsort(1), 1), (X,)),
    "sort": (lambda x: torch.sort(x, dim=0, descending=True).values, (X,)),
    "topk": (lambda x: torch.topk(x, 2, dim=0).values, (X,)),
    "cumsum": (lambda x: x.cumsum(0), (X,)),
    "cummax": (lambda x: x.cummax(0).values, (X,)),
    "triu": (lambda x: x.triu(), (X,)),
    "dropout": (lambda x: F.dropout(x, 0.5, training=False), (X,)),
    "layer_norm": (layer, (X,)),
    "batch_norm": (batch_norm, (X,)),
    "in_place": (in_place, (X,)),
    "attention": (attention, (X,)),
    "sdpa": (lambda x: F.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None])[0, 0], (X,)),
    "mask": (lambda x, m: x[m].mean(0), (X, M)),
    "mask_flat": (lambda x: x[x > 0].sum(), (X,)),
    "mask_reshaped": (lambda x, m: x[m].reshape(-1) * 2, (X, M)),
    "nonzero": (lambda m: m.nonzero() + 1, (M,)),
    "arange": (lambda x: x + torch.arange(3) + torch.zeros_like(x), (X,)),
    "masked_fill": (lambda x: x.masked_fill(x > 0, float("-inf")), (X,)),
    "pad": (lambda x: F.pad(x, (1, 0)), (X,)),
    "inverse": (lambda x: torch.linalg.inv(x[:3]), (X,)),
}
OPAQUE = {"inverse"}


def others(array: np.ndarray, cell: tuple[int, ...]) -> list[Any]:
    return [not array[cell]] if array.dtype == bool else [v for v in (array[cell] + 1, array[cell] - 2) if abs(v) < 4]


def check(function: Any, args: tuple[np.ndarray, ...], opaque: bool = False) -> Any:
    """Values equal the plain call's; every cell that a change of one source cell changes has reported it."""

    def plain(*arrays: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return function(*(T(a.copy()) for a in arrays)).numpy()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if opaque else "error", UserWarning)
        lazy = tp.trace(function)(*map(T, args))
    base = plain(*args)
    assert lazy.dtype == base.dtype
    np.testing.assert_allclose(np.asarray(lazy), base, rtol=1e-6, atol=1e-12)
    view = tp.provenance(lazy)
    assert view.exact is not opaque
    cells = {c: {s: set(map(tuple, v.tolist())) for s, v in view.cells(c).items()} for c in np.ndindex(base.shape)}
    names = [p.source for p in view.program.params]
    for k, array in enumerate(args):
        for cell in np.ndindex(array.shape):
            for value in others(array, cell):
                moved = [a.copy() for a in args]
                moved[k][cell] = value
                try:
                    again = plain(*moved)
                except IndexError:
                    continue
                if again.shape != base.shape:
                    continue
                for hit in map(tuple, np.argwhere(~np.isclose(again, base, rtol=1e-9, equal_nan=True)).tolist()):
                    assert cell in cells[hit].get(names[k], set()), (hit, names[k], cell)
    return view


@pytest.mark.parametrize("name", CASES)
def test_call(name):
    function, args = CASES[name]
    check(function, args, name in OPAQUE)


class Net(torch.nn.Module):
    """An MLP with all that is the same each time in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.LayerNorm(4),
            torch.nn.Linear(4, 2),
        )  # fmt: skip
        self.double().eval()

    def forward(self, x):
        return self.layers(x)


def test_module():
    torch.manual_seed(0)
    view = check(Net(), (X,))

    assert [rows.tolist() for rows in view.rows(1).values()] == [[1]]


def test_locations():
    def scaled(x):
        return x * 2

    program = tp.trace(scaled).ir(T(X))

    assert [(op.location.file, op.location.function) for op in program] == [("test_torch.py", "scaled")]


def test_structures():
    found = tp.trace(lambda x: {"a": x + 1, "b": (x.sum(), [x[0]], 3)})(T(X))

    assert np.asarray(found["b"][1][0]) == pytest.approx(X[0])
    assert found["b"][2] == 3
    assert torch.is_tensor(found["a"].compute())


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda x: x if x.sum() > 0 else -x, "torch.where"),
        (lambda x: x * x[0, 0].item(), "torch.where"),
        (lambda x: x + torch.rand(3), "random"),
        (lambda x: F.dropout(x, 0.5), "random"),
    ],
    ids=["branch", "item", "rand", "dropout"],
)
def test_refused(function, message):
    with pytest.raises(TraceError, match=message) as error:
        tp.trace(function)(T(X))
    assert "test_torch.py:" in str(error.value)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.quantile(x, 0.5, dim=0),
        lambda x: F.rms_norm(x, (x.shape[-1],)),
        lambda x: F.cosine_similarity(x, x.flip(0) + 1, dim=1),
        lambda x: F.pad(x[None], (1, 1), mode="circular")[0],
    ],
    ids=["quantile", "rms_norm", "cosine_similarity", "circular"],
)
def test_writes_inside_of_pytorch_are_new_values(function):
    check(function, (X,))


def test_a_view_taken_before_a_write_shows_what_was_written():
    """As PyTorch's own code does it, to values that hang on no data when it begins."""

    def f(x):
        out = torch.zeros(4, 3, dtype=x.dtype)
        first, middle = out[0], out[1:3]
        middle.copy_(x[:2])
        out.add_(1)
        return torch.stack([first, out[1], middle[1]])

    x = torch.arange(12.0, dtype=torch.float64).reshape(4, 3)
    found = tp.trace(f)(x)
    np.testing.assert_array_equal(np.asarray(found), f(x).numpy())
    rows = [tp.provenance(found).rows(i, "any").get("x", np.array([])).tolist() for i in range(3)]
    assert rows == [[], [0], [1]]


def test_a_call_without_a_rule_names_itself_and_the_line_and_says_that_it_is_not_exact():
    weight = torch.ones(2, 3, 3, dtype=torch.float64)

    def f(x):
        return F.bilinear(x, x, weight)

    with pytest.warns(UserWarning, match=r"aten._trilinear at test_torch.py:\d+ has no lineage rule"):
        found = tp.trace(f)(T(X))
    view = tp.provenance(found)
    assert not view.exact
    assert view.rows(0, "any")["x"].tolist() == list(range(len(X)))


def test_from_torch():
    x = tp.from_torch(torch.ones(3, 2, requires_grad=True), source_id="ones")

    assert torch.is_tensor(x.compute())
    assert kinds_of(tp.trace(lambda t: t.flip(0))(x))[0] == {"ones": [2]}


STEPS = {
    "scale": lambda x: (x - x.mean(0)) / 2,
    "flip": lambda x: x.flip(0),
    "sort": lambda x: x[torch.argsort(x[:, 0])],
    "where": lambda x: torch.where(x > 0, x, x * 0.5),
    "cumsum": lambda x: x.cumsum(0),
    "softmax": lambda x: F.softmax(x, 1),
    "cat": lambda x: torch.cat([x[1:], x[:1]]),
    "mix": lambda x: x @ (x.t() @ x),
    "write": in_place,
}


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4))
def test_programs(names):
    def program(x):
        for name in names:
            x = STEPS[name](x)
        return x

    check(program, (X,))


def traces_of(function: Any) -> int:
    return sum(map(len, function._traces.values()))


def test_one_trace_for_any_number_of_rows():
    function = tp.trace(lambda x, w: F.softmax((x - x.mean(0)) @ w, 1)[torch.argsort(x[:, 0])])
    for rows in (4, 7, 2):
        x = RNG.normal(size=(rows, 3))
        plain = torch.softmax((T(x) - T(x).mean(0)) @ T(W), 1)[torch.argsort(T(x)[:, 0])]
        np.testing.assert_allclose(np.asarray(function(T(x), T(W))), plain, rtol=1e-12)

    assert traces_of(function) == 1
    assert str(function.ir(T(X), T(W))).startswith('func @"<lambda>"(%x: f64[N,3] from "x", %w: f64[3,2] from "w")')


@pytest.mark.parametrize("rows", [0, 1, 2, 5])
def test_no_row_and_one_row(rows):
    function = tp.trace(lambda x: x[x[:, 0] > 0] * 2 + x.shape[1])
    np.asarray(function(T(X)))
    x = RNG.normal(size=(rows, 3))

    np.testing.assert_array_equal(np.asarray(function(T(x))), x[x[:, 0] > 0] * 2 + 3)


NEEDS_A_NUMBER = {
    "len": lambda x: x.sum(0) / len(x),
    "size": lambda x: x.sum(0) / x.shape[0],
    "branch": lambda x: x if x.shape[0] > 3 else -x,
    "first": lambda x: x[:3],
    "windows": lambda x: x.unfold(0, 2, 1).mean(-1),
    "differences": lambda x: x[1:] - x[:-1],
    "square": lambda x: x[:, :1] + torch.arange(len(x)),
}


@pytest.mark.parametrize("name", NEEDS_A_NUMBER)
def test_rows_that_become_numbers(name):
    """What asks how many rows there are is traced for that number, the dump says so, and another is traced anew."""
    function = tp.trace(NEEDS_A_NUMBER[name])
    for x in (X, X[:3]):
        np.testing.assert_allclose(np.asarray(function(T(x))), NEEDS_A_NUMBER[name](T(x)), rtol=1e-12)
        assert f"%x: f64[{len(x)},3]" in str(function.ir(T(x)))
    assert traces_of(function) == 2


def test_rows_that_must_be_equal():
    function = tp.trace(lambda x, y: x + y)

    np.testing.assert_array_equal(np.asarray(function(T(X), T(X))), X + X)
    assert '(%x: f64[M,3] from "x", %y: f64[M,3] from "y")' in str(function.ir(T(X), T(X)))
    np.testing.assert_array_equal(np.asarray(function(T(X), T(X[:1]))), X + X[:1])
    with pytest.raises(RuntimeError, match="broadcast"):
        function(T(X), T(X[:3]))


def test_a_mask_must_choose_what_the_trace_took_for_granted():
    function = tp.trace(lambda x: x[x[:, 0] > -9] + torch.ones(4, 1))

    np.testing.assert_array_equal(np.asarray(function(T(X))), X + 1)
    with pytest.raises(tp.errors.ExecutionError, match="chooses 3 rows"):
        np.asarray(function(T(np.concatenate([X[:3], [[-10.0, 0, 0]]]))))


def test_rows_of_an_earlier_result():
    """The second function is traced when the first has run: only then is the number of rows known."""
    chosen = tp.trace(lambda x: x[x[:, 0] > x[:, 0].min()])(T(X))

    assert np.asarray(tp.trace(lambda x: x.sum(0) / len(x))(chosen)) == pytest.approx(np.asarray(chosen).mean(0))
