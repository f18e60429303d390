"""The pages hold what the records hold, show any text as text, and are the same bytes each time; none needs a browser."""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from made_records import attacked, board_of, put, sampled

from mibench.leaderboard.board import open_board
from mibench.leaderboard.choices import choices
from mibench.leaderboard.index import index_markdown, summary
from mibench.leaderboard.text import rate
from mibench.metrics.auroc import auroc
from mibench.plugins import load
from mibench.results.known import Known
from mibench.site import page
from mibench.site.details import corners
from mibench.site.index import index_page
from mibench.site.page import board_page
from mibench.site.points import highlighted, points, tradeoff_plot
from mibench.site.styles import styles
from mibench.site.text import address

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror=hacked=1>\"'`|\u202e&amp;" + "x" * 10_000
QUICK = Path(__file__).parents[2] / "leaderboards" / "quick"


def suite(folder: Path, **values: object) -> Path:
    fields = {
        "title": "t",
        "datasets": ["digits"],
        "defenses": ["vp", "hold3"],
        "attacks": ["loss", "pia"],
        "seeds": [0, 1],
    }
    (folder / "suite.toml").write_text(
        "".join(f"{key} = {json.dumps(value)}\n" for key, value in (fields | values).items()), encoding="utf-8"
    )
    return folder


@pytest.fixture
def no_plots(monkeypatch):
    """Vega takes seconds to load."""
    monkeypatch.setattr(page, "vega", lambda: "")
    monkeypatch.setattr(page, "plots", dict)


def rows_of(packed: dict) -> list[dict]:
    """What ``columns`` has packed, as the script has it."""
    values, rows = [iter(column) for column in packed["values"]], []
    for shape in packed["rows"]:
        row: dict = {}
        for k in packed["shapes"][shape]:
            *above, name = packed["keys"][k]
            place = row
            for one in above:
                place = place.setdefault(one, {})
            place[name] = next(values[k])
        rows.append(row)
    assert all(next(column, None) is None for column in values)
    return rows


def details_of(text: str) -> dict:
    packed = re.search(r'id="details">([^<]*)<', text)[1]
    content = json.loads(zlib.decompress(base64.b64decode(packed)))
    for one in (found := {name: rows_of(rows) for name, rows in content.items()})["records"]:
        if "roc" in one:
            one["roc"] = np.cumsum(one["roc"], axis=1)
    return found


def as_shown(stored: dict) -> dict:
    """A record as a page has it: without ranks and checksums, its numbers to six digits."""
    record = {name: value for name, value in stored.items() if value is not None and name != "digest"}
    if "attack" in record:
        record["attack"] = {name: value for name, value in record["attack"].items() if name not in ("ranks", "scores")}
    return json.loads(json.dumps(record), parse_float=lambda text: float(f"{float(text):.6g}"))


