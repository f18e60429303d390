"""Each problem that a folder of records can have is found, and all of them at once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from made_records import ENVIRONMENT, metrics, scores

from mibench.errors import UsageError
from mibench.metrics.auroc import auroc
from mibench.results.attack_metrics import attack_metrics
from mibench.results.figures import METRICS, AttackMetrics, Estimate, packed
from mibench.results.known import Known
from mibench.results.record import FORMAT, Record, digest_of, write_record
from mibench.results.validate import validate
from mibench.suite.cells import Cell
from mibench_attacks import SecMI
from mibench_attacks.adaptive import Adaptive
from mibench_attacks.loss import Loss
from mibench_defenses import VP

PATH = "digits/vp/loss-s0.json"
LOSS = Loss()
AREAS = {LOSS.published: 0.625, "x": 0.75}


def told(areas: dict[str, float], members: int = 80, nonmembers: int = 320) -> AttackMetrics:
    """What the harness says of scores with these AUROCs, of which as many again are for calibration."""
    sides: dict[str, torch.Tensor] = {}
    for setting, area in areas.items():
        for side, values in zip(("members", "nonmembers"), scores(area, members, nonmembers), strict=True):
            sides[f"{side}/{setting}"] = torch.from_numpy(values).repeat(2).double()
    cuts = {"members": members, "nonmembers": nonmembers}
    return attack_metrics(sides, cuts, LOSS, VP(), "s")


ATTACK = told(AREAS)
NAMES = {"dataset": "digits", "defense": "vp", "attack": "loss"}
SPLIT = {"fingerprint": "f", "near_duplicates": 0, "members": 10, "nonmembers": 10, "reference": 10}


def cell(**changes: Any) -> dict[str, Any]:
    """What the cell's key is computed from; the components are at version 2."""
    parts = {kind: {"name": name, "version": 2, "options": {}} for kind, name in NAMES.items()}
    return {**parts, "seed": 0, "model": "trained", **changes}


def record(auroc: Estimate | None = None, **changes: Any) -> Record:
    """A record that belongs at ``PATH``, its key right unless it is among the changes."""
    chosen = dict.fromkeys(("published", "calibrated", "oracle"), ATTACK.calibrated.model_copy(update={"auroc": auroc}))
    values: dict[str, Any] = {
        "status": "done",
        "labels": NAMES,
        "cell": cell(),
        "split": SPLIT,
        "model": {"key": "m", "digest": "w"},
        "cost": {"forwards": 1.0, "vjps": 0.0},
        "environment": ENVIRONMENT,
        "seconds": 1.0,
        "attack": ATTACK.model_copy(update=chosen if auroc else {}),
    } | changes
    key = digest_of({"format": FORMAT, "weights": values["model"].get("digest"), **values["cell"]})
    return Record(**({"key": key} | values)).sealed()


def put(folder: Path, made: Record, path: str = PATH) -> Path:
    write_record(folder / "records" / path, made)
    return folder / "records" / path


def problems(folder: Path, versions: Any = None, find: Any = lambda kind, label: None) -> list[str]:
    registered = {("defense", "wave"): 2} | {(kind, name): 2 for kind, name in NAMES.items()}
    return validate(folder, Known(registered | (versions or {}), find))[0]


def the_problem(folder: Path, where: str, *words: str, **known: Any) -> None:
    """The record at this path has a problem that is told in these words; no other record has any."""
    (line,) = problems(folder, **known)
    assert line.startswith(f"records/{where}: ") and all(word in line for word in words), line


def seed(number: int, **changes: Any) -> Record:
    return record(cell=cell(seed=number), **changes)


def test_nothing_to_find(tmp_path: Path) -> None:
    assert problems(tmp_path) == []
    put(tmp_path, record())
    put(tmp_path, seed(1, model={"key": "m1", "digest": "w1"}), "digits/vp/loss-s1.json")
    assert problems(tmp_path) == problems(tmp_path, {("attack", "loss"): 2, ("attack", "other"): 9}) == []


@pytest.mark.parametrize("model", ["trained", "exact"])
def test_paths_are_those_of_cells(tmp_path: Path, model: Any) -> None:
    labels = {"dataset": "digits:members=20", "defense": "hold3", "attack": "pia:times=[0.1,0.2]"}
    parts: dict[str, Any] = {kind: SimpleNamespace(label=label) for kind, label in labels.items()}
    path = Cell(**parts, seed=4, model_kind=model, recipe=None, utility=None).path  # type: ignore[arg-type]
    put(tmp_path, record(labels=labels, cell=cell(seed=4, model=model)), path)
    assert problems(tmp_path) == []


