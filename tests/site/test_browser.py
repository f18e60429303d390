"""The pages in Chromium: nothing breaks, nothing is asked of a network, and they can be used by keyboard and on a phone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_records import attacked, put, sampled
from scipy.io import wavfile
from test_page import HOSTILE, suite

from mibench.cli import main

playwright = pytest.importorskip("playwright.sync_api", reason="the pages are tested with playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="accessibility is tested with axe")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
BOARDS = Path(__file__).parents[2] / "leaderboards"
SUITES = ["quick", "attacks", "images/small", "speech/small"]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    assert main(["site", *(str(BOARDS / name) for name in SUITES), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(browser):
    """Open a page offline; at the end nothing must have gone wrong."""
    wrong, contexts = [], []

    def opened(path: Path, address: str = "", scheme: str = "light", width: int = 1280):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: None if request.url.startswith("file:") else wrong.append(request.url))
        page.goto(path.as_uri() + address)
        page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def violations(page) -> list[str]:
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in axe.Axe().run(page).response["violations"]]


@pytest.mark.parametrize("name", ["index", *SUITES])
def test_a_page_is_accessible_in_light_and_dark_and_fits_a_phone(site, visit, name):
    for scheme in ("light", "dark"):
        page = visit(site / f"{name}.html", scheme=scheme)
        assert not violations(page)
    page = visit(site / f"{name}.html", width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_board_is_used_by_keyboard(site, visit):
    page = visit(site / "quick.html")
    head = page.locator("table.defenses:visible th button").first
    head.focus()
    page.keyboard.press("Enter")
    assert head.locator("..").get_attribute("aria-sort") == "ascending"
    names = page.locator("table.defenses:visible tbody tr td:first-child").all_inner_texts()
    assert names == sorted(names)
    page.keyboard.press("Enter")
    assert page.locator("table.defenses:visible tbody tr td:first-child").all_inner_texts() == names[::-1]
    page.locator("#filter").fill("hold3, pia")
    assert page.locator("#count").inner_text() == "1 shown"
    page.locator('table.cells:visible tbody tr:visible a[href$="/pia"]').first.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[data-shown]")
    dialog.wait_for()
    assert page.url.endswith("#swiss-roll/hold3/pia")
    assert "HOLD(3) · PIA on swiss roll" in dialog.inner_text()
    assert "mibench run --record leaderboards/quick/records/swiss-roll/hold3/pia-s0.json" in dialog.inner_text()
    assert dialog.locator(".plot svg").count() == 1 and not violations(page)
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('dialog').open")
    assert "#" not in page.url
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"


def test_one_control_and_the_tabs_change_what_is_shown(site, visit):
    page = visit(site / "attacks.html")
    attack = "table.defenses:visible tbody tr:first-child td:nth-child(4)"
    assert page.locator(attack).inner_text() != "nearest neighbour"
    page.select_option("#tier", "samples")
    assert page.locator(attack).inner_text() == "nearest neighbour"
    assert page.locator("table.heat:visible tbody tr:visible").count() == 1
    page.locator("input[name=dataset]").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("table.cells:visible a").first.get_attribute("href").startswith("#swiss-roll")


def test_a_deep_link_opens_its_cell_and_a_point_says_what_it_is(site, visit):
    page = visit(site / "images/small.html", "#" + "/".join(["x", "vp", "loss"]))
    page.locator("dialog[data-shown]").wait_for()
    assert "There is no record of this cell" in page.locator("dialog").inner_text()
    page = visit(site / "attacks.html", "#digits/hold3/loss/200")
    page.locator("dialog[data-shown]").wait_for()
    shown = page.locator("dialog").inner_text()
    assert "HOLD(3) after 200 steps" in shown and "hold3/loss-at200-s0.json" in shown and "loss-s0.json" not in shown
    page.locator("dialog a").click()
    page.locator('dialog[data-shown="#digits/hold3/loss"]').wait_for()
    page = visit(site / "quick.html", "#digits/vp/loss")
    page.locator("dialog[data-shown]").wait_for()
    assert "VP · loss on digits" in page.locator("dialog").inner_text()
    page.locator("#close").click()
    page.locator("#tradeoff .mark-symbol path").last.hover()
    page.locator("#tip:visible").wait_for()
    assert "AUROC" in page.locator("#tip").inner_text()
    page.locator("#tradeoff .mark-symbol path").last.click()
    page.locator("dialog[data-shown]").wait_for()


def test_samples_are_seen_and_heard(tmp_path, visit, cli, monkeypatch):
    (tmp_path / "clips").mkdir()
    for k in range(30):
        sound = np.sin(np.arange(6000) * (0.2 + 0.01 * k)) * np.hanning(6000)
        wavfile.write(tmp_path / "clips" / f"{k:02}.wav", 8000, (20_000 * sound).astype(np.int16))
    sizes = "members=10,nonmembers=10,reference=10"
    datasets = [f"speech:path=clips,{sizes}", f"swiss-roll:{sizes}"]
    folder = suite(tmp_path, datasets=datasets, defenses=["vp", "hold2"], attacks=["loss"], seeds=[0], model="exact")
    with (folder / "suite.toml").open("a") as file:
        file.write("controls = false\n[utility]\nsamples = 100\n")
    monkeypatch.chdir(tmp_path)  # where clips are
    for argv in (["run", folder], ["site", folder, "--samples", "--out", tmp_path / "site"]):
        code, _, err = cli(*argv)
        assert code == 0, err
    page = visit(tmp_path / "site" / f"{folder.name}.html", width=360)
    assert page.locator("figcaption:visible").all_inner_texts() == ["members", "VP", "HOLD(2)"]
    lengths = "[...document.querySelectorAll('audio')].map(one => one.duration)"
    page.wait_for_function(f"{lengths}.every(length => length > .9 && length < 2)")
    assert len(page.evaluate(lengths)) == 3 and not violations(page)
    widths = page.evaluate("[...document.images].map(one => one.naturalWidth)")
    assert len(widths) == 4 and min(widths) > 100  # three grids, and one figure of the roll
    page.locator("input[name=dataset]").first.press("ArrowRight")
    assert page.locator(".media img:visible").get_attribute("alt") == "samples of members, VP, HOLD(2)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_hostile_text_breaks_nothing(tmp_path, visit):
    folder = suite(tmp_path, title=HOSTILE, description=HOSTILE, defenses=["vp", HOSTILE[:200]])
    attacked(folder, "vp", "loss", 0.9, 0.8)
    sampled(folder, "vp", 0.1, 0.2)
    labels = {"dataset": "digits", "defense": HOSTILE, "attack": "loss"}
    put(
        folder,
        "hold3",
        "loss",
        0,
        labels=labels,
        status="failed",
        reason=HOSTILE,
        split=None,
        cost=None,
        environment=None,
    )
    assert main(["site", str(folder), "--out", str(tmp_path / "site")]) == 0
    page = visit(tmp_path / "site" / f"{folder.name}.html", width=360)
    assert page.evaluate("[window.hacked, document.querySelectorAll('img').length]") == [None, 0]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("h1").inner_text().startswith("</script><script>")
    visit(tmp_path / "site" / "index.html")
