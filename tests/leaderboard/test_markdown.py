"""The README against records whose figures are known."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from made_records import KNOWN, attacked, board_of, metrics, put, sampled, scores

from mibench.errors import MibenchError
from mibench.leaderboard import markdown
from mibench.leaderboard.markdown import pictures
from mibench.leaderboard.text import number, rate
from mibench.metrics.headings import REHEARSAL_SPACE
from mibench.plugins import load
from mibench.results.figures import Distances, Estimate
from mibench.results.folder import read_folder
from mibench.results.known import Known

SUITE = """
title = "Small things"
description = "Two defenses, two attacks."
datasets = ["digits"]
defenses = ["vp", "hold3"]
attacks = ["loss", "pia"]
seeds = [0, 1]
checkpoints = [0.5]
[recipe.digits]
steps = 10
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


def render(folder: Path) -> str:
    return markdown.render(folder, board_of(folder))


def check(folder: Path) -> str | None:
    """The only problem, if there is one."""
    found = markdown.check(folder, board_of(folder))
    assert len(found) < 2
    return found[0] if found else None


def rows(page: str, start: str) -> list[list[str]]:
    """The cells of the lines that begin so, without the spaces that align columns."""
    lines = (re.sub(" +", " ", line) for line in page.splitlines())
    return [line.strip("| ").split(" | ") for line in lines if line.startswith(start)]


def cells(page: str, start: str) -> list[str]:
    """The cells of the only line that begins so."""
    (row,) = rows(page, start)
    return row


def words(text: str) -> list[str]:
    """The lines of a text, but for what aligns the columns of its tables."""
    return [re.sub(" +", " ", line) for line in text.splitlines() if not line.startswith("|:")]


def section(page: str, title: str) -> str:
    """What stands below a title, up to the next one."""
    return page.partition(f"# {title}\n")[2].partition("\n#")[0]


def test_no_records(folder: Path) -> None:
    assert render(folder) == (
        "# Small things\n\nTwo defenses, two attacks.\n\n**Not yet run.**\n\n"
        f"```\nmibench run {folder.name}\nmibench leaderboard {folder.name}\n```\n"
    )


def test_a_suite_in_a_group_goes_by_the_names_of_both(tmp_path: Path) -> None:
    folder = tmp_path / "leaderboards" / "images" / "small"
    folder.mkdir(parents=True)
    (folder / "suite.toml").write_text(SUITE)
    assert "mibench run images/small\n" in render(folder)


def test_inception_distances_and_kernel_distances_are_shown_where_a_record_has_them(folder: Path) -> None:
    plain = {"distance": 30, "copies": 2, "gauss": 90, "null": 7, "fraction": 0.3, "kid": -0.001}
    sampled(folder, "vp", 0.25, 0.35, kid=0.5, inception=Distances(space="inception-2048", **plain))
    sampled(folder, "hold3", 0.25)
    page = render(folder)
    assert rows(page, "| defense")[0][6:] == [
        "FD (random-conv-64, n = 1000)",
        "KD",
        "FID (inception-2048)",
        "KID (inception-2048)",
        "fraction",
        "copied",
    ]
    assert cells(page, "| `vp` | – | – | –")[6:10] == [
        "11.0 ± 1.4",
        "0.500 ± 0.000",
        "30.0 ± 0.0",
        "−0.00100 ± 0.00000",
    ]
    assert cells(page, "| `hold3` | – | – | –")[6:10] == ["10.0 (1/2)", "–", "–", "–"]
    assert rows(page, "| dataset")[0][-3:] == [f"FID (inception-2048) {name}" for name in ("null", "copies", "gauss")]
    assert rows(page, "| digits")[0][-3:] == ["7.00", "2.00", "90.0"]
    assert "**FID**" in page
    made_up = Distances(space="inception-2048-deadbeef", **plain)
    sampled(folder, "vp", 0.25, 0.35, inception=made_up)
    assert rows(render(folder), "| defense")[0][7:9] == ["FD (inception-2048-deadbeef)", "KD (inception-2048-deadbeef)"]
    assert "**Rehearsal**" not in page
    sampled(folder, "vp", 0.25, 0.35, inception=Distances(space=REHEARSAL_SPACE, **plain))
    page = render(folder)
    assert rows(page, "| defense")[0][7] == "FD (inception-2048-rehearsal)"
    assert "**Rehearsal**: the distances in the space inception-2048-rehearsal are of a network with random" in page


