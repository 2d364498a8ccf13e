"""A run that was saved answers as the run itself does: in this process and in another, with its files and without."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import traceprop as tp
from tests.lineage import programs as numpy_programs
from tests.lineage import table_programs
from tests.stores.asking import KINDS, ROOT, answers, assert_same_answers, joined, people, same
from traceprop.errors import ChangedSourceWarning, LineageError
from traceprop.stores import SQLiteStore

one_kind = pytest.mark.parametrize("make", ["sqlite"], indirect=True)  # what does not hang on what keeps the bytes


@settings(max_examples=12, deadline=None)
@given(numpy_programs.programs(), st.sampled_from(["op", "batch", "epoch"]))
def test_random_programs(tmp_path_factory, program, granularity):
    traced = tp.trace(granularity=granularity)(lambda *values: program(*values))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = traced(*program.sources)
            found[0].compute()
            for source in tp.provenance(found).sources():
                tp.provenance(found).affected_rows(source, kind="any")
        except (
            ValueError,
            IndexError,
            TypeError,
            KeyError,
        ):  # of a size that the data decides, or that nobody asked for
            return
        store = SQLiteStore(tmp_path_factory.mktemp("runs") / "runs.db")
        store.save(found, "random")
        assert_same_answers(store.load("random"), tp.provenance(found))
        store.check()


@settings(max_examples=8, deadline=None)
@given(table_programs.programs(), table_programs.frames(), table_programs.frames(4), st.booleans())
def test_random_tables(tmp_path_factory, program, left, right, lazily):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if lazily:
            t, other = tp.from_dataframe(left, source_id="t"), tp.from_dataframe(right, source_id="other")
            found = table_programs.run(program, t, other)
        else:
            found = tp.trace(lambda t, other: table_programs.run(program, t, other))(left, right)
        store = SQLiteStore(tmp_path_factory.mktemp("runs") / "runs.db")
        store.save(found, "random")
        assert_same_answers(store.load("random"), tp.provenance(found))


@one_kind
def test_files_that_are_there_and_files_that_are_gone(store, make, tmp_path):
    loans, clients = people(tmp_path)
    live = joined(loans, clients)
    store.save(live, "loans")
    where = {"loans": "amount > 50", "clients": "age IS NULL OR name LIKE 'A%'"}
    assert_same_answers(make().load("loans"), tp.provenance(live), where)
    at = tp.provenance(live).locate(0)
    loans.rename(tmp_path / "moved"), clients.unlink()
    stored = make().load("loans")
    assert stored.locate(0) == [place._replace(text=None) for place in at]
    assert stored.keys(0)["clients"].tolist() == tp.provenance(live).keys(0)["clients"].tolist()
    for name in ("loans", "clients"):
        with pytest.raises(
            LineageError, match=rf"the cells of '{name}' are in .*{name}\.csv, which cannot be read now"
        ):
            stored.affected_rows(name, where="client_id = 1")
    assert set(stored.changed_sources()) == {"loans", "clients"}


@one_kind
def test_a_file_that_changed_is_not_quoted(store, make, tmp_path):
    loans, clients = people(tmp_path)
    live = joined(loans, clients)
    store.save(live, "loans")
    row = int(tp.provenance(live).rows(0)["clients"][0])
    loans.write_text("loan_id,client_id,amount\n" + "77,1,50\n" * 12)
    head, *rest = clients.read_text().splitlines(keepends=True)
    clients.write_text(head + "77,New,1\n" + "".join(rest))  # found by its key, on the line of now
    stored = make().load("loans")
    with pytest.warns(ChangedSourceWarning):
        there = {place.source_id: place for place in stored.locate(0)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert there == {place.source_id: place for place in tp.provenance(live).locate(0)}
    assert there["loans"].line is None
    assert there["loans"].text is None
    assert there["clients"].row == row
    assert there["clients"].text is not None
    with pytest.raises(LineageError, match="has changed since"):
        stored.affected_rows("loans", where="amount > 50")


def test_another_process_without_the_data(store, make, tmp_path):
    loans, clients = people(tmp_path)
    live = joined(loans, clients)
    store.save({"table": live, "numbers": live.to_numpy()}, "both")
    wanted = answers(tp.provenance(live))
    loans.unlink(), clients.unlink()
    script = (
        "from tests.stores.asking import answers, opened\n"
        "import sys\n"
        "sys.stdout.write(answers(opened(*sys.argv[1:]).load('both')['table']))\n"
    )
    command = [sys.executable, "-c", script, make.kind, make.address]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == wanted


def test_several_results(store, make):
    x = tp.from_numpy(np.arange(12.0).reshape(4, 3), source_id="x")
    y = tp.from_numpy(np.arange(4), source_id="y")
    found = {"X": x[x[:, 0] > 2.0], "y": y[::-1]}
    store.save(found, "pair")
    store.save(list(found.values()), "list")
    for name in ("pair", "list"):
        assert_same_answers(make().load(name), tp.provenance(found))
    stored = make().load("pair")
    assert_same_answers(stored["X"], tp.provenance(found["X"]))
    assert_same_answers(stored[1], tp.provenance(found["y"]))
    with pytest.raises(LineageError, match="no result 'Z': it has 'X', 'y'"):
        stored["Z"]
    with pytest.raises(LineageError, match="none has the number 2"):
        stored[2]
    with pytest.raises(LineageError, match="its results have numbers, not names"):
        store.load("list")["X"]


@one_kind
def test_positions_that_came_from_a_source(store, make):
    """What is looked up in an input is kept, whatever made the input; the same in a store of a store."""
    x = tp.from_numpy(np.arange(20.0).reshape(10, 2), source_id="x")
    order = tp.from_numpy(np.array([7, -1, 3, 3, 0]), source_id="order")

    @tp.trace(granularity="epoch")
    def pick(x, order):
        return x[order[::-1]]

    @tp.trace
    def twice(order):
        return order[order < 5] % 10

    for name, live in (("source", pick(x, order)), ("call", pick(x, twice(order)))):
        store.save(live, name)
        assert_same_answers(make().load(name), tp.provenance(live))
        store.save(make().load(name), f"{name} again")
        assert_same_answers(make().load(f"{name} again"), tp.provenance(live))


@one_kind
def test_a_source_and_a_parameter_that_is_handed_through(store, make):
    x = tp.from_numpy(np.arange(6.0).reshape(3, 2), source_id="x")
    store.save(x, "source")
    assert_same_answers(make().load("source"), tp.provenance(x))
    through = tp.trace(lambda x: (x, x + 1.0))(x)
    store.save(through, "through")
    assert_same_answers(make().load("through"), tp.provenance(through))


@one_kind
def test_what_was_not_recorded_is_an_error_as_before(store, make):
    live = tp.trace(granularity=None)(lambda x: x[x > 1.0])(np.arange(4.0))
    store.save(live, "plain")
    assert_same_answers(make().load("plain"), tp.provenance(live))


@one_kind
def test_functions_that_only_the_process_had(store, make):
    """Their maps are in the text; a function without a name is not, and loading says so."""
    backwards = tp.register_rule(lambda x: x[:, ::-1] * 2.0, "(i, j) <- %x[i, *]")

    @tp.trace
    def f(x):
        return np.polymul(x[0], x[1]), backwards(x)

    with pytest.warns(UserWarning, match="no lineage rule"):
        unknown, known = f(np.arange(6.0).reshape(3, 2))
    store.save([unknown, known], "functions")
    with pytest.warns(UserWarning, match=r"<lambda> at test_answers.py:\d+, a function without a name") as told:
        stored = make().load("functions")
    assert told[0].filename == __file__
    assert_same_answers(stored, tp.provenance([unknown, known]))
    assert not stored[0].exact
    assert stored[1].exact


def test_a_chain_across_programs_and_stores(store, make, tmp_path):
    loans, clients = people(tmp_path)
    first = joined(loans, clients)
    store.save(first, "joined")
    first.compute().write_parquet(tmp_path / "joined.parquet")
    again = tp.read_parquet(tmp_path / "joined.parquet", lineage=make().load("joined"))
    live = tp.provenance(again[again["amount"] > 40].sort("age").to_numpy())
    store.save(live, "features")
    assert_same_answers(make().load("features"), live, {"loans": "amount > 50"})
    whole = tp.read_parquet(tmp_path / "joined.parquet", lineage=tp.provenance(first))
    in_one = tp.provenance(whole[whole["amount"] > 40].sort("age").to_numpy())
    for kind in KINDS:
        same(live.rows(slice(None), kind), in_one.rows(slice(None), kind))
    assert [run.name for run in store.prune(keep=1)] == [
        "joined"
    ]  # what it alone used is gone, what the chain uses is not
    for file in (loans, clients, tmp_path / "joined.parquet"):
        file.unlink()
    stored = make().load("features")
    assert stored.sources() == ["loans", "clients"]
    same(stored.row_pairs(), live.row_pairs())
    assert make().check().runs == 1


@one_kind
def test_a_long_chain(store, make):
    x = tp.from_numpy(np.arange(8.0), source_id="x")
    for _ in range(150):
        x = (x[::-1] + 1.0).persist()
    store.save(x, "long")
    stored = make().load("long")
    assert stored.rows(1)["x"].tolist() == [1]
    assert len(stored.ops()) == len(tp.provenance(x).ops())


@one_kind
@pytest.mark.parametrize("world", ["torch", "jax"])
def test_other_worlds(store, make, world):
    if world == "torch":
        torch = pytest.importorskip("torch")

        @tp.trace
        def f(x):
            x = torch.nn.functional.relu(x)
            return x[x.sum(1) > 1.0].cumsum(0)

        live = f(torch.arange(12.0).reshape(4, 3) - 4)
    else:
        jnp = pytest.importorskip("jax").numpy

        @tp.trace
        def f(x):
            return jnp.cumsum(x[jnp.argsort(x[:, 0])], axis=0)

        live = f(jnp.asarray([[3.0, 1.0], [1.0, 2.0], [2.0, 0.5]]))
    store.save(live, world)
    assert_same_answers(make().load(world), tp.provenance(live))


@one_kind
def test_values_are_not_in_the_store(store, make):
    x = tp.from_numpy(np.arange(6.0), source_id="x")
    store.save(x * 2.0, "doubled")
    (value,) = make().load("doubled").values
    with pytest.raises(LineageError, match="holds the lineage of its values, not the values"):
        np.asarray(value)
    with pytest.raises(LineageError, match="holds the lineage of its values, not the values"):
        np.asarray(value + 1.0)


@one_kind
def test_table_columns_of_every_type(store, make):
    frame = pl.DataFrame(
        {
            "n": [1, 2, None],
            "t": ["a", None, "ü'\""],
            "d": pl.Series(["2024-01-01", None, "2025-02-03"]).str.to_date(),
            "b": [True, False, None],
        }
    )
    t = tp.from_dataframe(frame, source_id="t")
    live = t.sort("d").one_hot(["t"])
    store.save(live, "types")
    assert_same_answers(make().load("types"), tp.provenance(live))
    assert make().load("types").source("t").type(3) == t.type