def test_edited(tmp_path: Path) -> None:
    path = put(tmp_path, record())
    path.write_text(path.read_text().replace("0.7", "0.9"))
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"records/{PATH}: ") and "edited" in problem and str(tmp_path) not in problem


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', "\udcff"])
def test_unreadable(tmp_path: Path, text: str) -> None:
    put(tmp_path, record()).write_bytes(text.encode(errors="surrogateescape"))
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"records/{PATH}: ") and "\n" not in problem


def test_not_finite(tmp_path: Path) -> None:
    path = put(tmp_path, record())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"environment": {"x": float("nan")}}))
    assert len(problems(tmp_path)) == 1


def test_lacking(tmp_path: Path) -> None:
    path = put(tmp_path, record())
    sound = json.loads(path.read_text())
    for name in ("cost", "split", "environment", "attack", "model.key", "model.digest", "labels.attack", "cell.seed"):
        broken = json.loads(json.dumps(sound))
        part, _, inner = name.rpartition(".")
        del (broken[part] if part else broken)[inner]
        seal(path, broken)
        (problem,) = problems(tmp_path)
        assert problem.startswith(f"records/{PATH}: ") and (name in problem or part == "labels"), problem
    for status in ("n/a", "failed"):
        seal(path, sound | {"status": status})
        (problem,) = problems(tmp_path)
        assert "lacks reason" in problem


def seal(path: Path, content: dict[str, Any]) -> None:
    content["digest"] = digest_of({name: part for name, part in content.items() if name != "digest"})
    path.write_text(json.dumps(content))


def test_key(tmp_path: Path) -> None:
    put(tmp_path, record(key="0" * 64))
    the_problem(tmp_path, PATH, "its key")


def test_a_failed_cell_is_no_problem(tmp_path: Path) -> None:
    """With its model's weights or, where that could not be made, without."""
    bare: dict[str, Any] = {"status": "failed", "reason": "was killed"}
    bare |= dict.fromkeys(("attack", "split", "cost", "environment"))
    put(tmp_path, record())
    put(tmp_path, seed(1, model={"key": "m", "digest": "w"}, **bare), "digits/vp/loss-s1.json")
    parts = cell(seed=2)
    key = digest_of({"format": FORMAT, "weights": "", **parts})
    put(tmp_path, record(cell=parts, key=key, model={"key": "m2"}, **bare), "digits/vp/loss-s2.json")
    assert problems(tmp_path) == []


def test_wrong_path(tmp_path: Path) -> None:
    put(tmp_path, record(), "digits/ve/loss-s0.json")
    the_problem(tmp_path, "digits/ve/loss-s0.json", f"belongs at records/{PATH}")


def test_duplicates(tmp_path: Path) -> None:
    put(tmp_path, record())
    put(tmp_path, record(), "digits/vp/loss-s1.json")
    assert any(f"loss-s1.json: has the same key as records/{PATH}" in line for line in problems(tmp_path))


def test_one_model_with_two_weights(tmp_path: Path) -> None:
    put(tmp_path, record())
    put(tmp_path, seed(1, model={"key": "m", "digest": "w1"}), "digits/vp/loss-s1.json")
    the_problem(tmp_path, "digits/vp/loss-s1.json", "other weights", PATH)


def test_one_dataset_with_two_splits(tmp_path: Path) -> None:
    """Of one seed; attacks on two splits cannot be paired."""
    put(tmp_path, record())
    other = SPLIT | {"fingerprint": "g"}
    put(tmp_path, seed(1, split=other, model={"key": "m1", "digest": "w1"}), "digits/vp/loss-s1.json")
    assert problems(tmp_path) == []
    labels = record().labels | {"defense": "wave"}
    on_wave = cell(defense={"name": "wave", "version": 2, "options": {}})
    put(
        tmp_path,
        record(labels=labels, cell=on_wave, split=other, model={"key": "e", "digest": "w2"}),
        "digits/wave/loss-s0.json",
    )
    the_problem(tmp_path, "digits/wave/loss-s0.json", "another split", PATH)


@pytest.mark.parametrize(("kind", "name"), [("dataset", "digits"), ("defense", "vp"), ("attack", "loss")])
def test_stale(tmp_path: Path, kind: str, name: str) -> None:
    put(tmp_path, record())
    for version in (3, 1):
        the_problem(tmp_path, PATH, f"stale: {kind} {name}", "version 2", versions={(kind, name): version})