def test_a_record_without_them_is_as_it_was(folder: Path) -> None:
    sampled(folder, "vp", 0.25)
    (path,) = folder.rglob("*.json")
    assert not {"kid", "inception"} & set(json.loads(path.read_text())["utility"])
    page = render(folder)
    assert "KD" not in page and "FID" not in page


def test_figures(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.7, 0.8)
    attacked(folder, "vp", "pia", 0.45, adaptive=True)
    attacked(folder, "hold3", "loss", 0.6, 0.6, adaptive=True)
    attacked(folder, "hold3", "pia", 0.45)
    sampled(folder, "vp", 0.25, 0.35)
    page = render(folder)
    assert "8 of 12 cells are done." in page and "further records" not in page
    main = section(page, "digits")
    assert rows(main, "| defense")[0] == [
        "defense",
        "worst known attack: **network**",
        "difference from `vp` (95 % each)",
        "TPR@10%FPR",
        "accuracy at FPR",
        "ε ≥",
        "samples needed",
        "FD (random-conv-64, n = 1000)",
        "fraction",
        "copied",
    ]
    (worst,) = (w for w in [board_of(folder).worst("digits", "vp")] if w)
    assert cells(main, "| `vp` |") == [
        "`vp`",
        f"**.750** [{rate(worst.interval[0])}, {rate(worst.interval[1])}] `loss`",
        "–",
        ".350 ± .071 @10%",
        ".600 ± .000 at .250",
        "0.50",
        "52",
        "11.0 ± 1.4",
        ".300",
        "12.5 %",
    ]
    hold3 = cells(main, "| `hold3`")
    assert (
        hold3[1].startswith("**.600** [")
        and hold3[2].startswith("−.150 [−")
        and hold3[6:] == ["not within 80", "–", "–", "–"]
    )
    assert cells(main, "| attack") == ["attack", "`vp`", "`hold3`"]
    assert cells(main, "| `loss`") == ["`loss`", ".750 ± .071", ".600 ± .000"]
    assert cells(main, "| `pia`") == ["`pia`", ".450 (1/2)", ".450 (1/2)"]
    loss, pia = rows(section(page, "Settings of digits"), "| `vp`")
    assert loss[2:] == [".500 ± .000 at t=0.5", ".750 ± .071 at t=0.1, t=0.2", ".750 ± .071 at t=0.1, t=0.2"]
    assert pia[3] == ".450 (1/2) at t=0.1"
    costs = section(page, "Cost and training of digits")
    assert cells(costs, "| `vp`") == ["`vp`", "10", "6.4", "0.250"]
    assert cells(costs, "| evaluations") == ["evaluations", "`vp`", "`hold3`"]
    assert cells(costs, "| `loss`") == ["`loss`", "3 + 1", "3 + 1"]
    assert cells(costs, "| `pia`") == ["`pia`", "3 + 1", "3 + 1"]
    assert "TPR@1%FPR is n/a: 320 non-members; 1000 are needed." in page
    assert rows(page, "| digits")[0] == ["digits", "100", "400", "900", "2.0", "80 v 320", "0.500", "1.00", "20.0"]
    assert " · threads 1, 2 · torch 2.11.0." in page
    assert "Wall time in one process: 0 min for the cells, 0 min for training, without shadow models." in page


def test_what_learning_and_shadow_models_cost(folder: Path) -> None:
    cost = {
        "forwards": 3.0,
        "vjps": 0.0,
        "shadow_forwards": 12.0,
        "shadow_vjps": 3.0,
        "fit_forwards": 450.0,
        "fit_vjps": 0.0,
    }
    put(folder, "vp", "loss", 0, cost=cost, attack=metrics(scores(0.7)))
    told = section(render(folder), "Cost and training of digits")
    assert cells(told, "| `loss`") == ["`loss`", "3 + 0; 12 + 3 of shadow models; 450 + 0 to learn", "–"]


