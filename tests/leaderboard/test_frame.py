"""The frame of all records, as users get it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from made_records import attacked, put, sampled

import mibench
from mibench.leaderboard.frame import COLUMNS

SUITE = 'datasets = ["digits"]\ndefenses = ["vp"]\nattacks = ["loss"]\nseeds = [0, 1]\n'


def everything(*suites: Path) -> pd.DataFrame:
    """Also what is stale, as records made by hand are: the options of their components are not those of the registered ones."""
    return mibench.records(*suites, current_only=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "suite.toml").write_text(SUITE)
    attacked(tmp_path, "vp", "loss", 0.7, 0.8)
    attacked(tmp_path, "vp", "loss", 0.5, model="fresh")
    sampled(tmp_path, "vp", 0.25)
    put(tmp_path, "vp", "gsa", 0, status="n/a", reason="needs weights")
    return tmp_path


def test_a_row_for_each_record_and_a_column_for_each_figure(folder: Path) -> None:
    frame = everything(folder)
    assert list(frame.columns) == list(COLUMNS) and len(frame) == 5 and set(frame["suite"]) == {folder.name}
    loss = frame[(frame.attack == "loss") & (frame.model_kind == "trained")].set_index("seed")
    assert list(loss.calibrated_auroc) == [0.7, 0.8] and list(loss.calibrated_setting) == ["t=0.1", "t=0.2"]
    assert (loss.calibrated_auroc_low < loss.calibrated_auroc).all() and list(loss["tpr_at_0.1"]) == [0.3, 0.4]
    assert loss["tpr_at_0.01"].isna().all() and loss.fd.isna().all() and (loss.accuracy == 0.6).all()
    samples = frame[frame.attack == "utility"].iloc[0]
    assert (samples.fd, samples.fraction, samples.fd_null, samples.samples) == (10, 0.25, 0.5, 1000)
    assert samples.space == "random-conv-64" and pd.isna(samples.tier)
    (gsa,) = frame[frame.status == "n/a"].to_dict("records")
    assert gsa["reason"] == "needs weights" and (folder / gsa["path"]).is_file() and gsa["record"].key == gsa["key"]


def test_the_worst_attack_of_the_board_by_a_groupby(folder: Path) -> None:
    """What the documentation shows: means over seeds, then the largest over attacks."""
    attacked(folder, "vp", "pia", 0.72, 0.74)
    frame = everything(folder)
    trained = frame[(frame.model_kind == "trained") & (frame.checkpoint == 0)]
    means = trained.groupby(["defense", "attack"]).calibrated_auroc.mean()
    assert means.groupby("defense").max()["vp"] == pytest.approx(0.75)


def test_several_suites_and_suites_that_do_not_exist(folder: Path) -> None:
    assert len(everything(folder, folder / "suite.toml")) == 10
    with pytest.raises(mibench.UsageError, match="no-such-suite"):
        mibench.records("no-such-suite")


def test_a_suite_without_records_has_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(SUITE)
    assert list(mibench.records(tmp_path).columns) == list(COLUMNS)


def test_types_do_not_depend_on_what_is_missing(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "empty" / "suite.toml").write_text(SUITE)
    none, some = mibench.records(folder / "empty"), everything(folder, folder / "empty")
    assert (none.dtypes["samples"], some.dtypes["samples"], some.dtypes["adaptive"]) == ("int64", "float64", "object")
    integers = [name for name, (kind, _) in COLUMNS.items() if kind == "integer" and some[name].isna().any()]
    same = [name for name in COLUMNS if name not in (*integers, "adaptive")]
    assert none[same].dtypes.equals(some[same].dtypes)
    assert all(some[name].dtype == "float64" for name, (kind, _) in COLUMNS.items() if kind == "number")
    assert pd.Series(["text"]).dtype == some["reason"].dtype == some["inception_space"].dtype


def test_pandas_is_loaded_when_it_is_needed() -> None:
    code = (
        "import sys, mibench, mibench.cli.run, mibench.cli.cache; mibench.records; assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
