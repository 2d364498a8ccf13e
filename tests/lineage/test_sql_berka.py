"""Lineage on the bank's tables equals the same questions in SQL over explicit row numbers."""

from __future__ import annotations

import gzip
from types import SimpleNamespace

import numpy as np
import pytest

import traceprop as tp
from tests.lineage.sql import Answers, same, same_pairs

NAMES = ("loan", "account", "disp", "client", "district", "card", "order")
SIDES = ("loan", "account", "disp", "client", "district")
CHAIN = """SELECT l.rowid AS loan, a.rowid AS account, d.rowid AS disp, c.rowid AS client, t.rowid AS district,
                  l.amount, l.loan_id
           FROM loan l JOIN account a USING (account_id) JOIN disp d USING (account_id)
           JOIN client c USING (client_id) JOIN district t ON c.district_id = t.A1"""


@pytest.fixture(scope="module")
def folder(data_dir):
    return data_dir / "berka"


@pytest.fixture(scope="module")
def sql(folder):
    return Answers(folder, NAMES)


@pytest.fixture(scope="module")
def bank(folder):
    return SimpleNamespace(**{name: tp.read_csv(folder / f"{name}.csv.gz") for name in NAMES})


@tp.trace
def chained(loan, account, disp, client, district):
    """A row per loan and person who may use its account."""
    homes = district.assign(district_id=district["A1"])[["district_id", "A4", "A11"]]
    people = client.select(["client_id", "birth_number", "district_id"])
    return (
        loan.join(account[["account_id", "frequency"]], on="account_id")
        .join(disp[["account_id", "client_id", "type"]], on="account_id")
        .join(people, on="client_id")
        .join(homes, on="district_id")
    )


@pytest.fixture(scope="module")
def chain(bank):
    return tp.provenance(chained(bank.loan, bank.account, bank.disp, bank.client, bank.district))


def test_joins_have_one_row_per_side_and_keep_their_pairs(chain, sql):
    sql.result(CHAIN, "loan, account, disp, client, district")
    pairs = chain.row_pairs()
    assert set(pairs) == set(SIDES)
    for side in SIDES:
        same_pairs(pairs[side], sql.pairs(side))


def test_rows_of_each_kind(chain, sql):
    sql.result(CHAIN, "loan, account, disp, client, district")
    for i in (0, 1, 400, sql.height() - 1):
        own = {side: sql.numbers(f"SELECT {side} FROM result WHERE i = ?", i) for side in SIDES}
        assert all(len(rows) == 1 for rows in own.values())
        same(chain.rows(i), own)
        same(chain.rows(i, "control"), own)  # the keys that were equal are in these very rows
        every = {side: list(range(sql.height(side))) for side in SIDES}
        same(chain.rows(i, "order"), every)  # other keys decide at which position the pair stands
        same(chain.rows(i, "any"), every)
        assert chain.rows(i, "aggregate") == {}
    some = slice(10, 200)
    same(
        chain.rows(some), {side: sql.numbers(f"SELECT {side} FROM result WHERE i BETWEEN 10 AND 199") for side in SIDES}
    )


def test_cells_of_a_join(chain, sql):
    columns = chain.value.columns
    sql.result(CHAIN, "loan, account, disp, client, district")
    (home,) = sql.numbers("SELECT district FROM result WHERE i = 7")
    assert {k: v.tolist() for k, v in chain.cells((7, columns.index("A11")), "direct").items()} == {
        "district": [[home, 10]]
    }
    (person,) = sql.numbers("SELECT client FROM result WHERE i = 7")
    control = chain.cells((7, columns.index("A11")), "control")
    assert control["client"].tolist() == [[person, 0], [person, 2]]  # client_id and district_id, not birth_number
    assert control["district"].tolist() == [[home, 0]]
    assert set(map(tuple, chain.cells((7, 0), "order")["loan"].tolist())) == {
        (row, 1) for row in range(sql.height("loan"))
    }


@pytest.mark.parametrize(
    "source, where",
    [
        ("client", "client_id = 2"),
        ("loan", "amount > 300000 AND status = 'D'"),
        ("district", "A11 < 8200"),
        ("disp", "type = 'DISPONENT'"),
        ("account", "frequency <> 'POPLATEK MESICNE'"),
        ("loan", "amount < 0"),
    ],
)
def test_what_depends_on_rows_by_condition_and_by_number(chain, sql, source, where):
    sql.result(CHAIN, "loan, account, disp, client, district")
    rows = sql.numbers(f"SELECT rowid FROM {source} WHERE {where}")
    wanted = sql.numbers(f"SELECT i FROM result WHERE {source} IN (SELECT rowid FROM {source} WHERE {where})")
    for kind in ("direct", "control"):
        assert chain.affected_rows(source, where=where, kind=kind).tolist() == wanted
        assert chain.affected_rows(source, rows, kind).tolist() == wanted
    everything = list(range(sql.height())) if rows else []
    assert chain.affected_rows(source, rows, "any").tolist() == everything