def test_one_percent_where_there_are_enough_nonmembers(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.7, 0.8, strict=Estimate(value=0.02))
    page = render(folder)
    assert ".020 ± .000 @1%" in page and "TPR@1%FPR" in rows(page, "| defense")[0] and "is n/a:" not in page


def test_the_strictest_rate_that_all_have(folder: Path) -> None:
    """Columns are compared, so that one defense with too few non-members sets the rate of all."""
    attacked(folder, "vp", "loss", 0.7, 0.8, strict=Estimate(value=0.02))
    attacked(folder, "hold3", "loss", 0.7, 0.8)
    page = render(folder)
    assert (
        "@1% " not in page
        and "TPR@10%FPR" in rows(page, "| defense")[0]
        and "TPR@1%FPR is n/a: 320 non-members" in page
    )


def test_an_attack_that_does_not_apply(folder: Path) -> None:
    for seed in (0, 1):
        put(folder, "hold3", "pia", seed, status="n/a", reason="needs\na state of one block")
    page = render(folder)
    assert rows(page, "| `pia`")[0] == ["`pia`", "–", "n/a[^1]"]
    assert rows(page, "| `hold3`")[0][1:4] == ["–", "–", "–"]
    assert page.endswith("\n\n[^1]: needs a state of one block\n")


def failed(folder: Path, defense: str, attack: str, seed: int, reason: str, model: str = "trained") -> None:
    bare = dict.fromkeys(("split", "cost", "environment"))
    put(folder, defense, attack, seed, model, status="failed", reason=reason, **bare)


def test_cells_that_failed(folder: Path) -> None:
    """They are counted on top and named in their cells, and no figure changes."""
    attacked(folder, "vp", "loss", 0.7)
    sampled(folder, "vp", 0.2)
    attacked(folder, "vp", "loss", 0.5, model="fresh")
    before = render(folder)
    failed(folder, "vp", "loss", 1, "was killed")
    failed(folder, "vp", "pia", 0, "gave NaN")
    put(folder, "vp", "pia", 1, status="n/a", reason="needs weights")
    failed(folder, "vp", "utility", 1, "no space")
    failed(folder, "vp", "loss", 1, "was killed", "fresh")
    failed(folder, "vp", "pia", 1, "gave NaN", "fresh")
    page = render(folder)
    assert (
        "\n\n**5 cells failed**" in page.partition("## digits")[0]
        and "3 of 12 cells are done. There is 1 further record" in page
    )
    notes = dict(line.split(": ") for line in page.splitlines() if line.startswith("[^"))
    marks = {reason: mark for mark, reason in notes.items()}
    main, pia = section(page, "digits"), f"n/a{marks['needs weights']} failed{marks['gave NaN']}"
    assert cells(main, "| `loss`")[1] == f".700 (1/2) failed{marks['was killed']}"
    assert cells(main, "| `pia`")[1] == pia and f"10.0 (1/2) failed{marks['no space']}" in cells(main, "| `vp`")
    controls = section(page, "Controls of digits")
    assert cells(controls, "| `loss`")[2] == f".500 failed{marks['was killed']}"
    assert cells(controls, "| `pia`")[2] == f"failed{marks['gave NaN']}"
    for title in ("Settings of digits", "Cost and training of digits", "How to read this"):
        assert words(re.sub(r" failed\[\^\d\]", "", section(page, title))) == words(section(before, title))


def test_a_model_that_does_not_generate(folder: Path) -> None:
    sampled(folder, "vp", 0.9, 1.3)
    assert "1.100 does not generate" in rows(render(folder), "| `vp`")[0]


def test_records_that_do_not_belong_together_are_counted_on_top(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.7, 0.8)
    assert "contradict" not in render(folder)
    split = {"fingerprint": "other", "near_duplicates": 2, "members": 100, "nonmembers": 400, "reference": 900}
    put(folder, "hold3", "loss", 0, attack=metrics(scores(0.6)), split=split)
    assert "\n\n**1 record contradicts others** in weights, split or recipe" in render(folder)


