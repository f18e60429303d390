"""Words that every part uses; this module imports nothing of mibench."""

from __future__ import annotations

from typing import Literal

__all__ = ["Access", "AnyModelKind", "Device", "Grid", "Method", "ModelKind", "Prediction", "ShadowKind", "Tier"]

Access = Literal["data", "samples", "network", "gradients", "weights"]
"""What an attack needs of the model; each includes those before it."""

Device = Literal["auto", "cpu", "cuda"]
"""Where jobs compute."""

Tier = Literal["data", "samples", "network", "weights", "shadows"]
"""What an attacker must have."""

ShadowKind = Literal["online", "offline"]
"""Whether shadow models are trained on samples that are scored, or on auxiliary data."""

ModelKind = Literal["trained", "exact", "fresh"]
"""A trained model, the optimal model of the members, or the optimal model of data that is never scored."""

AnyModelKind = Literal["trained", "exact", "fresh", "given"]
"""The same, or a model that someone else has trained (``mibench audit``)."""

Prediction = Literal["epsilon", "sample", "v_prediction", "flow", "score", "edm", "edm_v"]
"""What the network of a given model answers with, see ``mibench.Checkpoint``."""

Method = Literal["multistep", "exponential", "sscs", "euler-maruyama"]
"""Samplers, see ``mibench.diffusion.sampling.integrate``."""

Grid = Literal["uniform", "quadratic", "log-snr"]
"""How the times of a sampler lie between the horizon and t_min."""
