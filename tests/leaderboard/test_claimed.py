"""Claims of privacy beside what attacks show, on records made by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from made_records import KNOWN, board_of, metrics, put, scores, threshold

from mibench.claims import Claim
from mibench.leaderboard import markdown
from mibench.leaderboard.claimed import claims
from mibench.metrics.one_run import one_run_epsilon
from mibench.metrics.thresholds import epsilon_lower_bound
from mibench.results.figures import AuditMetrics, Estimate, Threshold
from mibench.results.known import Known

SUITE = """
title = "Small things"
datasets = ["digits"]
defenses = ["vp", "hold3"]
attacks = ["loss", "pia"]
seeds = [0, 1]
"""
GUESS = threshold(accuracy=0.5, fpr=0.25)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


def claim(epsilon: float | None, delta: float = 1e-5) -> Claim:
    return Claim(epsilon=epsilon, delta=delta, noise=1, rate=0.1, steps=10, clip=1, draws=1, accountant="by hand")


def hits(members: int, nonmembers: int) -> Threshold:
    """So many of 80 members and of 320 non-members above the threshold."""
    tpr, fpr = members / 80, nonmembers / 320
    return threshold(accuracy=(1 + tpr - fpr) / 2, fpr=fpr)


def attacked(
    folder: Path, attack: str, claimed: Claim | None, *each: Threshold, defense: str = "hold3", **values
) -> None:
    """An attack that reaches this on each seed."""
    for seed, fixed in enumerate(each):
        made = metrics(scores(0.7, seed=seed), **values)
        chosen = made.calibrated.model_copy(update={"fixed": fixed})
        put(folder, defense, attack, seed, attack=made.model_copy(update={"calibrated": chosen}), claim=claimed)


def shown(folder: Path) -> dict[str, str]:
    """What the main table says of the claim of each defense."""
    lines = markdown.render(folder, board_of(folder)).partition("## digits")[2].partition("Calibrated AUROC")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines() if line[:1] == "|"]
    column = rows[0].index("claimed (ε, δ); shown ε ≥")
    return {row[0].split("`")[1]: row[column] for row in rows[2:]}


def top(folder: Path) -> str:
    return markdown.render(folder, board_of(folder)).partition("## digits")[0]


def bound(members: int, m: int, nonmembers: int, n: int, delta: float, looks: int) -> float:
    sides = np.arange(m) < members, np.arange(n) < nonmembers
    return epsilon_lower_bound(*sides, 0.5, delta, 1 - 0.05 / looks, exchanged=True)


def test_the_bound_is_of_all_seeds_and_of_all_attacks_together(folder: Path) -> None:
    attacked(folder, "loss", claim(0.1), hits(70, 40), hits(76, 20))
    attacked(folder, "pia", claim(0.1), GUESS, GUESS)
    found = claims(board_of(folder))["digits", "hold3"]
    assert found.shown and found.shown.attack == "loss" and found.shown.counts == (146, 160, 60, 640)
    assert found.shown.epsilon == pytest.approx(bound(146, 160, 60, 640, 1e-5, looks=2), abs=1e-12)
    assert found.broken


def test_the_bound_takes_the_claims_delta(folder: Path) -> None:
    attacked(folder, "loss", claim(0.1, delta=0.005), hits(70, 40))
    found = claims(board_of(folder))["digits", "hold3"]
    assert found.shown and found.shown.epsilon == pytest.approx(bound(70, 80, 40, 320, 0.005, looks=1), abs=1e-12)
    assert found.shown.epsilon < bound(70, 80, 40, 320, 1e-5, looks=1) - 1e-3


def test_a_broken_claim_stands_on_top(folder: Path) -> None:
    attacked(folder, "loss", None, hits(80, 0), hits(80, 0), defense="vp")
    attacked(folder, "loss", claim(0.1), hits(80, 0), hits(79, 1))
    assert top(folder).startswith(
        "# Small things\n\n**Broken claim**: `hold3` claims (0.1, 1e-05)-differential privacy on digits, and `loss` shows "
        "ε ≥ 2.36 at this δ: above its threshold are 159 of 160 members and 1 of 640 non-members.\n"
    )
    assert shown(folder) == {"vp": "no claim", "hold3": "(0.1, 1e-05); 2.36 `loss`, broken"}


def test_a_claim_that_no_attack_contradicts_is_not_called_broken(folder: Path) -> None:
    attacked(folder, "loss", claim(2.5), hits(80, 0), hits(79, 1))
    attacked(folder, "pia", claim(2.5), GUESS, GUESS)
    assert "Broken" not in top(folder) and shown(folder)["hold3"].startswith("(2.5, 1e-05); 2.29 `loss`")


def test_more_looks_ask_for_more_evidence(folder: Path) -> None:
    alone = bound(70, 80, 40, 320, 1e-5, looks=1)
    attacked(folder, "loss", claim(alone - 1e-3), hits(70, 40))
    assert claims(board_of(folder))["digits", "hold3"].broken
    attacked(folder, "pia", claim(alone - 1e-3), GUESS)
    assert not claims(board_of(folder))["digits", "hold3"].broken


def test_attacks_on_the_data_alone_show_nothing_of_a_model(folder: Path) -> None:
    attacked(folder, "blind", claim(0.1), hits(80, 0), tier="data")
    assert claims(board_of(folder))["digits", "hold3"].shown is None and shown(folder)["hold3"] == "(0.1, 1e-05)"


def audited(folder: Path, claimed: Claim, *correct: int) -> None:
    """An audit with so many right guesses of 40 on each seed."""
    for seed, right in enumerate(correct):
        told = {"setting": "t=0.1", "auroc": Estimate(value=0.9), "tier": "network", "adaptive": True, "scores": "s"}
        found = AuditMetrics(**told, canaries=80, guesses=40, correct=right, epsilon=one_run_epsilon(80, 40, right))
        put(folder, "hold3", "loss+audit", seed, audit=found, claim=claimed)


def test_an_audit_stands_among_the_bounds(folder: Path) -> None:
    attacked(folder, "loss", claim(2.0), hits(70, 40), GUESS)
    audited(folder, claim(2.0), 40, 39)
    found = claims(board_of(folder))["digits", "hold3"]
    assert found.shown and (found.shown.attack, found.shown.counts) == ("loss+audit", (79, 80))
    assert found.shown.epsilon == one_run_epsilon(160, 80, 79, 1e-5, 1 - 0.05 / 2)
    told = "`loss+audit` shows ε ≥ 2.62 at this δ: 79 of 80 guesses of which canaries were trained on are right."
    assert told in top(folder) and shown(folder)["hold3"].startswith("(2, 1e-05); 2.62 `loss+audit`")
    assert board_of(folder).adaptive("digits", "hold3") == ["loss+audit"]


def test_an_epsilon_beyond_the_accountant_is_no_claim(folder: Path) -> None:
    attacked(folder, "loss", claim(None), hits(80, 0))
    assert shown(folder)["hold3"] == "no claim" and "claim**" not in top(folder)


def test_a_board_without_claims_says_nothing_of_them(folder: Path) -> None:
    attacked(folder, "loss", None, hits(80, 0))
    assert claims(board_of(folder)) == {} and "claim" not in markdown.render(folder, board_of(folder)).lower().replace(
        folder.name, ""
    )


@pytest.mark.parametrize(("delta", "warned"), [(0.0099, False), (0.01, True)])
def test_a_delta_that_gives_a_member_away_is_named_on_top(folder: Path, delta: float, warned: bool) -> None:
    attacked(folder, "loss", claim(1, delta), GUESS)
    line = (
        "**Claim with a large δ**: `hold3` claims (1, 0.01)-differential privacy on digits, where it has 100 members."
    )
    assert (line in top(folder)) == warned


def test_the_check_passes_where_the_page_says_what_is_broken(folder: Path, cli, monkeypatch) -> None:
    monkeypatch.setattr(Known, "of", lambda registry: KNOWN)
    attacked(folder, "loss", claim(0.1), hits(80, 0))
    assert cli("leaderboard", folder, "--check")[0] == 1
    assert cli("leaderboard", folder)[0] == 0 and "**Broken claim**" in (folder / "README.md").read_text()
    assert cli("leaderboard", folder, "--check")[0] == 0


PLUGIN = """
import mibench
from mibench.claims import Claim
from mibench_defenses.vp import VP