def test_a_fraction_of_nothing_is_na(folder: Path) -> None:
    """Where a Gaussian is as near as copies, to within the distance between halves of the reference."""
    sampled(folder, "vp", 3.0, 4.0, gauss=1.5)
    sampled(folder, "hold3", 0.9)
    page = render(folder)
    assert "n/a[^1]" in cells(page, "| `vp` | – | – | –") and "does not generate" not in section(page, "digits")
    assert "[^1]: A Gaussian is as near to the reference as copies of the members are" in page
    sampled(folder, "vp", 3.0, gauss=1.51)
    assert "3.000 does not generate (1/2)[^1]" in cells(render(folder), "| `vp` | – | – | –")


def test_order(folder: Path) -> None:
    """The suite's order, then what it does not list; other seeds and kinds of model are only counted."""
    put(folder, "vp", "pia", 0, "exact", status="n/a", reason="exact")
    for defense in ("zero", "hold3", "added", "vp"):
        attacked(folder, defense, "loss", 0.6)
    put(folder, "vp", "utility", 7, status="n/a", reason="another seed")
    put(folder, "ve", "utility", 0, "exact", status="n/a", reason="exact")
    page = render(folder)
    names = [row[0].partition(" †")[0] for row in rows(section(page, "digits"), "| `")]
    assert names == ["`vp`", "`hold3`", "`added`[^1]", "`zero`[^1]", "`loss`", "`pia`"]
    assert "\n\n**3 records are unlisted**: defense `added`, defense `ve`, defense `zero` are shown" in page
    assert page.endswith("\n\n[^1]: It is not in the suite's list.\n[^2]: exact\n")
    assert (
        "2 of 12 cells are done. There is 1 further record of checkpoints and controls. " in page
        and "not shown: 1 of another seed." in page
    )


def test_worst_is_chosen_by_the_mean(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.9, 0.5)
    attacked(folder, "vp", "pia", 0.75, 0.75)
    (worst,) = (row[1] for row in rows(section(render(folder), "digits"), "| `vp`"))
    assert worst.startswith("**.750** [") and worst.endswith("] `pia`")


def test_bold_are_the_worst_known_attacks_alone(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.9, 0.5)
    attacked(folder, "vp", "pia", 0.6, 0.6, tier="weights")
    main = render(folder).partition("## How to read")[0]
    bold = ["network", "weights", ".700", ".700"]
    assert main.split("**")[1::2] == bold


def test_a_worst_attack_that_lacks_seeds_is_marked(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.7)
    assert cells(section(render(folder), "digits"), "| `vp`")[1].startswith("**.700** (1/2) [")


def test_a_column_for_each_tier_there_is(folder: Path) -> None:
    attacked(folder, "vp", "pia", 0.75, 0.75, tier="shadows")
    attacked(folder, "vp", "loss", 0.7, 0.7, tier="samples")
    attacked(folder, "hold3", "pia", 0.75, 0.75, tier="shadows")
    main = section(render(folder), "digits")
    assert cells(main, "| defense")[1:3] == [f"worst known attack: **{who}**" for who in ("samples", "shadow models")]
    vp, hold3 = cells(main, "| `vp`"), cells(main, "| `hold3`")
    assert vp[1].startswith("**.700**") and vp[2].startswith("**.750**")
    assert hold3[1] == "–" and hold3[2].startswith("**.750**")


def test_the_null_stands_beside_the_worst(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.7, 0.7)
    attacked(folder, "vp", "loss", 0.5, 0.525, model="fresh")
    assert cells(section(render(folder), "digits"), "| `vp`")[1].endswith("] `loss`, null .512")