def data_of(text: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', text)[1])


@pytest.mark.usefixtures("no_plots")
def test_a_page_is_the_same_bytes_each_time_and_holds_its_records(tmp_path):
    suite(tmp_path, checkpoints=[0.5])
    made = attacked(tmp_path, "vp", "loss", 0.9, 0.8)
    attacked(tmp_path, "vp", "loss", 0.7, 0.6, checkpoint=5)
    attacked(tmp_path, "hold3", "pia", 0.6, 0.7, tier="shadows")
    sampled(tmp_path, "vp", 0.1, 0.2)
    put(tmp_path, "hold3", "loss", 0, status="failed", reason="it broke", split=None, cost=None, environment=None)
    text = board_page(tmp_path, board_of(tmp_path))
    assert text == board_page(tmp_path, board_of(tmp_path))
    records = {one["path"]: one for one in details_of(text)["records"]}
    one = records["records/digits/vp/loss-s1.json"]
    stored = as_shown(json.loads((tmp_path / one["path"]).read_text()))
    assert {name: value for name, value in one["record"].items() if value is not None} == stored
    area = np.trapezoid(np.array(one["roc"][1]) / 80, np.array(one["roc"][0]) / 320)
    assert area == pytest.approx(auroc(*made[1]), abs=1e-12)
    assert records["records/digits/hold3/loss-s0.json"]["record"]["reason"] == "it broke"
    rows = data_of(text)["points"]["digits"]["shadows"]
    assert [(row["cell_of"], row["end"], row["area"]) for row in rows] == [
        ("vp", False, 0.65),
        ("vp", True, 0.85),
        ("hold3", True, 0.65),
    ]
    assert [row["cell_of"] for row in data_of(text)["points"]["digits"]["network"]] == ["vp", "vp"]


@pytest.mark.usefixtures("no_plots")
def test_hostile_text_is_shown_as_text(tmp_path):
    suite(tmp_path, title=HOSTILE, description=HOSTILE, defenses=["vp", HOSTILE])
    attacked(tmp_path, "vp", "loss", 0.9, 0.8)
    put(tmp_path, "vp", "pia", 0, status="n/a", reason=HOSTILE)
    text = board_page(tmp_path, board_of(tmp_path))
    assert text.count("<script>window.hacked") == text.count("<img") == 0
    assert html.escape(HOSTILE, quote=False) in text.replace("&#34;", '"').replace("&#39;", "'")
    assert any(one["record"]["reason"] == HOSTILE for one in details_of(text)["records"])
    assert "<script>window.hacked" not in index_page([(tmp_path, board_of(tmp_path))])


def test_a_curve_of_many_corners_keeps_its_ends_and_its_low_rates():
    class Many:
        def ranked(self):
            return np.arange(0, 20_000, 2), np.arange(1, 20_001, 2)

    alarms, hits = corners(Many())
    assert len(alarms) == len(hits) <= 200
    assert (alarms[0], alarms[-1], hits[-1]) == (0, 10_000, 10_000)
    assert alarms[1:10] == list(range(1, 10))


def test_many_defenses_share_colours_by_base_and_shapes_by_measure():
    few = styles(["vp", "ve"])
    assert few["vp"].colour != few["ve"].colour and few["vp"].shape != few["ve"].shape
    many = styles(
        [f"{base}{measure}" for base in ("vp", "hold2", "hold3") for measure in ("", "+a:p=0.1", "+a:p=0.3", "+b")]
    )
    assert many["vp+a:p=0.1"] == many["vp+a:p=0.3"]
    assert many["vp"].colour == many["vp+b"].colour != many["hold2+b"].colour
    assert many["vp+b"].shape == many["hold2+b"].shape != many["vp"].shape
    bases = styles([f"{letter}{k}" for letter in "abc" for k in range(8)])
    assert len(set(bases.values())) == 24


def test_the_choice_is_the_checkpoint_that_leaks_least_at_the_baselines_utility(tmp_path):
    suite(tmp_path, checkpoints=[0.5], seeds=[0, 1, 2], defenses=["vp", "hold3", "ve"])
    attacked(tmp_path, "vp", "loss", 0.9, 0.9, 0.9)
    sampled(tmp_path, "vp", 0.1, 0.1, 0.1, distances=[10, 10, 10])
    attacked(tmp_path, "hold3", "loss", 0.6, 0.6, 0.6, checkpoint=5)
    sampled(tmp_path, "hold3", 0.1, 0.1, 0.1, distances=[11, 11, 11], checkpoint=5)
    attacked(tmp_path, "hold3", "loss", 0.8, 0.8, 0.8)
    sampled(tmp_path, "hold3", 0.6, 0.6, 0.6, distances=[9, 9, 9])
    attacked(tmp_path, "ve", "loss", 0.55, 0.55, 0.55)
    sampled(tmp_path, "ve", 1.2, 1.2, 1.2, distances=[20, 20, 20])
    board = board_of(tmp_path)
    first, near, far = choices(board, "digits")
    assert (first.defense, first.ratio, first.difference) == ("vp", 1, None)
    assert (near.defense, near.step, near.at_utility, near.significant) == ("hold3", 5, True, True)
    assert near.difference.mean == pytest.approx(-0.3) and near.path.endswith("loss-at5-s0.json")
    assert (far.defense, far.at_utility) == ("ve", False)
    assert "not at the baseline's utility: FD 2.00 times as large" in far.doubts and "does not generate" in far.doubts
    assert "adversary not run" in far.doubts
    shown = " ".join(index_markdown([(tmp_path, board)]).split())
    for step in (5, 0):
        attacked(tmp_path, "hold3", "loss", 0.9, 0.9, 0.9, checkpoint=step)
    assert "no defense leaks significantly less than vp (AUROC .900)" in summary(board_of(tmp_path), "digits")
    for step in (5, 0):
        attacked(tmp_path, "vp", "pia", 0.6, 0.6, 0.6, checkpoint=step)
    assert "no defense can be compared with vp (AUROC .900)" in summary(board_of(tmp_path), "digits")
    assert (
        "`hold3` after 5 steps has the smallest AUROC: .600, where `vp` leaks .900; the difference is −.300 [" in shown
    )
    assert ", significant." in shown and "mibench run --record " in shown


@pytest.mark.usefixtures("no_plots")
def test_the_link_of_a_checkpoint_opens_its_records(tmp_path):
    suite(tmp_path, checkpoints=[0.5])
    for defense, area in (("vp", 0.9), ("hold3", 0.6)):
        for step in (5, 0):
            attacked(tmp_path, defense, "loss", area, area, checkpoint=step)
            far = 10 if step or defense == "vp" else 30
            sampled(tmp_path, defense, 0.1, 0.1, distances=[far, far], checkpoint=step)
    board = board_of(tmp_path)
    assert f'href="{tmp_path.name}.html#digits/hold3/loss/5"' in index_page([(tmp_path, board)])
    text = board_page(tmp_path, board)
    shown = [one for one in details_of(text)["others"] if (one["defense"], one["attack"]) == ("hold3", "loss")]
    assert [one["path"] for one in shown] == [f"records/digits/hold3/loss-at5-s{seed}.json" for seed in (0, 1)]
    cells = [row["cell"] for row in data_of(text)["points"]["digits"]["network"]]
    assert cells[2:] == ["#digits/hold3/loss/5", "#digits/hold3/loss"]


@pytest.mark.usefixtures("no_plots")
def test_a_watched_page_follows_the_records(tmp_path, cli, monkeypatch):
    folder, out = suite(tmp_path), tmp_path / "site"
    attacked(folder, "vp", "loss", 0.9)

    def sleep(seconds):
        if (folder / "records" / "digits" / "hold3").exists():
            raise KeyboardInterrupt
        attacked(folder, "hold3", "loss", 0.9)

    monkeypatch.setattr("mibench.cli.site.time.sleep", sleep)
    monkeypatch.setattr("mibench.cli.site.WATCHED_EVERY", 3)
    code, printed, _ = cli("site", folder, "--out", out, "--watch")
    assert code == 0 and printed.count("index.html") == 2
    text = (out / f"{folder.name}.html").read_text(encoding="utf-8")
    assert "const REFRESH = 6;" in text


def test_highlighted_defenses_are_the_baseline_and_the_front(tmp_path):
    names = [f"d{k}" for k in range(12)]
    suite(tmp_path, defenses=names, seeds=[0, 1, 2])
    for k, name in enumerate(names):
        attacked(tmp_path, name, "loss", *[0.6 + 0.02 * k] * 3)
        sampled(tmp_path, name, *[0.1] * 3, distances=[10 + k] * 3)
    assert highlighted(board_of(tmp_path), "digits", "network") == ["d0"]


def test_rows_say_who_is_on_the_front_and_who_generates(tmp_path):
    suite(tmp_path, seeds=[0, 1, 2], defenses=["vp", "ve", "hold3", "zero"])
    for defense, area, distance, fraction in (
        ("vp", 0.9, 10, 0.2), ("ve", 0.95, 20, 0.2), ("hold3", 0.6, 30, 0.2), ("zero", 0.5, 90, 0.9)
    ):  # fmt: skip
        attacked(tmp_path, defense, "loss", *[area] * 3)
        sampled(tmp_path, defense, *[fraction] * 3, distances=[distance] * 3)
    rows = points(board_of(tmp_path), "digits", "shadows")
    assert {row["cell_of"]: row.get("front") for row in rows} == {"vp": True, "ve": None, "hold3": True, "zero": False}
    assert tradeoff_plot(rows) == "linear"
    assert tradeoff_plot([{"end": True, "area": 0.999}, {"end": False, "area": 0.6}]) == "logit"


@pytest.mark.slow
def test_every_number_of_quick_is_that_of_its_records():
    board = open_board(QUICK, Known.of(load()))
    text = board_page(QUICK, board)
    assert len(text.encode()) < 1_500_000
    areas: dict[str, list[float]] = {}
    shown = {one["path"]: one for one in details_of(text)["records"]}
    seeds = board.suite.seeds
    for path, record in sorted(board.selection.shown, key=lambda pair: seeds.index(pair[1].cell.seed)):
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["cell"]["model"] != "trained":
            continue
        one = shown.pop(str(path.relative_to(QUICK)))
        if stored["attack"]:
            areas.setdefault(address(*(record.labels[kind] for kind in ("dataset", "defense", "attack"))), []).append(
                stored["attack"]["calibrated"]["auroc"]["value"]
            )
            rates = (np.array(one["roc"][side]) / one["roc"][side][-1] for side in (1, 0))
            assert np.trapezoid(*rates) == pytest.approx(stored["attack"]["calibrated"]["auroc"]["value"], abs=1e-9)
        assert {key: value for key, value in one["record"].items() if value is not None} == as_shown(stored)
    assert not shown and len(areas) == 48
    heat = dict(re.findall(r'<td style="--heat:[\d.]+"[^>]*><a href="([^"]+)">([^<]+)</a>', text))
    assert {html.unescape(href): value for href, value in heat.items()} == {
        href: rate(fmean(values)) for href, values in areas.items()
    }
    for dataset in board.datasets():
        for defense in board.defenses(dataset):
            worst = board.worst(dataset, defense)
            href = address(dataset, defense, worst.attack)
            row = re.search(
                rf'<tr><td[^>]*><svg[^>]*><path[^>]*/></svg>&nbsp;<a href="{re.escape(href)}">.*?</tr>', text
            )[0]
            cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td.*?</td>", row)]
            best = max(
                fmean(values) for key, values in areas.items() if key.startswith(address(dataset, defense) + "/")
            )
            assert float(cells[1].split()[0]) == pytest.approx(best, abs=5e-4) and best == worst.auroc.mean
            assert float(cells[4].split()[0]) == pytest.approx(board.spread("fd", dataset, defense).mean, rel=5e-3)
