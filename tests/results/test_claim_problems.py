"""A privacy claim in a record is computed again, and compared with the training that the record tells of."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from made_records import KNOWN, metrics, put, scores

from mibench import Defense, Recipe
from mibench.claims import Claim
from mibench.results.claimed import claim_problems
from mibench.results.facts import ComponentFacts
from mibench.results.known import Known
from mibench.results.record import Record, read_record, write_record
from mibench.results.validate import validate
from mibench_defenses import VP

CLAIM = Claim.of(noise=1.5, rate=0.64, steps=10, delta=1e-5, clip=0.5, draws=4)
EPSILON = CLAIM.epsilon or 0.0


class Private(VP):
    """Claims what ``CLAIM`` says, for 100 members."""

    def claim(self, members: int, recipe: Recipe, steps: int | None = None) -> Claim | None:
        """See Defense."""
        changes = {"rate": CLAIM.rate * 100 / members, "steps": steps or recipe.steps}
        return Claim.of(**CLAIM.model_copy(update=changes).model_dump(exclude={*OTHERS}))


OTHERS = ("epsilon", "sampling", "relation", "accountant")


def at_hand(defense: Defense | None) -> Known:
    """Components in which a record of "vp" is of this defense."""
    return Known(
        {**KNOWN.versions, ("defense", "vp"): VP.version}, lambda kind, label: defense if kind == "defense" else None
    )


def problems(record: Record, defense: Defense | None = None) -> list[str]:
    return claim_problems({"r.json": record}, at_hand(defense))


def recorded(folder: Path, *, attack: str = "loss", **changes: Any) -> Record:
    """A record of this claim, in its file and sealed; changes are of the claim."""
    path = put(folder, "vp", attack, 0, attack=metrics(scores(0.6)))
    before = read_record(path)
    model = before.model.model_copy(update={"claim": CLAIM.model_copy(update=changes)})
    cell = before.cell.model_copy(update={"defense": ComponentFacts(**VP().spec())})
    write_record(path, before.model_copy(update={"model": model, "cell": cell}).sealed())
    return read_record(path)


def test_a_record_without_a_claim_is_as_it_was(tmp_path: Path) -> None:
    record = read_record(put(tmp_path, "vp", "loss", 0, attack=metrics(scores(0.6))))
    assert "claim" not in record.model_dump(mode="json")["model"]
    assert problems(record) == []


def test_a_sound_claim_is_read_back(tmp_path: Path) -> None:
    record = recorded(tmp_path)
    assert record.model.claim == CLAIM and problems(record) == []
    near = recorded(tmp_path, epsilon=EPSILON * (1 + 5e-4))
    assert problems(near) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise": 1.6}, ["ε = ", "noise 1.6"]),
        ({"epsilon": EPSILON - 0.05}, [f"give {EPSILON:.4g}"]),
        ({"epsilon": None}, ["ε = none up to 1000", f"give {EPSILON:.4g}"]),
        ({"delta": 1e-3}, ["δ = 0.001"]),
        ({"noise": 0.01}, ["give none up to 1000"]),
        ({"steps": 9}, ["of 9 steps, its model of 10", "drawn 5.76 times on average, by its model 6.4", "9 steps"]),
        ({"rate": 0.32}, ["drawn 3.2 times on average, by its model 6.4", "rate 0.32"]),
    ],
)
def test_an_edited_claim_is_named(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    """Though whoever changed it has sealed the record anew."""
    lines = problems(recorded(tmp_path, **changes))
    assert lines and all(line.startswith("records/r.json: ") and "\n" not in line for line in lines)
    assert all(any(word in line for line in lines) for word in words), lines


def test_the_claim_of_the_values_that_were_edited_passes_for_these_alone(tmp_path: Path) -> None:
    """An edited number of steps with the ε that belongs to it is found by the model's own."""
    (problem, _) = problems(recorded(tmp_path, **CLAIM.after(5).model_dump()))
    assert "its claim is of 5 steps, its model of 10" in problem


def test_without_the_accountant_nothing_is_called_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting.pld.privacy_loss_distribution", None)
    recorded(tmp_path, noise=1.7, attack="pia")
    recorded(tmp_path, noise=1.71)
    lines = validate(tmp_path, Known())[0]
    (line,) = [line for line in lines if "privacy claims" in line]
    assert line.startswith("2 privacy claims could not be checked") and "pip install 'mibench[dp]'" in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clip": 5.0}, "its claim is of clip 5, that of vp of clip 0.5"),
        ({"draws": 1}, "its claim is of draws 1, that of vp of draws 4"),
        ({"delta": 1e-3, "epsilon": None}, "its claim is of delta 0.001, that of vp of delta 1e-05"),
    ],
)
def test_a_claim_that_its_defense_does_not_make(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """Where the defense is at hand, what has no part in ε is compared, too."""
    assert any(f"records/r.json: {words}; " in line for line in problems(recorded(tmp_path, **changes), Private()))
    assert not any(words in line for line in problems(recorded(tmp_path, **changes)))


def test_the_rate_is_that_of_the_members_in_the_split(tmp_path: Path) -> None:
    """Though the epochs are edited with it; members that a defense leaves out make the true rate larger, never smaller."""
    assert problems(recorded(tmp_path), Private()) == []
    half = Claim.of(noise=1.5, rate=0.32, steps=10, delta=1e-5, clip=0.5, draws=4)
    record = recorded(tmp_path, **half.model_dump())
    record = record.model_copy(update={"model": record.model.model_copy(update={"epochs_per_member": 3.2})})
    assert problems(record) == []
    (line,) = problems(record, Private())
    assert "its claim is of rate 0.32, that of vp of rate 0.64" in line


def test_a_claim_more_or_less(tmp_path: Path) -> None:
    record = recorded(tmp_path)
    assert ["it has a claim, and vp makes none" in line for line in problems(record, VP())] == [True]
    bare = record.model_copy(update={"model": record.model.model_copy(update={"claim": None})})
    assert ["it has no claim, and vp makes one" in line for line in problems(bare, Private())] == [True]
    exact = bare.model_copy(update={"cell": bare.cell.model_copy(update={"recipe": None})})
    assert problems(bare, VP()) == problems(exact, Private()) == []