def test_a_defense_that_no_adaptive_attack_has_met_is_flagged(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.7, 0.7)
    attacked(folder, "hold3", "loss", 0.7, 0.7)
    attacked(folder, "hold3", "pia", 0.6, 0.6, adaptive=True)
    main = section(render(folder), "digits")
    assert [row[0] for row in rows(main, "| `")[:2]] == ["`vp` †", "`hold3`"]
    assert "\n\nAdaptive attacks that were run: `vp`: none; `hold3`: `pia`.\n\n" in main


def test_a_composed_defense_must_meet_an_adversary_of_each_of_its_measures(folder: Path) -> None:
    names = ["vp+augment", "vp+augment+dropout", "hold3+augment", "vp+dropout", "vp+early"]
    for name in names:
        attacked(folder, name, "loss", 0.7, 0.7)
    for name in names[:3]:
        attacked(folder, name, "pia+averaged", 0.6, 0.6, adaptive=True)
    attacked(folder, "vp+dropout", "lira:shadows=4", 0.6, 0.6, adaptive=True)
    put(folder, "vp+early", "lira:shadows=4", 0, status="n/a", reason="it has not met it")
    attacked(folder, "vp+early", "adaptive", 0.6, 0.6, adaptive=True)  # which is made for processes

    def flagged() -> tuple[list[str], str]:
        board = board_of(folder)
        board.selection = replace(board.selection, known=Known.of(load()))
        main = section(markdown.render(folder, board), "digits").partition("Calibrated AUROC")[0]
        return [row[0].split("`")[1] for row in rows(main, "| `") if "†" in row[0]], " ".join(main.split())

    found, page = flagged()
    assert sorted(found) == ["hold3+augment", "vp+augment+dropout", "vp+early"]
    assert "`vp+augment+dropout`: `pia+averaged`, but none against `dropout` (`lira`);" in page
    assert "`hold3+augment`: `pia+averaged`, but none against `hold3` (`adaptive`);" in page
    assert "`vp+augment`: `pia+averaged`;" in page
    attacked(folder, "hold3+augment", "adaptive", 0.6, 0.6, adaptive=True)
    attacked(folder, "vp+augment+dropout", "lira", 0.6, 0.6, adaptive=True)
    assert flagged()[0] == ["vp+early"]


def trained(folder: Path, defense: str, *points: tuple[int, float, float], seeds: int = 2) -> None:
    """A training measured at steps (0 for the end), with the distance and AUROC there."""
    for step, distance, area in points:
        attacked(folder, defense, "loss", *[area] * seeds, checkpoint=step, adaptive=True)
        sampled(folder, defense, *[0.2] * seeds, distance=distance - 1, checkpoint=step)


@pytest.mark.parametrize(("area", "flag"), [(0.85, " ▲"), (0.7, "")])
def test_a_defense_that_leaks_more_at_the_baselines_distance_is_flagged(folder: Path, area: float, flag: str) -> None:
    """It comes down to the baseline's 10 half way between its two points, where it leaks (.65 + area) / 2 against .7."""
    trained(folder, "vp", (5, 30, 0.6), (0, 10, 0.7))
    trained(folder, "hold3", (5, 12, 0.65), (0, 8, area))
    assert rows(section(render(folder), "digits"), "| `hold3`")[0][0] == f"`hold3`{flag}"


def test_a_worse_defense_that_never_gets_there_is_not_flagged(folder: Path) -> None:
    trained(folder, "vp", (0, 10, 0.7))
    trained(folder, "hold3", (0, 10.5, 0.9))
    assert "▲" not in section(render(folder), "digits")


def test_along_the_training(folder: Path) -> None:
    trained(folder, "vp", (5, 30, 0.6), (0, 10, 0.7))
    trained(folder, "hold3", (5, 40, 0.55), (0, 20, 0.65))
    page = render(folder)
    equal, matched = section(page, "digits along the training").split("The same where")
    assert cells(equal, "| defense") == ["defense", "step 5", "end"]
    assert cells(equal, "| `vp`") == ["`vp`", ".600 at 30.0", ".700 at 10.0"]
    assert cells(equal, "| `hold3`") == ["`hold3`", ".550 at 40.0", ".650 at 20.0"]
    assert cells(matched, "| defense") == ["defense", "30.0 (step 5)", "10.0 (end)"]
    assert cells(matched, "| `vp`") == ["`vp`", ".600", ".700"]
    assert cells(matched, "| `hold3`") == ["`hold3`", ".600", "does not get there"]
    assert "There are 8 further records of checkpoints and controls." in page


