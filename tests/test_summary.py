"""The lines that ``mibench run`` prints for a cell: the claim of its defense."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from made_records import metrics, put, scores

from mibench.claims import Claim
from mibench.cli.summary import print_summary


def line(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What is printed of this record."""
    cell = SimpleNamespace(attack="loss", title="a cell", model_key="m")
    print_summary(cast(Any, SimpleNamespace(cells=[cell], path=lambda cell: path)))
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("epsilon", "delta", "words"),
    [
        (9.9995, 1e-5, " · claims (10, 1e-05) · "),
        (None, 1e-5, " · no claim (ε above 1000) · "),
        (10.0, 0.01, " · claims (10, 0.01), whose δ is 1/members or more and allows it to give a member away · "),
        (10.0, 0.0099, " · claims (10, 0.0099) · "),
    ],
)
def test_the_line_of_a_cell_names_the_claim(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], epsilon: float | None, delta: float, words: str
) -> None:
    claim = Claim(epsilon=epsilon, delta=delta, noise=1, rate=0.1, steps=10, clip=1, draws=1, accountant="by hand")
    assert words in line(put(tmp_path, "hold3", "loss", 0, attack=metrics(scores(0.7)), claim=claim), capsys)


def test_a_defense_that_claims_nothing_has_no_such_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "claim" not in line(put(tmp_path, "vp", "loss", 0, attack=metrics(scores(0.7))), capsys)
