"""Index maps against NumPy: an op that moves cells must give exactly the label of the cell that its map names."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from traceprop.ir import OPSET, ArrayType, Full, Look, Op, Param, Span, symbol
from traceprop.ir.expr import evaluate
from traceprop.ir.index_map import AXIS_NAMES

shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
N = symbol("N")


def param(name, array, symbolic):
    """A parameter for an array; its first axis is `N`, or `M` for the second one, where asked for."""
    dims = list(array.shape)
    if symbolic and dims:
        dims[0] = symbol("N" if name == "x" else "M")
    return Param(name, ArrayType("bool" if array.dtype == bool else "i64", tuple(dims)))


def sizes_of(operands, arrays):
    return {
        str(dim): size
        for value, array in zip(operands, arrays, strict=True)
        for dim, size in zip(value.type.dims, array.shape, strict=True)
        if not isinstance(dim, int)
    }


def cells_read(op, cell, arrays, result, sizes):
    """By brute force: for one result cell, the (operand, cell) pairs that the map names, with their kind."""
    at = {**sizes, **{AXIS_NAMES[k]: index for k, index in enumerate(cell)}}
    values = {id(v): a for v, a in zip(op.operands, arrays, strict=True)} | {id(op.result): result}
    found = set()
    for read in op.reads:
        if any(
            (b.lo is not None and cell[b.axis] < evaluate(b.lo, at))
            or (b.hi is not None and cell[b.axis] >= evaluate(b.hi, at))
            for b in read.where
        ):
            continue
        array = values[id(read.operand)]
        places = []
        for place, size in zip(read.axes, array.shape, strict=True):
            match place:
                case Full():
                    places.append(range(size))
                case Span(lo, hi, step):
                    places.append(range(evaluate(lo, at), evaluate(hi, at), step))
                case Look(index, where):
                    position = int(values[id(index)][tuple(evaluate(dim, at) for dim in where)])
                    places.append([position % size if size else position])
                case _:
                    places.append([evaluate(place, at)])
        for source in itertools.product(*places):
            assert all(0 <= p < size for p, size in zip(source, array.shape, strict=True)), (op, cell, source)
            found.add((op.operands.index(read.operand), source, read.kind.value))
    return found


def check_moves(op, arrays, result):
    """Every result cell is the one data cell that the map names; sizes agree with the type too."""
    sizes = sizes_of(op.operands, arrays)
    assert tuple(evaluate(dim, sizes) for dim in op.result.type.dims) == result.shape
    for cell in np.ndindex(result.shape):
        data = [(k, source) for k, source, kind in cells_read(op, cell, arrays, result, sizes) if kind == "data"]
        assert len(data) == 1
        ((k, source),) = data
        assert arrays[k][source] == result[cell]


def labels(shape, start=0):
    return np.arange(start, start + int(np.prod(shape))).reshape(shape)


@given(shape=shapes, lead=st.lists(st.integers(0, 3), max_size=2), grow=st.integers(0, 3), symbolic=st.booleans())
def test_broadcast(shape, lead, grow, symbolic):
    x = labels(shape)
    target = (*lead, *(grow if size == 1 and not (symbolic and k == 0) else size for k, size in enumerate(shape)))
    p = param("x", x, symbolic)
    dims = tuple(target[: len(lead)]) + tuple(
        d if not isinstance(d, int) else t for d, t in zip(p.type.dims, target[len(lead) :], strict=True)
    )
    check_moves(Op(OPSET["broadcast"], [p], {"shape": dims}), [x], np.broadcast_to(x, target))


@given(shape=shapes, target=shapes, ones=st.lists(st.integers(0, 3), max_size=2))
def test_reshape(shape, target, ones):
    cells = int(np.prod(shape))
    known = int(np.prod(target[1:]))
    target = (cells // known, *target[1:]) if known and target else (cells,)
    assume(np.prod(target) == cells)
    for position in ones:
        target = (*target[:position], 1, *target[position:])
    x = labels(shape)
    check_moves(Op(OPSET["reshape"], [param("x", x, False)], {"shape": target}), [x], x.reshape(target))


@pytest.mark.parametrize(
    "dims, target",
    [
        ((N, 4), (N * 4,)), ((N, 4), (N, 2, 2)), ((N, 4), (N * 2, 2)), ((4, N), (N, 4)), ((N, 2, 2), (N, 4)),
        ((6, N), (N, 6)), ((N, 3, 4), (N * 2, 6)), ((N,), (1, N, 1)), ((2, N, 3), (N * 3, 2)), ((N, 0), (0,)), ((0,), (N, 0)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rows", [0, 1, 3, 5])
def test_reshape_of_symbolic_rows(dims, target, rows):
    x = labels(tuple(evaluate(dim, {"N": rows}) for dim in dims))
    shape = tuple(evaluate(dim, {"N": rows}) for dim in target)
    op = Op(OPSET["reshape"], [Param("x", ArrayType("i64", dims))], {"shape": target})
    for cell in np.ndindex(shape):
        ((_, source, _),) = cells_read(op, cell, [x], None, {"N": rows})
        assert x[source] == x.reshape(shape)[cell]


@given(shape=shapes, data=st.data(), symbolic=st.booleans())
def test_transpose(shape, data, symbolic):
    x = labels(shape)
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    check_moves(Op(OPSET["transpose"], [param("x", x, symbolic)], {"axes": order}), [x], x.transpose(order))


bounds = st.one_of(st.none(), st.integers(-6, 6))


@settings(max_examples=300)
@given(shape=shapes, data=st.data(), symbolic=st.booleans())
def test_slice(shape, data, symbolic):
    x = labels(shape)
    index = []
    for position, size in enumerate(shape):
        step = data.draw(st.sampled_from([None, 1, 2, 3, -1, -2]))
        whole = symbolic and position == 0 and (step or 1) < 0
        start, stop = (None, None) if whole else (data.draw(bounds), data.draw(bounds))
        if size and data.draw(st.booleans()):
            index.append(data.draw(st.integers(-size, size - 1)))
        else:
            index.append((start, stop, step))
        if data.draw(st.integers(0, 4)) == 0:
            index.append(None)
    plain = tuple(np.s_[i[0] : i[1] : i[2]] if isinstance(i, tuple) else i for i in index)
    check_moves(Op(OPSET["slice"], [param("x", x, symbolic)], {"index": tuple(index)}), [x], x[plain])


@given(
    shape=st.lists(st.integers(0, 3), min_size=1, max_size=3),
    more=st.lists(st.integers(0, 3), max_size=2),
    data=st.data(),
)
def test_concat(shape, more, data):
    k = data.draw(st.integers(0, len(shape) - 1))
    symbolic = k == 0 and len(more) < 2 and data.draw(st.booleans())
    arrays, operands = [], []
    for number, size in enumerate([shape[k], *more]):
        arrays.append(labels((*shape[:k], size, *shape[k + 1 :]), 1000 * number))
        operands.append(param("xyz"[number], arrays[-1], symbolic))
    check_moves(Op(OPSET["concat"], operands, {"axis": k}), arrays, np.concatenate(arrays, axis=k))


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    at=st.lists(st.integers(0, 3), max_size=2),
    data=st.data(),
)
def test_gather(shape, at, data):
    k = data.draw(st.integers(0, len(shape) - 1))
    x = labels(shape)
    size = shape[k]
    positions = data.draw(st.lists(st.integers(-size, size - 1), min_size=int(np.prod(at)), max_size=int(np.prod(at))))
    index = np.array(positions, np.int64).reshape(at)
    op = Op(OPSET["gather"], [param("x", x, True), param("i", index, True)], {"axis": k})
    check_moves(op, [x, index], np.take(x, index, axis=k))


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=3), taken=st.integers(0, 3), data=st.data())
def test_gather_along(shape, taken, data):
    k = data.draw(st.integers(0, len(shape) - 1))
    x = labels(shape)
    at = (*shape[:k], taken, *shape[k + 1 :])
    index = np.random.default_rng(data.draw(st.integers(0, 9))).integers(-shape[k], shape[k], size=at)
    op = Op(OPSET["gather"], [param("x", x, False), param("i", index, False)], {"axis": k, "along": True})
    check_moves(op, [x, index], np.take_along_axis(x, index, axis=k))


@given(mask=st.lists(st.booleans(), max_size=6))
def test_filter_reads_its_own_cell_and_all(mask):
    mask = np.array(mask, bool)
    op = Op(OPSET["filter"], [param("x", mask, True)], {"size": symbol("K")})
    result = np.flatnonzero(mask)
    for cell in np.ndindex(result.shape):
        read = cells_read(op, cell, [mask], result, {"N": len(mask)})
        assert {source for _, source, kind in read if kind == "control"} == {(result[cell],)}
        assert {source for _, source, kind in read if kind == "order"} == {(k,) for k in range(len(mask))}


@pytest.mark.parametrize("along", [0, 1])
def test_sort_reads_along_its_axis(along):
    keys = np.random.default_rng(0).permutation(12).reshape(3, 4)
    op = Op(OPSET["sort"], [param("x", keys, False), param("y", keys, False)], {"axis": along})
    result = np.argsort(keys, axis=along, kind="stable")
    for i, j in np.ndindex(result.shape):
        read = cells_read(op, (i, j), [keys, keys], result, {})
        assert {k for k, _, _ in read} == {0, 1}
        own = (result[i, j], j) if along == 0 else (i, result[i, j])
        assert {source for _, source, kind in read if kind == "control"} == {own}
        line = {(k, j) for k in range(3)} if along == 0 else {(i, k) for k in range(4)}
        assert {source for _, source, kind in read if kind == "order"} == line


def dependence(function, arrays, changed=3):
    """By perturbation: for each result cell, the (operand, cell) pairs whose change changes it."""
    base = function(*arrays)
    found = {cell: set() for cell in np.ndindex(base.shape)}
    for k, array in enumerate(arrays):
        for source in np.ndindex(array.shape):
            other = [a.copy() for a in arrays]
            other[k][source] += changed
            for cell in zip(*np.nonzero(function(*other) != base), strict=True):
                found[cell].add((k, source))
    return found


PERTURBED = [
    ("reduce", [(3, 4)], {"axes": (0,)}, lambda x: x.sum(0)),
    ("reduce", [(3, 4)], {"axes": (1,), "keepdims": True}, lambda x: x.sum(1, keepdims=True)),
    ("reduce", [(2, 3, 2)], {"axes": (0, 2)}, lambda x: x.sum((0, 2))),
    ("scan", [(3, 2)], {"axis": 0}, lambda x: x.cumsum(0)),
    ("scan", [(3, 2)], {"axis": 1}, lambda x: x.cumsum(1)),
    ("contract", [(3, 4), (4, 2)], {"spec": "ab,bc->ac"}, lambda a, b: a @ b),
    ("contract", [(3, 3)], {"spec": "aa->a"}, lambda a: np.einsum("aa->a", a)),
    ("contract", [(3, 2), (2,)], {"spec": "ab,c->ba"}, lambda a, b: np.einsum("ab,c->ba", a, b)),
    ("elementwise", [(3, 2), (2,)], {}, lambda a, b: a + b),
    ("elementwise", [(3, 1), (1, 2)], {}, lambda a, b: a * b),
    ("elementwise", [(1,), ()], {}, lambda a, b: a + b),
    ("elementwise", [(3,), (2,)], {"spread": ((0,), (1,))}, lambda a, b: a[:, None] * b),
]


@pytest.mark.parametrize("name, shapes, attrs, function", PERTURBED)
def test_what_folds_or_combines_reads_what_changes_it(name, shapes, attrs, function):
    arrays = [labels(shape, 1) for shape in shapes]
    operands = [Param(f"p{k}", ArrayType("i64", a.shape)) for k, a in enumerate(arrays)]
    op = Op(OPSET[name], operands, attrs, "numpy.f")
    for cell, expected in dependence(function, arrays).items():
        assert {(k, source) for k, source, _ in cells_read(op, cell, arrays, None, {})} == expected
