"""The Python interface: what a record gives without its store, and with it."""

import numpy as np
import pytest
import torch
from benches import SMALL

import mibench
from mibench.data import split
from mibench.metrics.auroc import auroc
from mibench.results.record import read_record


@pytest.fixture
def pia(exact_suite):
    """A record whose scores and model are in the default store."""
    return read_record(exact_suite.pia)


def test_every_public_name_is_listed_and_there():
    assert set(mibench.__all__) <= set(dir(mibench))
    assert all(getattr(mibench, name) is not None for name in dir(mibench))
    with pytest.raises(AttributeError):
        mibench.nothing  # noqa: B018


def test_a_record_is_one_readable_line(exact_suite, pia):
    best = pia.attack.calibrated
    assert repr(pia) == str(pia) and repr(pia).count("\n") == 0 and len(repr(pia)) < 200
    for part in ("vp · pia · seed 0 · exact model", "done", f"AUROC {best.auroc.value:.3f} [", f"at {best.setting}"):
        assert part in repr(pia)
    sampled = read_record(exact_suite.utility)
    assert f"FD (random-conv-64) {sampled.utility.distance:.4g}" in repr(sampled)
    failed = pia.model_copy(update={"status": "failed", "reason": "was killed", "attack": None})
    assert "failed (was killed)" in repr(failed)


def test_the_area_under_the_curve_is_the_auroc(pia):
    fpr, tpr = mibench.roc(pia)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(tpr, fpr) == pytest.approx(pia.attack.calibrated.auroc.value, abs=1e-12)


def test_a_curve_of_committed_records_needs_no_store():
    frame = mibench.records("leaderboards/quick")
    row = frame[(frame.attack == "pia") & (frame.defense == "cld") & (frame.model_kind == "trained")].iloc[0]
    fpr, tpr = mibench.roc(row)
    assert np.trapezoid(tpr, fpr) == pytest.approx(row.calibrated_auroc, abs=1e-12)


def test_a_record_may_be_given_in_every_way(exact_suite, pia):
    frame = mibench.records(exact_suite.folder)
    rows = frame[frame.attack == "pia"]
    for given in (exact_suite.pia, str(exact_suite.pia), rows.iloc[0], next(rows.itertuples())):
        assert np.array_equal(mibench.roc(given), mibench.roc(pia))
    with pytest.raises(mibench.UsageError, match="int"):
        mibench.roc(3)


def test_scores_are_those_of_the_record(pia):
    scores = mibench.scores(pia)
    assert scores.keys() == pia.attack.settings.keys()
    for setting, (calibration, evaluation) in pia.attack.settings.items():
        members, nonmembers = scores[setting]
        assert len(members) == pia.split.members and len(nonmembers) == pia.split.nonmembers
        assert auroc(members[4:], nonmembers[8:]) == evaluation
        assert auroc(members[:4], nonmembers[:8]) == calibration


def test_the_model_is_the_one_that_was_attacked(pia):
    model = mibench.model(pia)
    members = split(mibench.dataset(SMALL), 0).members[:3].double()
    assert isinstance(model, mibench.Model) and model.shape == (1, 8, 8)
    state = model.at_rest(members)
    assert torch.isfinite(model.eps(state, model.process.t_min)).all() and model.cost.forwards == 3
    assert mibench.model(pia).cost.forwards == 0


@pytest.mark.parametrize("get", [mibench.scores, mibench.model])
def test_what_the_store_lacks_is_said_with_a_remedy(get, pia, tmp_path):
    with pytest.raises(mibench.MibenchError, match="does not hold the .*mibench run --record"):
        get(pia, store=tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_another_model_than_that_of_the_record_is_not_given(pia):
    other = pia.model_copy(update={"model": pia.model.model_copy(update={"digest": "0" * 64})})
    with pytest.raises(mibench.MibenchError, match="does not hold the models"):
        mibench.model(other)


@pytest.mark.parametrize("get", [mibench.scores, mibench.roc])
def test_samples_have_no_scores(get, exact_suite):
    with pytest.raises(mibench.MibenchError, match="no scores"):
        get(exact_suite.utility)


def test_run_takes_options_as_text_or_by_name(in_process):
    cell = dict(defense="vp", attack="pia", dataset=SMALL, model="exact")
    one = mibench.run(**cell, utility="samples=100,evaluations=4")
    other = mibench.run(**cell, utility={"samples": 100, "evaluations": 4}, recipe={}, device="cpu", time_limit=60)
    assert (one.key, one.seconds) == (other.key, other.seconds), "it was computed again"
    with pytest.raises(mibench.UsageError, match="sample"):
        mibench.run(**cell, utility={"sample": 100})
    with pytest.raises(mibench.UsageError, match="steps"):
        mibench.run(**cell, recipe={"steps": 0})


def test_options_by_name_and_as_text_are_the_same_suite():
    from mibench.suite.loose import loose_suite

    names = [SMALL], ["vp"], ["pia"], [0]
    text = loose_suite(*names, recipe="steps=20,width=16,augment=flip", utility="samples=200")
    assert text == loose_suite(*names, recipe={"steps": 20, "width": 16, "augment": "flip"}, utility={"samples": 200})


@pytest.mark.parametrize(
    "wrong",
    [
        {"device": "tpu"},
        {"workers": 0},
        {"time_limit": "30m"},
        {"time_limit": -1},
        {"plugins": "good.py"},
        {"seed": -1},
        {"seed": [1, 2]},
        {"recipe": 3},
        {"utility": "samples=5"},
        {"dataset": ["digits"]},
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(wrong):
    with pytest.raises(mibench.UsageError, match=f"^{next(iter(wrong))}[: ]"):
        mibench.run("vp", "pia", model="exact", **wrong)
