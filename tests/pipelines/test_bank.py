"""A bank's loans: birth numbers decoded, dates, five tables joined, orders summed by account."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import traceprop as tp
from tests.pipelines.held import same_values


@pytest.fixture(scope="module")
def folder(data_dir):
    return data_dir / "berka"


@tp.trace
def prepare(loan, account, disp, client, orders):
    owners = disp.filter(disp["type"] == "OWNER")[["account_id", "client_id"]]
    number = client["birth_number"]
    month = np.floor_divide(np.mod(number, 10_000), 100)
    client = client.assign(woman=(month > 50).astype(float), born=np.floor_divide(number, 10_000) + 1900)
    spent = orders.group_by("account_id").agg(spent=("amount", "sum"), orders=("order_id", "count"))
    people = owners.join(client[["client_id", "woman", "born"]], on="client_id")
    loans = (
        loan.join(account[["account_id", "frequency"]], on="account_id")
        .join(people, on="account_id")
        .join(spent, on="account_id", how="left")
        .fill_nulls({"spent": 0.0, "orders": 0})
    )
    year = np.floor_divide(loans["date"], 10_000) + 1900
    loans = loans.assign(age=year - loans["born"], monthly=(loans["frequency"] == "POPLATEK MESICNE").astype(float))
    X = loans[["amount", "duration", "payments", "age", "woman", "monthly", "spent", "orders"]].to_numpy("float64")
    return (X - X.mean(axis=0)) / X.std(axis=0), loans["status"].isin(["B", "D"]).astype(float)


def prepare_plain(loan, account, disp, client, orders):
    owners = disp[disp["type"] == "OWNER"].reset_index(names="disp_row")[["account_id", "client_id", "disp_row"]]
    month = client["birth_number"] % 10_000 // 100
    client = client.assign(woman=(month > 50).astype(float), born=client["birth_number"] // 10_000 + 1900)
    client = client.reset_index(names="client_row")
    spent = orders.groupby("account_id").agg(spent=("amount", "sum"), orders=("order_id", "count")).reset_index()
    loans = (
        loan.reset_index(names="loan_row")
        .merge(account.reset_index(names="account_row")[["account_id", "frequency", "account_row"]], on="account_id")
        .merge(owners, on="account_id")
        .merge(client[["client_id", "woman", "born", "client_row"]], on="client_id")
        .merge(spent, on="account_id", how="left")
        .fillna({"spent": 0.0, "orders": 0})
    )
    loans["age"] = loans["date"] // 10_000 + 1900 - loans["born"]
    loans["monthly"] = (loans["frequency"] == "POPLATEK MESICNE").astype(float)
    X = loans[["amount", "duration", "payments", "age", "woman", "monthly", "spent", "orders"]].to_numpy(float)
    return (X - X.mean(axis=0)) / X.std(axis=0), loans["status"].isin(["B", "D"]).astype(float), loans


def test_it_is_what_pandas_makes_and_every_row_is_known(folder):
    names = ("loan", "account", "disp", "client", "order")
    frames = [pd.read_csv(folder / f"{name}.csv.gz") for name in names]
    X, bad = prepare(*(tp.read_csv(folder / f"{name}.csv.gz") for name in names))
    plain, label, loans = prepare_plain(*frames)
    same_values(X, plain)
    same_values(bad, label)
    view = tp.provenance(X)
    sides = {name: loans[f"{name}_row"].to_numpy() for name in ("loan", "account", "client")}
    orders = frames[-1]
    for i in (0, 17, len(loans) - 1):
        found = view.rows(i)
        for name, rows in sides.items():
            assert found[name].tolist() == [rows[i]]
        paid = np.flatnonzero(orders["account_id"] == loans["account_id"][i])
        np.testing.assert_array_equal(view.rows(i, kind="any")["order"], np.arange(len(orders)))
        whose = view.cells((i, 6), kind="aggregate").get("order", np.empty((0, 2), int))
        assert set(paid) <= set(whose[:, 0])
    where = view.locate(3)
    assert {one.source_id for one in where} >= {"loan", "account", "client"}
    assert all(str(loans["loan_id"][3]) in one.text for one in where if one.source_id == "loan")