def test_controls(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.99, model="exact")
    attacked(folder, "hold3", "loss", 0.95, model="exact")
    attacked(folder, "vp", "loss", 0.525, 0.475, model="fresh")
    attacked(folder, "hold3", "loss", 0.44, 0.5, model="fresh")
    page = render(folder)
    controls = section(page, "Controls of digits")
    loss = cells(controls, "| `loss`")
    assert loss[:4] == ["`loss`", ".950", ".440", "0 of 4"] and 0.4 < float(loss[4]) < 0.6
    assert not rows(controls, "| `pia`") and not rows(controls, "| `blind`")
    assert "**" not in page.partition("## digits")[0]


def test_a_control_that_does_not_apply(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.5, 0.5, model="fresh")
    for defense in ("vp", "hold3"):
        put(folder, defense, "pia", 0, "exact", status="n/a", reason="needs weights")
    page = render(folder)
    assert cells(section(page, "Controls of digits"), "| `pia`") == ["`pia`", "n/a[^1]", "–", "–", "–"]
    assert "[^1]: needs weights" in page


def test_a_failed_control_is_named_on_top(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.5, 0.75, model="fresh")
    attacked(folder, "vp", "pia", 0.5, 0.5, model="fresh")
    page = render(folder)
    top, below = page.partition("## digits")[::2]
    assert "On fresh data of digits" in top and "`loss`" in top and "`pia`" not in top
    assert cells(section(page, "Controls of digits"), "| `loss`")[3] == "1 of 2" and "is not clean" not in below


@pytest.mark.parametrize("model", ["fresh", "trained"])
def test_a_split_that_tells_without_a_model_is_named_on_top(folder: Path, model: str) -> None:
    """The harness plans the blind attack as a control; a suite may list it, too."""
    attacked(folder, "vp", "loss", 0.9, 0.9)
    attacked(folder, "vp", "blind", 0.5, 0.525, model=model, tier="data")
    assert "is not clean" not in render(folder)
    attacked(folder, "vp", "blind", 0.5, 0.75, model=model, tier="data")
    page = render(folder)
    assert page.startswith("# Small things\n\n**The split of digits is not clean**")
    assert cells(section(page, "Controls of digits"), "| `blind`")[:4] == ["`blind`", "–", ".750", "1 of 2"]
    assert cells(section(page, "digits"), "| `vp`")[1].endswith("`loss`")


def test_same_bytes(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.7, 0.8)
    sampled(folder, "vp", 0.1, 0.2)
    code = f"import sys; sys.path[:0] = {sys.path!r}; from pathlib import Path\n"
    code += "from made_records import KNOWN, board_of\nfrom mibench.leaderboard.markdown import render\n"
    code += "print(ascii(render(Path(sys.argv[1]), board_of(Path(sys.argv[1])))))"
    code += "\nassert 'torch' not in sys.modules and 'mibench_attacks' not in sys.modules"
    run = [sys.executable, "-c", code, str(folder)]
    pages = [subprocess.run(run, env={"PYTHONHASHSEED": h}, capture_output=True, check=True).stdout for h in "12"]
    assert pages[0] == pages[1] == (ascii(render(folder)) + "\n").encode()


def test_check(folder: Path) -> None:
    assert "missing" in (check(folder) or "")
    readme = folder / "README.md"
    readme.write_bytes(render(folder).encode())
    assert check(folder) is None
    readme.write_bytes(render(folder).replace("Not yet", "Long since").encode())
    assert "line 5" in (check(folder) or "")
    readme.write_bytes(render(folder).encode() + b"more")
    assert check(folder)
    readme.write_bytes(render(folder).replace("\n", "\r\n").encode())
    assert check(folder)


