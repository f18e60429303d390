"""docs/analysis.md and docs/records.md: their code runs in order, and prints what the text says."""

import warnings
from pathlib import Path

import matplotlib
import pytest
from pages import blocks

ROOT = Path(__file__).parent.parent


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Run all Python of a page in a folder with the boards of the repository; what its variables are at the end."""
    (tmp_path / "leaderboards").symlink_to(ROOT / "leaderboards")
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")

    def run(name):
        variables = {}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for block in blocks(name):
                if block["kind"] == "python":
                    exec(compile(block["text"], name, "exec"), variables)
        return variables

    return run


def test_the_suite_of_its_page_can_be_planned(page, cli):
    (example,) = (block["text"] for block in blocks("suites.md") if block["kind"] == "toml")
    Path("my-suite").mkdir()
    Path("my-suite/suite.toml").write_text(example)
    code, out, err = cli("status", "my-suite")
    assert code == 0 and out.startswith("216 cells"), out + err


def test_the_analysis_works(page, tmp_path):
    found = page("analysis.md")
    assert (tmp_path / "analysis.png").stat().st_size < 60_000
    assert found["points"].loc["quick"].shape[0] == 12
    assert found["low"] < found["high"] < 0
    assert found["tpr"][-1] == found["fpr"][-1] == 1


def test_records_are_read_as_their_page_says(page):
    found = page("records.md")
    assert found["wins"] == found["attack"]["calibrated"]["auroc"]["value"]
    assert (found["sides"][0] == found["scores"][f"members/{found['setting']}"]).all()
    assert found["again"] == found["made"].attack.calibrated.auroc.value
    assert found["data"].fingerprint == found["made"].split.fingerprint