def test_components_that_are_not_registered_are_compared_with_the_other_records(tmp_path: Path) -> None:
    strange = record().labels | {"attack": "strange"}
    for number in (0, 1):
        at = cell(seed=number, attack={"name": "strange", "version": 2 - number, "options": {}})
        made = record(labels=strange, cell=at, model={"key": f"m{number}", "digest": "w"})
        put(tmp_path, made, f"digits/vp/strange-s{number}.json")
    assert problems(tmp_path) == [
        "records/digits/vp/strange-s1.json: is stale: attack strange was at version 1 and is now at 2; run the suite again",
        "2 records could not be checked: attack strange is not registered; install the plugin or give --plugin",
    ]


def test_what_a_wrapper_wraps_can_be_stale_or_unknown(tmp_path: Path) -> None:
    base = {"name": "loss", "version": 2, "options": {}}
    wrapper = {"name": "filter", "version": 1, "options": {}, "base": base}
    put(tmp_path, record(cell=cell(attack=wrapper)))
    the_problem(tmp_path, PATH, "stale: attack loss", versions={("attack", "loss"): 3, ("attack", "filter"): 1})
    assert "attack filter is not registered" in problems(tmp_path)[0]


def test_a_label_whose_options_are_refused_is_stale(tmp_path: Path) -> None:
    def refuse(kind: str, label: str) -> Any:
        raise UsageError("unknown option")

    put(tmp_path, record())
    the_problem(tmp_path, PATH, "is stale: its dataset is not the one that its label digits names", find=refuse)


def test_impossible_numbers(tmp_path: Path) -> None:
    put(tmp_path, record(auroc=Estimate(value=1.5, interval=(0.6, 0.8))))
    lines = problems(tmp_path)
    assert f"records/{PATH}: calibrated AUROC 1.5 lies outside [0, 1]" in lines
    assert f"records/{PATH}: oracle AUROC: the interval [0.6, 0.8] does not contain 1.5" in lines
    assert f"records/{PATH}: its ranks do not give its calibrated AUROC" in lines


def changed(told: Any, path: str, value: Any) -> Any:
    """The same with one value, at a path, changed."""
    first, _, rest = path.partition("/")
    if isinstance(told, dict):
        return {**told, first: changed(told[first], rest, value) if rest else value}
    return told.model_copy(update={first: changed(getattr(told, first), rest, value) if rest else value})


def near(estimate: Estimate) -> Estimate:
    assert estimate.interval is not None
    return estimate.model_copy(update={"interval": (estimate.interval[0] - 1e-9, estimate.interval[1])})


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("ranks", told({"x": 0.7}).ranks, "its ranks do not give its calibrated AUROC"),
        (
            "calibrated/auroc",
            near(ATTACK.calibrated.auroc),
            "its ranks do not give its calibrated interval of the AUROC",
        ),
        ("calibrated/tpr/0.1", Estimate(value=0.5), "its ranks do not give its calibrated TPR@FPR=0.1"),
        ("calibrated/tpr/0.01", Estimate(value=0.5), "its ranks do not give its calibrated TPR@FPR=0.01"),
        ("calibrated/tpr/0.1", near(ATTACK.calibrated.tpr["0.1"]), "its calibrated interval of the TPR@FPR=0.1"),
        ("calibrated/fixed/tpr", 0.9125, "its ranks do not give its calibrated TPR and FPR at any one threshold"),
        ("oracle/fixed/tpr", 0.123, "oracle count of samples above the threshold does not follow from its rates"),
        ("oracle/fixed/accuracy", Estimate(value=0.9), "oracle accuracy does not follow from its rates"),
        (
            "published/fixed/accuracy",
            near(ATTACK.published.fixed.accuracy),
            "published interval of the accuracy does not",
        ),
        ("oracle/fixed/epsilon", 3.0, "oracle ε does not follow from its rates"),
        (
            "settings",
            {LOSS.published: (0.8, 0.625), "x": (0.75, 0.75)},
            "calibrated x is not the setting with the largest",
        ),
        ("settings", {LOSS.published: (0.6, 0.8), "x": (0.75, 0.75)}, "oracle x is not the setting with the largest"),
        (
            "settings",
            {LOSS.published: (0.6, 0.6), "x": (0.75, 0.75)},
            "published AUROC is not that of its setting t=0.35",
        ),
        ("published/setting", "y", "published y is none of its settings"),
    ],
)
def test_figures_that_do_not_follow_from_the_record(tmp_path: Path, path: str, value: Any, problem: str) -> None:
    """Though whoever changed them has sealed the record anew."""
    put(tmp_path, record(attack=changed(ATTACK, path, value)))
    assert any(problem in line for line in problems(tmp_path)), problems(tmp_path)