def test_a_broken_record_is_named(folder: Path) -> None:
    path = put(folder, "vp", "loss", 0, status="n/a", reason="why")
    assert [found for found, _ in read_folder(folder)] == [path]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"reason": "because"}))
    with pytest.raises(MibenchError, match=r"loss-s0\.json was edited"):
        read_folder(folder)
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "digest"}))
    with pytest.raises(MibenchError, match=r"loss-s0\.json .* lacks digest"):
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


def test_the_order_of_options_in_a_suite_does_not_matter(folder: Path) -> None:
    (folder / "suite.toml").write_text(SUITE.replace('"loss"', '"loss:times=[0.1,0.2],draws=8"'))
    attacked(folder, "vp", "loss:draws=8,times=[0.1,0.2]", 0.7, 0.7)
    board = board_of(folder)
    assert board.attacks("digits") == ["loss:draws=8,times=[0.1,0.2]", "pia"]
    assert board.progress[0] == 2


def test_the_guide_explains_the_columns_that_are_shown(folder: Path) -> None:
    attacked(folder, "vp", "loss", 0.7, 0.8)
    guide = section(render(folder), "How to read this")
    for shown in ("**Worst known attack**", "**TPR@x%FPR**", "**Fraction**", "**Evaluations**", "over the seeds 0, 1"):
        assert guide.count(shown) == 1, shown
    for absent in ("**KD**", "**FID**", "**Controls**"):
        assert absent not in guide
    attacked(folder, "vp", "loss", 0.5, model="fresh")
    assert "**Controls**" in section(render(folder), "How to read this")
    assert max(map(len, guide.partition("| dataset")[0].splitlines())) <= 100


def test_a_suite_names_its_baseline(folder: Path) -> None:
    (folder / "suite.toml").write_text(SUITE.replace("seeds", 'baseline = "hold3"\nseeds'))
    attacked(folder, "vp", "loss", 0.7)
    attacked(folder, "hold3", "loss", 0.6)
    main = section(render(folder), "digits")
    assert (
        rows(main, "| defense")[0][2] == "difference from `hold3` (95 % each)" and cells(main, "| `hold3` †")[2] == "–"
    )
    assert cells(main, "| `vp` †")[2].startswith("+.100 [")


def test_a_blind_attack_of_another_name(folder: Path) -> None:
    """A record says of its attack that it needs no model; its name does not matter."""
    attacked(folder, "vp", "guess", 0.5, 0.75, model="fresh", tier="data")
    assert "**The split of digits is not clean**" in render(folder) and "differs from .5" not in render(folder)


def test_a_board_has_a_picture_where_a_defense_has_both_figures(folder: Path) -> None:
    board = board_of(folder)
    assert not pictures(board)
    attacked(folder, "vp", "loss", 0.7)
    sampled(folder, "vp", 0.2)
    assert list(pictures(board_of(folder))) == ["tradeoff.svg"] and "](tradeoff.svg)" in render(folder)


def test_the_command_writes_readme_and_picture(folder: Path, cli, monkeypatch) -> None:
    monkeypatch.setattr(Known, "of", lambda registry: KNOWN)
    attacked(folder, "vp", "loss", 0.7, 0.8)
    attacked(folder, "hold3", "loss", 0.6)
    sampled(folder, "vp", 0.25, 0.35)
    code, out, _ = cli("leaderboard", folder)
    assert code == 0 and out.splitlines() == [f"wrote {folder / name}" for name in ("README.md", "tradeoff.svg")]
    assert cli("leaderboard", folder, "--check")[0] == 0
    path = folder / "tradeoff.svg"
    path.write_text(path.read_text(encoding="utf-8").replace("<path", "<path "), encoding="utf-8")
    assert cli("leaderboard", folder, "--check")[0] == 0  # another version of Vega may draw it another way
    sampled(folder, "hold3", 0.25)
    code, out, _ = cli("leaderboard", folder, "--check")
    assert code == 1 and f"{path} differs from its records; run `mibench leaderboard {folder.name}`" in out
    path.unlink()
    assert f"{path} is missing" in cli("leaderboard", folder, "--check")[1]