def test_places_are_the_lines_of_the_files(chain, sql, folder):
    sql.result(CHAIN, "loan, account, disp, client, district")
    for place in chain.locate(123):
        assert [place.row] == sql.numbers(f"SELECT {place.source_id} FROM result WHERE i = 123")
        with gzip.open(folder / f"{place.source_id}.csv.gz", "rt") as file:
            lines = file.read().splitlines()
        assert place.line == place.row + 2
        assert place.text == lines[place.line - 1]
    assert [place.source_id for place in chain.locate(123)] == chain.sources()
    assert sorted(chain.sources()) == sorted(SIDES)


@pytest.mark.parametrize("how", ["left", "semi", "anti"])
def test_other_joins(bank, sql, how):
    view = tp.provenance(tp.trace(lambda disp, card: disp.join(card, on="disp_id", how=how))(bank.disp, bank.card))
    query = {
        "left": "SELECT d.rowid AS disp, c.rowid AS card FROM disp d LEFT JOIN card c USING (disp_id)",
        "semi": "SELECT d.rowid AS disp, NULL AS card FROM disp d WHERE disp_id IN (SELECT disp_id FROM card)",
        "anti": "SELECT d.rowid AS disp, NULL AS card FROM disp d WHERE disp_id NOT IN (SELECT disp_id FROM card)",
    }[how]
    sql.result(query, "disp, card")
    pairs = view.row_pairs()
    same_pairs(pairs["disp"], sql.pairs("disp"))
    if how == "left":
        same_pairs(pairs["card"], sql.pairs("card"))
        (dangling, *_) = sql.numbers("SELECT i FROM result WHERE card IS NULL")
        assert set(view.rows(dangling)) == {"disp"}
        (matched, *_) = sql.numbers("SELECT i FROM result WHERE card IS NOT NULL")
        own = {side: sql.numbers(f"SELECT {side} FROM result WHERE i = ?", matched) for side in ("disp", "card")}
        same(view.rows(matched), own)
        same(view.rows(matched, "control"), own)
    else:
        same(view.rows(3), {"disp": sql.numbers("SELECT disp FROM result WHERE i = 3")})
        same(view.rows(3, "control"), {"disp": sql.numbers("SELECT disp FROM result WHERE i = 3")})
        assert "card" not in pairs  # no cell of a card is in the result: what they decide is which rows there are
        everything = list(range(sql.height()))
        assert view.affected_rows("card", where="type = 'gold'", kind="order").tolist() == everything
    assert view.rows(3, "order")["card"].tolist() == list(range(sql.height("card")))
    assert view.affected_rows("card", where="type = 'gold'").tolist() == sql.numbers(
        "SELECT i FROM result WHERE card IN (SELECT rowid FROM card WHERE type = 'gold')"
    )


def test_many_to_many_keeps_pairs(bank, sql):
    """Payment orders and people of one account: two orders and two people are four rows, each of its own pair."""
    view = tp.provenance(tp.trace(lambda order, disp: order.join(disp, on="account_id"))(bank.order, bank.disp))
    sql.result(
        'SELECT o.rowid AS "order", d.rowid AS disp FROM "order" o JOIN disp d USING (account_id)', '"order", disp'
    )
    pairs = view.row_pairs()
    same_pairs(pairs["order"], sql.pairs('"order"'))
    same_pairs(pairs["disp"], sql.pairs("disp"))


def test_a_groups_members_and_their_keys(bank, sql):
    @tp.trace
    def paid(order):
        big = order.filter(order["amount"] > 1000)
        return big.group_by("account_id").agg(total=("amount", "sum"), bank=("bank_to", "first"), n="len")

    view = tp.provenance(paid(bank.order))
    sql.result(
        'SELECT o.rowid AS "order", dense_rank() OVER (ORDER BY account_id) - 1 AS g FROM "order" o WHERE amount > 1000',
        "g",
    )
    columns = view.value.columns
    for g in (0, 17, 2000):
        members = sql.numbers('SELECT "order" FROM result WHERE g = ?', g)
        same(view.rows(g, "aggregate"), {"order": members})
        same(view.rows(g, "control"), {"order": members})
        assert view.cells((g, columns.index("total")), "aggregate")["order"].tolist() == [[row, 4] for row in members]
        assert view.cells((g, columns.index("total")), "control")["order"].tolist() == [
            [row, column]
            for row in members
            for column in (1, 4)  # the key, and the amount that let the row through
        ]
    hit = sql.numbers("""SELECT g FROM result WHERE "order" IN (SELECT rowid FROM "order" WHERE bank_to = 'YZ')""")
    assert view.affected_rows("order", where="bank_to = 'YZ'", kind="aggregate").tolist() == hit
    assert view.affected_rows("order", where="amount <= 1000", kind="aggregate").tolist() == []


