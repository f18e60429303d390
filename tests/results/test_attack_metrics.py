"""From scores to metrics: labels that are swapped, and settings that are chosen."""

import numpy as np
import pytest
import torch
from benches import cell, judged, made

from mibench.names import build
from mibench.plugins import load
from mibench.results.attack_metrics import attack_metrics
from mibench.results.store import Store

PIA, VP = build(load(), "attack", "pia"), build(load(), "defense", "vp")


def test_swapping_members_and_nonmembers_mirrors_the_auroc(tmp_path):
    """At each fixed setting of the scores that a cell has stored, before and after its calibration split."""
    one, store = cell("pia", model="trained"), Store(tmp_path)
    made([one], store)
    record = judged([one], store).records["pia"]
    scores, facts = store.load("scores", record.key)
    cuts = {"members": 4, "nonmembers": 8}
    swapped = {
        name.replace("nonmembers/", "m/").replace("members/", "nonmembers/").replace("m/", "members/"): values
        for name, values in scores.items()
    }
    mirrored = attack_metrics(swapped, {"members": 8, "nonmembers": 4}, one.attack, one.defense, facts["digest"])
    assert attack_metrics(scores, cuts, one.attack, one.defense, facts["digest"]) == record.attack
    assert len(record.attack.settings) == 8 and mirrored.settings.keys() == record.attack.settings.keys()
    for setting, areas in record.attack.settings.items():
        assert mirrored.settings[setting] == pytest.approx([1 - area for area in areas], abs=1e-12)
    assert mirrored.published.setting == record.attack.published.setting == "mean"
    low, high = record.attack.published.auroc.interval
    assert mirrored.published.auroc.interval == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_a_calibrated_setting_is_no_oracle():
    """200 v 200 random scores, a fifth for calibration, 20 settings: what is chosen on other samples stays at .5."""
    cuts = {"members": 40, "nonmembers": 40}
    areas = []
    for seed in range(100):
        draw = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 20, 200)))
        scores = {f"{side}/t={k}": row for side, rows in zip(cuts, draw, strict=True) for k, row in enumerate(rows)}
        found = attack_metrics(scores, cuts, PIA, VP, "digest")
        assert (found.members, found.nonmembers) == (160, 160) and len(found.settings) == 20
        areas.append((found.published.auroc.value, found.calibrated.auroc.value, found.oracle.auroc.value))
    published, calibrated, oracle = np.mean(areas, axis=0)
    assert abs(published - 0.5) <= 0.01 and abs(calibrated - 0.5) <= 0.01
    assert oracle > 0.54
