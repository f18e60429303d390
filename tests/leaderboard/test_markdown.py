"""The README against records whose figures are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mibench.errors import MibenchError
from mibench.harness.records import AttackMetrics, Estimate, Record, Setting, UtilityMetrics, write_record
from mibench.leaderboard.markdown import check, number, rate, render
from mibench.leaderboard.tables import load

SUITE = """
title = "Small things"
description = "Two defenses, two attacks."
datasets = ["digits"]
defenses = ["vp", "hold3"]
attacks = ["loss", "pia"]
seeds = [0, 1]
[recipe.digits]
steps = 10
"""
FEW = Estimate(value=None, reason="320 non-members; 1000 are needed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


def put(folder: Path, defense: str, attack: str, seed: int, /, **values: Any) -> Path:
    """Write a record."""
    record = Record(
        **{
            "key": f"{defense} {attack} {seed}",
            "status": "done",
            "labels": {"dataset": "digits", "defense": defense, "attack": attack},
            "cell": {"seed": seed, "model": "trained"},
            "split": {"fingerprint": "f", "near_duplicates": 2, "members": 100, "nonmembers": 400, "reference": 900},
            "model": {
                "key": f"{defense} {seed}",
                "digest": "w",
                "steps": 10,
                "epochs_per_member": 6.4,
                "member_loss": 0.1,
                "heldout_loss": 0.35,
            },
            "cost": {"forwards": 3.0, "vjps": 1.0},
            "environment": {"torch": "2.11.0", "threads": 1 + seed},
            "seconds": 1.0,
        }
        | values
    ).sealed()
    path = folder / "records" / "digits" / defense / f"{attack}-s{seed}.json"
    write_record(path, record)
    return path


def attacked(folder: Path, defense: str, attack: str, *aurocs: float, strict: Estimate = FEW) -> None:
    """Records of an attack, one for each seed."""
    for seed, auroc in enumerate(aurocs):
        area = Estimate(value=auroc, interval=(0, 1))
        tpr = {"0.1": Estimate(value=0.3 + seed / 10, interval=(0, 1)), "0.01": strict}
        chosen = Setting(setting=f"t=0.{seed + 1}", auroc=area, tpr=tpr)
        published = Setting(setting="t=0.5", auroc=Estimate(value=0.5), tpr=tpr)
        metrics = AttackMetrics(
            settings={"t=0.5": (0.5, 0.5)},
            published=published,
            calibrated=chosen,
            oracle=chosen,
            members=80,
            nonmembers=320,
            scores="s",
        )
        put(folder, defense, attack, seed, attack=metrics)


def sampled(folder: Path, defense: str, *fractions: float) -> None:
    """Records of samples, one for each seed."""
    for seed, fraction in enumerate(fractions):
        utility = UtilityMetrics(
            space="random-conv-64",
            n=1000,
            reference=900,
            distance=10 + 2 * seed,
            copies=1,
            gauss=20,
            null=0.5,
            fraction=fraction,
            copied=0.125,
            members_distance=3,
            samples="s",
        )
        put(folder, defense, "utility", seed, utility=utility)


def rows(page: str, start: str) -> list[list[str]]:
    """The cells of the lines that begin so."""
    return [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith(start)]


def test_no_records(folder: Path) -> None:
    page = render(folder)
    assert page.startswith("# Small things\n\nTwo defenses, two attacks.\n\n0 of 12 records are there.\n")
    assert rows(page, "| `vp`")[0] == ["`vp`"] + ["–"] * 7
    assert "mibench run leaderboards/" in page and str(folder) not in page


def test_figures(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.7, 0.8)
    attacked(folder, "vp", "pia", 0.45)
    sampled(folder, "vp", 0.25, 0.35)
    page = render(folder)
    assert "5 of 12 records are there." in page
    main, loss, pia, training = rows(page, "| `vp`")
    assert main == [
        "`vp`",
        ".750 ± .071",
        ".450 (1/2)",
        "**.750** `loss`",
        ".350 ± .071 @10%",
        "11.0 ± 1.4",
        ".300",
        "12.5 %",
    ]
    assert loss[2:] == [".500 ± .000 at t=0.5", ".750 ± .071 at t=0.1, t=0.2", ".750 ± .071 at t=0.1, t=0.2"]
    assert pia[3] == ".450 (1/2) at t=0.1"
    assert training == ["`vp`", "10", "6.4", "0.250", "3 + 1", "3 + 1"]
    assert "its TPR@10%FPR | FD (random-conv-64, n = 1000)" in page
    assert "TPR@1%FPR is n/a: 320 non-members; 1000 are needed." in page
    assert rows(page, "| digits")[0] == ["digits", "100", "400", "900", "2.0", "80 v 320", "0.500", "1.00", "20.0"]
    assert "Made with: threads 1, 2 · torch 2.11.0." in page


def test_one_percent_where_there_are_enough_nonmembers(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.7, 0.8, strict=Estimate(value=0.02))
    page = render(folder)
    assert ".020 ± .000 @1%" in page and "its TPR@1%FPR |" in page and "is n/a:" not in page


def test_an_attack_that_does_not_apply(folder: Path) -> None:
    for seed in (0, 1):
        put(folder, "hold3", "pia", seed, status="n/a", reason="needs\na state of one block")
    page = render(folder)
    assert rows(page, "| `hold3`")[0][1:4] == ["–", "n/a[^1]", "–"]
    assert page.endswith("\n\n[^1]: needs a state of one block\n")


def test_a_model_that_does_not_generate(folder: Path) -> None:
    sampled(folder, "vp", 0.9, 1.3)
    assert "1.100 does not generate" in rows(render(folder), "| `vp`")[0]


def test_order(folder: Path) -> None:
    """The suite's order, then what it does not list; other seeds and kinds of model are only counted."""
    for defense in ("zero", "hold3", "added", "vp"):
        attacked(folder, defense, "loss", 0.6)
    put(folder, "vp", "utility", 7, status="n/a", reason="another seed")
    put(folder, "ve", "utility", 0, status="n/a", reason="exact", cell={"seed": 0, "model": "exact"})
    page = render(folder)
    names = [row[0] for row in rows(page.partition("### Settings")[0], "| `")]
    assert names == ["`vp`", "`hold3`", "`added`", "`zero`"]
    assert "2 of 12 records are there. 2 more, of other seeds or kinds of model, are not shown." in page


