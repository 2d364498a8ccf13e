"""The ledger of residuals, and the budget of Guo et al. 2020."""

import math

import pytest

from traceprop.passes.unlearning.certificate import Ledger, budget_for


def test_entries_add_up_to_the_budget_and_not_beyond():
    ledger = Ledger(1.0)
    ledger.enter("first", 0.75)
    assert ledger.affords(0.25)
    assert not ledger.affords(0.26)
    with pytest.raises(ValueError, match="second would leave"):
        ledger.enter("second", 0.5)
    assert ledger.entries == [("first", 0.75)]
    assert (ledger.spent, ledger.left) == (0.75, 0.25)


def test_the_budget_is_theorem_3_solved_for_the_residual():
    sigma, epsilon, delta = 2.0, 0.5, 1e-4
    c = sigma * epsilon / budget_for(sigma, epsilon, delta)
    assert 1.5 * math.exp(-(c**2) / 2) == pytest.approx(delta)


@pytest.mark.parametrize("values", [(0, 1, 0.1), (1, 0, 0.1), (1, 1, 0), (1, 1, 1)])
def test_what_is_no_guarantee(values):
    with pytest.raises(ValueError, match="above 0"):
        budget_for(*values)
    with pytest.raises(ValueError, match="above 0"):
        Ledger(0.0)
