"""The n×n algebra of a linear SDE, certified: every number is the true one to the last digits of a double.

Ball arithmetic (Arb, through python-flint) carries an error bound with each value; where the bound is too wide, the
calculation is repeated with twice the digits. So no cancellation goes unnoticed, whatever order, time and variances.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

from flint import arb, arb_mat, ctx

__all__ = ["Exact", "exact"]

FIRST, LAST, BITS = 256, 1 << 14, 60
Row = tuple[float, ...]


class Exact(NamedTuple):
    """The law of u_τ given u_0 in doubles: E, the Cholesky factor L of Σ, L⁻¹ and a = L⁻¹ E[:, 0]."""

    transition: tuple[Row, ...]
    factor: tuple[Row, ...]
    inverse: tuple[Row, ...]
    whitened_mean: Row


@lru_cache(maxsize=1 << 14)
def exact(F: tuple[Row, ...], G: Row, initial: Row, tau: float) -> Exact:
    """E = exp(Fτ) and Σ = E Σ_0 Eᵀ + ∫₀^τ exp(Fs) G Gᵀ exp(Fs)ᵀ ds = L Lᵀ, for any matrix F.

    The integral is read off one matrix exponential (Van Loan, IEEE Trans. Automat. Contr. 23(3), 1978). Diagonals of L and
    L⁻¹ are right to 2⁻⁶⁰ of themselves, other entries to 2⁻⁶⁰ of the largest of their row, and then rounded.

    Args:
        F: (n, n) drift matrix.
        G: (n,) diffusion vector.
        initial: (n,) diagonal of Σ_0.
        tau: the process' own time, > 0.

    Raises:
        ValueError: where τ is not positive and finite, or Σ is singular: some variable receives no noise.
    """
    if not 0 < tau < math.inf:
        raise ValueError(f"the process' own time must be positive and finite, got τ = {tau:g}")
    precision = FIRST
    while precision <= LAST:
        with ctx.workprec(precision):
            law = _attempt(F, G, initial, tau)
        if law:
            return law
        precision *= 2
    raise ValueError("the noise does not reach every variable: F must couple them all to the last one")


def _attempt(F: tuple[Row, ...], G: Row, initial: Row, tau: float) -> Exact | None:
    """The calculation at the current precision, or None where that is too low."""
    n = len(G)
    block = arb_mat(2 * n, 2 * n)
    for i in range(n):
        for j in range(n):
            block[i, j], block[n + j, n + i] = -F[i][j], F[i][j]
            block[i, n + j] = arb(G[i]) * G[j]
    grown = (block * arb(tau)).exp()
    E = arb_mat([[grown[n + j, n + i] for j in range(n)] for i in range(n)])
    start = arb_mat([[initial[i] if i == j else 0.0 for j in range(n)] for i in range(n)])
    driven = E * arb_mat([[grown[i, n + j] for j in range(n)] for i in range(n)])
    sigma = driven + E * start * E.transpose()
    L = arb_mat(n, n)
    for i in range(n):
        for j in range(i + 1):
            rest = sigma[i, j]
            for k in range(j):
                rest -= L[i, k] * L[j, k]
            L[i, j] = rest.sqrt() if i == j else rest / L[j, j]
        if not L[i, i].rel_accuracy_bits() >= BITS or not L[i, i] > 0:
            return None
    inverse = L.solve(arb_mat(n, n, [int(i == j) for i in range(n) for j in range(n)]))
    whitened_mean = inverse * arb_mat([[E[i, 0]] for i in range(n)])
    tables = [[[m[i, j] for j in range(n)] for i in range(n)] for m in (E, L, inverse)]
    tables.append([[whitened_mean[i, 0] for i in range(n)]])
    if not all(_sharp(row) for table in tables for row in table):
        return None
    rounded = [tuple(tuple(float(x.mid()) for x in row) for row in table) for table in tables]
    return Exact(rounded[0], rounded[1], rounded[2], rounded[3][0])


def _sharp(row: list[Any]) -> bool:
    """Whether every entry is known to 2⁻⁶⁰ of the largest of the row."""
    largest = max(abs(x).mid() for x in row)
    return all(x.rad() <= largest * arb(2) ** -BITS for x in row)