class Forgetful(VP):
    "DP-SGD that forgets its noise."
    name = "forgetful"

    def claim(self, members, recipe, steps=None):
        values = {"rate": recipe.batch / members, "steps": recipe.steps, "noise": 700, "clip": 1, "draws": 1}
        return Claim(epsilon=0.1, delta=1e-5, accountant="by hand", **values)


class Idle(Forgetful):
    "A training that never changes the weights."
    name = "idle"

    def step(self, training, optimizer):
        return training.loss(training.batch()).detach()


@mibench.hookimpl
def mibench_defenses():
    return [Forgetful, Idle]
"""
RUN = """
title = "A claim"
datasets = ["digits:members=40,nonmembers=40,reference=50"]
defenses = ["DEFENSE"]
attacks = ["loss:draws=8,times=[0.1]"]
seeds = [0]
controls = false
recipe.digits = {steps = 300, batch = 40, width = 128, depth = 3}
utility = {samples = 100, evaluations = 2}
"""


@pytest.mark.parametrize("defense", ["forgetful", "idle"])
def test_only_the_training_that_forgets_its_noise_breaks_its_claim(
    tmp_path: Path, defense: str, cli, in_process
) -> None:
    plugin, folder = tmp_path / "plugin.py", tmp_path / "suite"
    plugin.write_text(PLUGIN)
    folder.mkdir()
    (folder / "suite.toml").write_text(RUN.replace("DEFENSE", defense))
    assert cli("run", folder, "--plugin", plugin)[0] == 0
    assert cli("leaderboard", folder, "--plugin", plugin)[0] == 0
    page = (folder / "README.md").read_text()
    assert "| claimed (ε, δ); shown ε ≥" in re.sub(" +", " ", page)
    on_top = page.startswith(f"# A claim\n\n**Broken claim**: `{defense}` claims (0.")
    assert on_top == ("Broken claim" in page) == (defense == "forgetful")
    assert cli("leaderboard", folder, "--check", "--plugin", plugin)[0] == 0