def test_rows_sorted_made_unique_drawn_and_put_together(bank, sql):
    @tp.trace
    def ranked(loan):
        good, bad = (loan.filter(loan["status"] == status) for status in ("A", "B"))
        return {
            "sorted": loan.sort(["duration", "amount"], descending=True),
            "unique": loan.unique(["duration", "status"]),
            "drawn": loan.sample(50, seed=3),
            "both": tp.concat([bad, good]),
        }

    found = ranked(bank.loan)
    queries = {
        "sorted": ("SELECT rowid AS loan, duration, amount FROM loan", "duration DESC, amount DESC, loan"),
        "unique": ("SELECT min(rowid) AS loan FROM loan GROUP BY duration, status", "loan"),
        "both": ("SELECT rowid AS loan, status FROM loan WHERE status IN ('A', 'B')", "status DESC, loan"),
    }
    for name, (query, order) in queries.items():
        sql.result(query, order)
        view = tp.provenance(found[name])
        same_pairs(view.row_pairs()["loan"], sql.pairs("loan"))
        late = sql.numbers("SELECT i FROM result WHERE loan IN (SELECT rowid FROM loan WHERE date > 970000)")
        assert view.affected_rows("loan", where="date > 970000").tolist() == late
    drawn = tp.provenance(found["drawn"])
    ids = found["drawn"].compute()["loan_id"].to_list()
    for i in (0, 20, 49):
        same(drawn.rows(i), {"loan": sql.numbers("SELECT rowid FROM loan WHERE loan_id = ?", ids[i])})
        assert drawn.rows(i, "order") == {}  # a draw looks at no cell


def test_one_hot_and_numbers(bank, sql):
    @tp.trace
    def features(loan):
        kept = loan.filter(loan["duration"] > 12)
        kept = kept.assign(rate=kept["payments"] / kept["amount"])
        return kept.select(["amount", "rate", "status"]).one_hot("status").to_numpy("float64")

    view = tp.provenance(features(bank.loan))
    sql.result("SELECT rowid AS loan FROM loan WHERE duration > 12", "loan")
    same_pairs(view.row_pairs()["loan"], sql.pairs("loan"))
    (row,) = sql.numbers("SELECT loan FROM result WHERE i = 5")
    assert view.cells((5, 1), "direct")["loan"].tolist() == [[row, 3], [row, 5]]
    assert view.cells((5, 2), "direct")["loan"].tolist() == [[row, 6]]
    words = view.rows(5, "aggregate")["loan"].tolist()  # the statuses that there are, of the rows that are left
    assert words == sql.numbers("SELECT loan FROM result")


def test_several_results_at_once(bank, sql):
    @tp.trace
    def parts(loan, account):
        return {
            "late": loan.filter(loan["date"] > 970000),
            "monthly": loan.join(account.filter(account["frequency"] == "POPLATEK MESICNE"), on="account_id"),
        }

    found = parts(bank.loan, bank.account)
    for several in (found, list(found.values())):
        view = tp.provenance(several)
        late = sql.result("SELECT rowid AS loan FROM loan WHERE date > 970000", "loan").numbers(
            "SELECT loan FROM result WHERE i = 4"
        )
        monthly = """SELECT l.rowid AS loan, a.rowid AS account FROM loan l JOIN account a USING (account_id)
                     WHERE frequency = 'POPLATEK MESICNE'"""
        hit = sql.numbers("SELECT i FROM result WHERE loan BETWEEN 600 AND 610")
        sql.result(monthly, "loan")
        wanted = sorted({*late, *sql.numbers("SELECT loan FROM result WHERE i = 4")})
        same(view.rows(4), {"loan": wanted, "account": sql.numbers("SELECT account FROM result WHERE i = 4")})
        hit = sorted({*hit, *sql.numbers("SELECT i FROM result WHERE loan BETWEEN 600 AND 610")})
        assert view.affected_rows("loan", np.arange(600, 611)).tolist() == hit
