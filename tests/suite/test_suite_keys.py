"""The keys of a suite that name a baseline and blind attacks."""

from __future__ import annotations

import pytest

from mibench.errors import UsageError
from mibench.plugins import load
from mibench.suite.suite import Suite, plan_cells

NAMES = {"datasets": ["digits"], "defenses": ["vp", "hold2"], "attacks": ["loss"]}


@pytest.mark.parametrize(("blind", "planned"), [({}, {"blind"}), ({"blind": []}, set()), ({"blind": ["nn"]}, {"nn"})])
def test_blind_attacks_are_controls_on_fresh_data(blind, planned):
    cells = plan_cells(load(), Suite(**NAMES, **blind))
    found = {cell.labels["attack"] for cell in cells if cell.model_kind == "fresh"}
    assert found - {"loss"} == planned


def test_a_baseline_must_be_one_of_the_defenses():
    with pytest.raises(UsageError, match="baseline 've'"):
        plan_cells(load(), Suite(**NAMES, baseline="ve"))
