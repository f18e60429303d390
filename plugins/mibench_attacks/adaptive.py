"""The adaptive suite."""

from collections.abc import Iterable

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from mibench import Attack, Context, LinearSDE, Model
from mibench.errors import NotApplicable
from mibench_attacks.classifier import Linear
from mibench_attacks.pia import drift


class Adaptive(Attack):
    """Adaptive suite: loss, PIA and SecMI at matched signal-to-noise ratios, auxiliaries at their mean and drawn, combined.

    HOLD leaks at other times than VP, so times are matched by log |a(t)|² = log SNR. The auxiliaries of u_t are at their
    mean given x, or drawn from their law given x.

    Norms are over the last block, in units of ε_n, except for the drift. The other blocks add nothing: since
    [L⁻¹ (u − E[:, 0] q̂_0)]_n = ε_n, the residual of loss, PIA or SecMI at one time is the error of q̂_0 times a vector that
    all samples share.
    """

    name = "adaptive"
    published = "learnt"
    adaptive = True

    log_snr: tuple[float, ...] = Field(
        (8, 7, 6, 5, 4, 3, 2, 1, 0, -1),
        min_length=2,
        description="grid of log SNR, descending; what t_min rules out is left out",
    )
    draws: int = Field(8, ge=1, le=10_000, description="noise draws R of the loss")
    auxiliaries: int = Field(4, ge=1, le=10_000, description="draws of the auxiliaries")
    strength: float = Field(0.1, gt=0, le=1e6, description="inverse strength of the ridge of the learnt combination")

    _classifier: Linear = PrivateAttr()

    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Standardise every score by the non-members' mean and deviation, and learn a linear combination."""
        known, unknown = (torch.stack(list(self._scores(model, x, ctx).values()), 1) for x in (members, nonmembers))
        self._classifier = Linear.fit(known, unknown, self.strength)

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """Each family at each SNR; each family, and all ("combined"), as the mean of standardised scores; "learnt"."""
        scores = self._scores(model, x, ctx)
        features = torch.stack(list(scores.values()), 1)
        standard = self._classifier.standardised(features)
        families = [name.partition(" snr=")[0] for name in scores]
        for family in dict.fromkeys(families):
            scores[family] = standard[:, [k for k, name in enumerate(families) if name == family]].mean(1)
        return scores | {"combined": standard.mean(1), "learnt": self._classifier(features)}

    def _times(self, process: LinearSDE) -> dict[float, float]:
        """{log SNR: t}; the SNR falls with time, whatever the process."""
        first, last = process.log_snr_range
        levels = [level for level in sorted(self.log_snr, reverse=True) if last <= level <= first]
        if not levels:
            raise NotApplicable(f"this process has a log SNR from {first:g} to {last:g}, outside of the grid")
        return dict(zip(levels, process.time_at(torch.tensor(levels, dtype=torch.float64)).tolist(), strict=True))

    @torch.no_grad()
    def _scores(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """{family and SNR: −log of the mean square residual}; 1e-6 is added, since anything smaller is rounding."""
        times = self._times(model.process)
        draws = ctx.noise("draws", self.draws, *model.state_shape)
        kinds = {"": torch.zeros(1, *model.state_shape, dtype=torch.float64, device=model.device)}
        if model.process.order > 1:
            kinds[" drawn"] = ctx.noise("auxiliaries", self.auxiliaries, *model.state_shape)
        first = model.eps(model.noised(x, kinds[""][0], model.process.t_min), model.process.t_min)
        sizes: dict[str, Tensor] = {}
        for level, t in times.items():
            sizes |= {f"{name} snr={level:g}": size for name, size in _loss(model, x, draws, t).items()}
            for kind, noise in kinds.items():
                sizes |= {f"{name}{kind} snr={level:g}": s for name, s in _pia(model, x, first, noise, t).items()}
        for kind, noise in kinds.items():
            chains = torch.stack([_secmi(model, x, eps, times.values()) for eps in noise]).mean(0)
            sizes |= {f"secmi{kind} snr={level:g}": size for level, size in zip(times, chains, strict=True)}
        return {name: -(size + 1e-6).log() for name, size in sizes.items()}


def _loss(model: Model, x: Tensor, draws: Tensor, t: float) -> dict[str, Tensor]:
    """The loss, and the size of the residual's mean over draws ("bias")."""
    errors = torch.stack([model.residual(x, eps, t) for eps in draws])
    return {"loss": torch.stack([_size(error) for error in errors]).mean(0), "bias": _size(errors.mean(0))}


def _pia(model: Model, x: Tensor, first: Tensor, noise: Tensor, t: float) -> dict[str, Tensor]:
    """PIA and its drift with ε_n := ε_θ(u_{t_min}, t_min), and the other ε from ``noise`` (R, n, *item)."""
    sizes = []
    for draw in noise:
        eps = draw.repeat(len(x), *[1] * draw.dim())
        eps[:, -1] = first
        u = model.noised(x, eps, t)
        answer = model.eps(u, t)
        sizes.append(torch.stack([_size(answer - first), _size(drift(model, u, answer, t))]))
    return dict(zip(("pia", "drift"), torch.stack(sizes).mean(0), strict=True))


def _secmi(model: Model, x: Tensor, eps: Tensor, times: Iterable[float]) -> Tensor:
    """SecMI's residual along the chain from u_{t_min}, as the change of ε_n: a_n (q̂_0 after − q̂_0 before), (K, B)."""
    t, sizes = model.process.t_min, []
    u = model.noised(x, eps, t)
    x0 = model.predict_x0(u, model.eps(u, t), t)
    for after in times:
        u, t = model.step(u, x0, t, after), after
        before, x0 = x0, model.predict_x0(u, model.eps(u, t), t)
        sizes.append(_size(x0 - before) * model.kernel(t).whitened_mean[0, -1].square())
    return torch.stack(sizes)


def _size(residual: Tensor) -> Tensor:
    return residual.flatten(1).square().mean(1)