def test_worst_is_chosen_by_the_mean(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.9, 0.5)
    attacked(folder, "vp", "pia", 0.75, 0.75)
    assert "**.750** `pia`" in render(folder)


def test_bold_is_the_worst_known_attack_alone(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.9, 0.5)
    assert render(folder).partition("## How to read")[0].count("**") == 4


def test_same_bytes(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.7, 0.8)
    sampled(folder, "vp", 0.1, 0.2)
    code = "import sys; from pathlib import Path; from mibench.leaderboard.markdown import render\n"
    code += "print(ascii(render(Path(sys.argv[1]))))"
    code += "\nassert 'torch' not in sys.modules and 'mibench_attacks' not in sys.modules"
    run = [sys.executable, "-c", code, str(folder)]
    pages = [subprocess.run(run, env={"PYTHONHASHSEED": h}, capture_output=True, check=True).stdout for h in "12"]
    assert pages[0] == pages[1] == (ascii(render(folder)) + "\n").encode()


def test_check(folder: Path) -> None:
    assert "missing" in (check(folder) or "")
    readme = folder / "README.md"
    readme.write_bytes(render(folder).encode())
    assert check(folder) is None
    readme.write_bytes(render(folder).replace("0 of 12", "9 of 12").encode())
    assert "line 5" in (check(folder) or "")
    readme.write_bytes(render(folder).encode() + b"more")
    assert check(folder)
    readme.write_bytes(render(folder).replace("\n", "\r\n").encode())
    assert check(folder)


def test_a_broken_record_is_named(folder: Path) -> None:
    path = put(folder, "vp", "loss", 0, status="n/a", reason="why")
    assert [found for found, _ in load(folder)] == [path]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"reason": "because"}))
    with pytest.raises(MibenchError, match=r"loss-s0\.json was edited"):
        load(folder)
    put(folder, "vp", "loss", 0)
    with pytest.raises(MibenchError, match=r"loss-s0\.json lacks attack"):
        render(folder)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.7134, ".713"), (1.0, "1.000"), (0, ".000"), (-0.02, "−.020"), (-1e-9, ".000"), (1.24, "1.240")],
)
def test_rates(value: float, text: str) -> None:
    assert rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.00"), (12345.6, "12346"), (12.34, "12.3"), (0.00123, "0.00123"), (-0.5, "−0.500")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
