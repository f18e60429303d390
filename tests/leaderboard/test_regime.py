"""Whether defenses can be told apart, on baselines made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_records import attacked, board_of, sampled

from mibench.leaderboard import markdown
from mibench.leaderboard.index import summary
from mibench.leaderboard.regime import Regime, regimes

SUITE = """
datasets = ["digits"]
defenses = ["vp", "ve"]
attacks = ["loss"]
seeds = [0, 1]
checkpoints = [0.5]

[recipe.digits]
steps = 10
"""
NEVER = "never informative on digits"


@pytest.mark.parametrize(
    ("fraction", "auroc", "flaws"),
    [
        (0.5, 0.95, ()),
        (None, 0.6, ()),
        (0.51, 0.7, ("hardly generates",)),
        (0.1, 0.96, ("saturated",)),
        (2.0, 0.59, ("hardly generates", "hardly leaks")),
    ],
)
def test_what_is_informative(fraction: float | None, auroc: float, flaws: tuple[str, ...]) -> None:
    assert Regime(0, fraction, auroc).flaws == flaws


def test_a_checkpoint_in_the_regime_is_enough_and_rows_outside_are_named(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(SUITE)
    attacked(tmp_path, "vp", "loss", 0.97, 0.99)
    sampled(tmp_path, "vp", 0.1, 0.3)
    attacked(tmp_path, "ve", "loss", 0.7, 0.7)
    sampled(tmp_path, "ve", 1.5, 1.3)
    page = markdown.render(tmp_path, board_of(tmp_path))
    assert regimes(board_of(tmp_path), "digits") == [Regime(0, pytest.approx(0.2), pytest.approx(0.98, abs=1e-3))]
    told = summary(board_of(tmp_path), "digits")
    assert told.startswith("vp is saturated here: the board can hardly tell defenses apart. ")
    assert NEVER in page and "**Saturated on digits** (worst known AUROC above .95" in page and ": `vp`." in page
    assert "**Not generating on digits**" in page and ": `ve`." in page
    attacked(tmp_path, "vp", "loss", 0.8, 0.9, checkpoint=5)
    page = markdown.render(tmp_path, board_of(tmp_path))
    assert NEVER not in page and "saturated here" not in summary(board_of(tmp_path), "digits")
    assert "`vp` at each checkpoint: step 5: fraction n/a, worst AUROC .850, informative; end: fraction .200, " in page