def test_what_the_components_say_otherwise(tmp_path: Path) -> None:
    """Tier, adaptive and the published setting are theirs to say; a stale record is only called stale."""
    parts: dict[str, Any] = {"attack": LOSS, "defense": VP()}
    specs = cell(attack=LOSS.spec(), defense=VP().spec())

    versions = {(kind, one.name): one.version for kind, one in parts.items()}
    known = {"versions": versions, "find": lambda kind, label: parts.get(kind)}
    put(tmp_path, record(cell=specs))
    assert problems(tmp_path, **known) == []
    wrong = {"tier": "samples", "adaptive": True, "published": ATTACK.calibrated}
    put(tmp_path, record(cell=specs, attack=ATTACK.model_copy(update=wrong)))
    assert problems(tmp_path, versions) == []
    assert problems(tmp_path, **known) == [
        f"records/{PATH}: its tier is samples, that of loss is network",
        f"records/{PATH}: adaptive is True, for loss on vp it is False",
        f"records/{PATH}: published is x, for loss it is t=0.35",
    ]
    newer = versions | {("attack", "loss"): LOSS.version + 1}
    the_problem(tmp_path, PATH, "stale: attack loss", versions=newer, find=known["find"])
    parts["attack"] = SecMI()
    assert any("its attack is not the one" in line for line in problems(tmp_path, **known))
    assert VP().meets_adaptively(Adaptive()) and not VP().meets_adaptively(LOSS)


def test_ranks_of_another_attack(tmp_path: Path) -> None:
    other = told({"x": 0.7}).ranks
    put(tmp_path, record(attack=ATTACK.model_copy(update={"ranks": other[::-1]})))
    assert problems(tmp_path) == [f"records/{PATH}: its ranks are not those of 80 members and 320 non-members"]


@pytest.mark.parametrize("text", ["", "?", "AAAA", packed(np.arange(9)), packed(np.arange(7) + 70000)])
def test_ranks_that_are_none(tmp_path: Path, text: str) -> None:
    put(tmp_path, record(attack=ATTACK.model_copy(update={"ranks": (ATTACK.ranks[0], text)})))
    assert problems(tmp_path) == [f"records/{PATH}: its ranks are not those of 80 members and 320 non-members"]


def test_many_ranks_are_read_back() -> None:
    """More than 65 536 different scores need wider numbers."""
    many = metrics(scores(0.6, 40000, 40000))
    members, nonmembers = many.ranked()
    assert (len(members), len(nonmembers)) == (40000, 40000) and max(members.max(), nonmembers.max()) > 65535
    assert auroc(members, nonmembers) == many.calibrated.auroc.value


def test_metrics_of_an_older_version(tmp_path: Path) -> None:
    put(tmp_path, record(attack=ATTACK.model_copy(update={"version": METRICS - 1})))
    (problem,) = problems(tmp_path)
    assert f"version {METRICS - 1} and not {METRICS}" in problem and "mibench upgrade" in problem


def test_strangers(tmp_path: Path) -> None:
    put(tmp_path, record())
    (tmp_path / "records" / "notes.txt").write_text("?")
    the_problem(tmp_path, "notes.txt", "is no record of mibench", "move it elsewhere")
    (tmp_path / "records" / "notes.txt").rename(tmp_path / "records" / "notes.json")
    the_problem(tmp_path, "notes.json", "is no record of mibench", "move it elsewhere")


def test_all_at_once(tmp_path: Path) -> None:
    put(tmp_path, record(key="0"), "a.json")
    (tmp_path / "records" / "b.json").write_text("{")
    (tmp_path / "records" / "c").write_text("")
    assert len(problems(tmp_path, {("attack", "loss"): 3})) == 5


def test_trainings_that_do_not_compare(tmp_path: Path) -> None:
    """Records of a suite whose recipe was changed, and that was not run to its end since."""
    put(tmp_path, record(cell=cell(recipe={"steps": 60})))
    put(tmp_path, seed(1, model={"key": "m1", "digest": "w1"}), "digits/vp/loss-s1.json")
    assert problems(tmp_path) == []
    other = record(cell=cell(seed=2, recipe={"steps": 50}), model={"key": "m2", "digest": "w2"})
    put(tmp_path, other, "digits/vp/loss-s2.json")
    the_problem(tmp_path, "digits/vp/loss-s2.json", "another recipe", PATH)
