"""The accountant against closed forms, against RDP and against itself."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from dp_accounting import dp_event, rdp
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mibench.claims import LARGEST, Claim, calibrated, spent
from mibench.diffusion.privacy import epsilon as gaussian
from mibench.errors import MibenchError, UsageError

DELTA = 1e-5
FIVE = [(0.64, 2.0, 500), (0.2, 1.0, 2000), (0.21, 3.0, 4000), (0.01, 0.8, 5000), (0.05, 30.0, 400)]


@pytest.mark.parametrize(("noise", "steps"), [(5.0, 1), (5.0, 20), (40.0, 400), (1.0, 100), (0.3, 30), (200.0, 40000)])
def test_without_sampling_it_is_the_gaussian_mechanism(noise: float, steps: int) -> None:
    """T steps of sensitivity 1 and noise σ are one with Δf = T/σ²."""
    assert spent(noise, 1.0, steps, DELTA) == pytest.approx(gaussian(steps / noise**2, DELTA), rel=1e-3)


def test_at_rate_one_in_figures() -> None:
    found = spent(5.0, 1.0, 20, DELTA)
    assert found is not None and found == pytest.approx(gaussian(0.8, DELTA), abs=1e-3)


@pytest.mark.parametrize(("rate", "noise", "steps"), FIVE)
def test_it_lies_below_renyi(rate: float, noise: float, steps: int) -> None:
    logging.getLogger("absl").setLevel(logging.ERROR)
    accountant = rdp.RdpAccountant([1.5, *range(2, 128), 256, 512, 1024])
    accountant.compose(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise)), steps)
    bound, found = accountant.get_epsilon(DELTA), spent(noise, rate, steps, DELTA)
    assert found is not None and 0.4 * bound < found < bound


def test_a_published_figure() -> None:
    """The design's own example, in which RDP gives 65.2; PRV of another library is within .012."""
    assert spent(2.0, 0.64, 500, DELTA) == pytest.approx(57.3, abs=0.05)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0, 100.0, LARGEST])
@pytest.mark.parametrize(("rate", "steps"), [(0.2, 2000), (1.0, 400), (0.02, 100)])
def test_calibration_is_the_inverse(epsilon: float, rate: float, steps: int) -> None:
    found = spent(calibrated(epsilon, rate, steps, DELTA), rate, steps, DELTA)
    assert found is not None and epsilon - (1e-3 if epsilon <= 100 else 0.1) <= found <= epsilon


def known(epsilon: float | None) -> float:
    return float("inf") if epsilon is None else epsilon


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    st.floats(0.4, 20),
    st.floats(0.01, 0.5),
    st.integers(1, 3000),
    st.floats(-8, -2),
    st.sampled_from(["noise", "rate", "steps", "delta"]),
)
def test_less_is_spent_with_more_noise_rarer_fewer_steps_and_a_larger_delta(
    noise: float, rate: float, steps: int, digits: float, which: str
) -> None:
    values: dict[str, Any] = {"noise": noise, "rate": rate, "steps": steps, "delta": 10**digits}
    factor = {"noise": 0.9, "rate": 1.2, "steps": 2, "delta": 0.5}[which]
    more = known(spent(**values | {which: values[which] * factor}))
    assert known(spent(**values)) <= more * 1.001


@pytest.mark.parametrize("noise", [1e-4, 0.05, 0.3])
def test_no_claim_above_the_largest(noise: float) -> None:
    assert spent(noise, 0.2, 2000, DELTA) is None
    assert Claim.of(noise=noise, rate=0.2, steps=2000, delta=DELTA, clip=1.0).epsilon is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.0, 0.2, 100, DELTA), "epsilon must be above 0"),
        ((-1.0, 0.2, 100, DELTA), "epsilon must be above 0"),
        ((float("nan"), 0.2, 100, DELTA), "epsilon must be above 0"),
        ((1001.0, 0.2, 100, DELTA), "at most 1000"),
        ((1.0, 0.2, 100, 0.0), "delta must lie between 0 and 1"),
        ((1.0, 0.2, 100, 1.0), "delta must lie between 0 and 1"),
        ((1.0, 0.0, 100, DELTA), "rate of sampling"),
        ((1.0, 1.1, 100, DELTA), "rate of sampling"),
        ((1.0, 0.2, 0, DELTA), "at least one step"),
        ((10.0, 1e-5, 1, 1e-4), "no noise gives epsilon = 10"),
        ((1.0, 0.2, 100, 1e-17), "no noise gives epsilon = 1 "),
    ],
)
def test_bad_input_is_one_line(values: tuple[float, float, int, float], words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        calibrated(*values)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("noise", [0.0, -1.0, float("inf"), float("nan")])
def test_a_noise_that_is_none(noise: float) -> None:
    with pytest.raises(UsageError, match="noise multiplier"):
        spent(noise, 0.2, 100, DELTA)


def test_without_the_accountant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting.pld.privacy_loss_distribution", None)
    with pytest.raises(MibenchError, match=r"pip install 'mibench\[dp\]'"):
        spent(1.25, 0.2, 100, DELTA)


def test_the_claim() -> None:
    claim = Claim.of(noise=2.0, rate=0.64, steps=500, delta=DELTA, clip=0.5, draws=4)
    assert claim.epsilon == spent(2.0, 0.64, 500, DELTA) and claim.accountant.startswith("dp-accounting ")
    earlier = claim.after(100)
    assert earlier.steps == 100 and known(earlier.epsilon) < known(claim.epsilon)
    assert earlier.model_copy(update={"steps": 500, "epsilon": claim.epsilon}) == claim
    assert Claim.model_validate_json(claim.model_dump_json(), strict=True) == claim
    for field, value in {"epsilon": 1001.0, "delta": 1.0, "noise": 0.0, "rate": 1.5, "steps": 0, "clip": 0.0}.items():
        with pytest.raises(ValidationError):
            Claim.model_validate(claim.model_dump() | {field: value})


@pytest.mark.parametrize(
    ("epsilon", "words"),
    [
        (10.0, "(10, 1e-05)"),
        (0.1, "(0.1, 1e-05)"),
        (0.09995, "(0.1, 1e-05)"),
        (9.9996, "(10, 1e-05)"),
        (2.311, "(2.32, 1e-05)"),
        (123.4, "(124, 1e-05)"),
        (0.0, "(0, 1e-05)"),
        (None, "no claim (ε above 1000)"),
    ],
)
def test_a_claim_is_written_with_epsilon_rounded_up(epsilon: float | None, words: str) -> None:
    made = Claim(epsilon=epsilon, delta=DELTA, noise=1, rate=0.1, steps=10, clip=1, draws=1, accountant="by hand")
    assert str(made) == words
