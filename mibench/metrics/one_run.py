"""What guesses of which canaries were trained on say of epsilon, from one training run (Steinke et al., arXiv 2305.08846).

Each of m canaries is trained on with probability 1/2, independently of the others. An attacker, who sees only what the training
gives away, guesses of some of them whether they were, and abstains on the rest. Under (epsilon, delta)-differential privacy the
right guesses are hardly more than those of randomised response. The samples of one model need not be independent for this.
"""

from __future__ import annotations

import math

from mibench.metrics.scores import check_fraction

__all__ = ["one_run_epsilon", "one_run_p_value"]

LARGEST = 700.0
"""An epsilon from which on e^epsilon overflows."""


def one_run_p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float = 0.0) -> float:
    """How likely so many right guesses are, at most, under (epsilon, delta)-differential privacy.

    With B ~ Binomial(guesses, e^epsilon / (1 + e^epsilon)) it is P[B >= correct] + 2 m delta max_i P[correct > B >= correct - i]
    / i over i = 1 ... correct (theorem 5.2 and appendix D of the paper).

    Args:
        canaries: m, how many canaries the attacker did not know of whether they were trained on.
        guesses: of how many of these it was guessed.
        correct: how many guesses are right.
        epsilon: at least 0.
        delta: in [0, 1).

    Raises:
        ValueError: where an argument is out of range.
    """
    _check(canaries, guesses, correct, delta)
    if not 0 <= epsilon < LARGEST:
        raise ValueError(f"epsilon must lie in [0, {LARGEST:g}), got {epsilon}")
    import numpy as np
    from scipy.special import betainc, gammaln  # here, as it takes a third of a second and most commands never need it

    rate = 1 / (1 + math.exp(-epsilon))
    tail = float(betainc(correct, guesses - correct + 1, rate)) if correct else 1.0
    if delta and correct:
        below = np.arange(correct - 1, -1, -1)
        ways = gammaln(guesses + 1) - gammaln(below + 1) - gammaln(guesses - below + 1)
        # the log of 1 - rate is -epsilon + that of the rate
        logs = ways + guesses * math.log(rate) - (guesses - below) * epsilon
        tail += 2 * canaries * delta * float((np.exp(logs).cumsum() / np.arange(1, correct + 1)).max())
    return min(tail, 1.0)


def one_run_epsilon(canaries: int, guesses: int, correct: int, delta: float = 0.0, level: float = 0.95) -> float:
    """Lower confidence bound on the epsilon of (epsilon, delta)-differential privacy, never below 0.

    It is the largest epsilon whose p-value is below 1 - level; with delta = 0 the logit of Clopper and Pearson's lower limit of
    the share of right guesses. Which canaries are guessed, and how many, must not be chosen by which guesses are right.

    Args:
        canaries, guesses, correct, delta: see ``one_run_p_value``.
        level: of confidence.

    Raises:
        ValueError: where an argument is out of range.
    """
    _check(canaries, guesses, correct, delta)
    check_fraction("level", level)
    if correct == 0:
        return 0.0
    from scipy.special import betaincinv, logit

    # delta only raises the p-value, so that the bound without it is the largest there can be
    low, high = 0.0, max(0.0, float(logit(betaincinv(correct, guesses - correct + 1, 1 - level))))
    if not delta:
        return high
    while high - low > 1e-9:
        middle = (low + high) / 2
        rejected = one_run_p_value(canaries, guesses, correct, middle, delta) < 1 - level
        low, high = (middle, high) if rejected else (low, middle)
    return low


def _check(canaries: int, guesses: int, correct: int, delta: float) -> None:
    if not 0 <= correct <= guesses <= canaries:
        raise ValueError(f"needs correct <= guesses <= canaries, got {correct}, {guesses} and {canaries}")
    if not 0 <= delta < 1:
        raise ValueError(f"delta must lie in [0, 1), got {delta}")
