"""Scores that rest on rounding: the settings are left out, with the reason, and are not taken for dependence on the batch."""

from __future__ import annotations

import pytest
import torch
from benches import Scored, attacked, cell, judged, made, norm

from mibench.evaluate.scoring import LARGEST_SHIFT, past_others, with_other_last_bits
from mibench.metrics.auroc import auroc


def chaotic(x):
    """A score that is decided by the last bits of x."""
    return torch.sin(1e17 * x.flatten(1)).sum(1)


def test_last_bits_are_the_last_bits():
    x = torch.tensor([[1.0, -0.3, 0.0, 5e8]], dtype=torch.float64)
    moved = with_other_last_bits(x, torch.Generator().manual_seed(0))
    assert torch.equal(moved == x, x == 0) and torch.equal(moved.float(), x.float())
    assert ((moved - x).abs() <= 2.0**-52 * x.abs()).all()


def test_a_shift_past_others_bounds_the_change_of_the_auroc():
    numbers = torch.Generator().manual_seed(0)
    scores = torch.randn(60, generator=numbers, dtype=torch.float64)
    every = torch.arange(60)
    for size in (0.0, 0.01, 0.3, 3.0):
        after = scores + size * torch.randn(60, generator=numbers, dtype=torch.float64)
        one, other = (auroc(v[:20].numpy(), v[20:].numpy()) for v in (scores, after))
        below = [(scores[20:] < values[:20, None]).double().mean(1) for values in (scores, after)]
        members = (below[0] - below[1]).abs().mean().item()
        assert past_others(scores, every[:20], after[:20], 20) == pytest.approx(members)
        moved = torch.cat([after[:20], scores[20:]])
        assert abs(auroc(moved[:20].numpy(), moved[20:].numpy()) - one) <= members + 1e-12
        assert (past_others(scores, every, after, 20) == 0) == (size == 0) or other == one


def test_members_whose_scores_are_rounding_above_all_others_do_not_count():
    scores = torch.cat([1e-16 * torch.arange(20), -1 - torch.arange(40)]).double()
    after = scores.clone()
    after[:20] = after[:20].flip(0)
    assert past_others(scores, torch.arange(60), after, 20) == 0


def test_a_setting_that_rests_on_rounding_is_left_out(exact, store):
    attack = Scored.by("partly", lambda model, x, ctx: {"a": chaotic(x), "x": norm(x), "z": norm(x) + 1})
    outcome = judged([attacked(exact, attack), attacked(exact, "pia")], store)
    found = outcome.records["partly"].attack
    assert set(found.settings) == {"x", "z"} and set(found.unstable) == {"a"} and found.unstable["a"] > LARGEST_SHIFT
    assert found.calibrated.setting in ("x", "z") and outcome.records["partly"].cost.forwards == 0
    sound = outcome.records["pia"]
    assert sound.attack.unstable == {} and "unstable" not in sound.model_dump()["attack"]


def test_where_the_published_setting_is_left_out_another_stands_for_it(exact, store):
    attack = Scored.by("hidden", lambda model, x, ctx: {"x": chaotic(x), "y": norm(x)})
    assert judged([attacked(exact, attack)], store).records["hidden"].attack.published.setting == "y"


def test_where_every_setting_is_left_out_the_attack_is_not_applicable(exact, store):
    attack = Scored.by("chaos", lambda model, x, ctx: {"x": chaotic(x), "y": -chaotic(x)})
    record = judged([attacked(exact, attack)], store).records["chaos"]
    assert record.status == "n/a" and "rounding decides its scores" in record.reason and record.attack is None


def test_stored_scores_remember_what_was_left_out(exact, store):
    cells = [attacked(exact, Scored.by("partly", lambda model, x, ctx: {"a": chaotic(x), "x": norm(x)}))]
    first, second = (judged(cells, store).records["partly"] for _ in range(2))
    assert first.attack == second.attack and first.attack.unstable and first.environment == second.environment


def test_secmi_on_a_fresh_model_of_high_order_keeps_what_is_no_rounding(store):
    """A saturated posterior and a state of 1e7: most settings are noise, and the cell does not fail."""
    fresh = cell("secmi", defense="hold4", dataset="swiss-roll:members=50,nonmembers=100,reference=200", model="fresh")
    made([fresh], store)
    outcome = judged([fresh, attacked(fresh, "pia")], store)
    assert not outcome.failures and not outcome.records["pia"].attack.unstable
    left = outcome.records["secmi"].attack.unstable
    assert len(left) > 5 and len(left) + len(outcome.records["secmi"].attack.settings) == 30


def test_a_trained_model_is_asked_for_no_setting_less(store):
    trained = cell("secmi", model="trained")
    made([trained], store)
    record = judged([trained], store).records["secmi"]
    assert len(record.attack.settings) == 30 and record.cost.forwards == 31 and not record.attack.unstable
