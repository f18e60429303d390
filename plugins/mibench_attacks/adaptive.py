"""The adaptive suite."""

from typing import ClassVar

import torch
from pydantic import Field, PrivateAttr

from mibench import Attack
from mibench.errors import NotApplicable
from mibench_attacks.classifier import Linear


class Adaptive(Attack):
    """Adaptive suite: loss, PIA and SecMI at matched signal-to-noise ratios, auxiliaries at their mean and drawn, combined.

    HOLD leaks at other times than VP, so times are matched by log |a(t)|² = log SNR. Auxiliaries follow the law of u_t given
    x: at its mean, or drawn from it.

    The norm is over the last block, in units of ε_n, but for the drift: since [L⁻¹ (u − E[:, 0] q̂_0)]_n = ε_n, at one time
    the residual of loss, PIA or SecMI is q̂_0's error times a vector that all samples share, so over all n blocks its norm
    ranks samples alike.
    """

    name: ClassVar = "adaptive"
    version: ClassVar = 1
    published: ClassVar = "learnt"
    adaptive: ClassVar = True

    log_snr: tuple[float, ...] = Field(
        (8, 7, 6, 5, 4, 3, 2, 1, 0, -1),
        min_length=2,
        description="grid of log SNR, descending; what t_min rules out is left out",
    )
    draws: int = Field(8, ge=1, le=10_000, description="noise draws R of the loss")
    auxiliaries: int = Field(4, ge=1, le=10_000, description="draws of the auxiliaries")
    strength: float = Field(0.1, gt=0, le=1e6, description="inverse strength of the ridge of the learnt combination")

    _classifier: Linear = PrivateAttr()

    def fit(self, model, members, nonmembers, ctx):
        """Standardise every score by the non-members' mean and deviation, and learn a linear combination."""
        sides = [torch.stack(list(self._scores(model, side, ctx).values()), 1) for side in (members, nonmembers)]
        self._classifier = Linear.fit(*sides, self.strength)

    def score(self, model, x, ctx):
        """Each family at each SNR; each family, and all ("combined"), as the mean of standardised scores; "learnt"."""
        scores = self._scores(model, x, ctx)
        features = torch.stack(list(scores.values()), 1)
        standard = self._classifier.standardised(features)
        families = [name.partition(" snr=")[0] for name in scores]
        for family in dict.fromkeys(families):
            scores[family] = standard[:, [k for k, name in enumerate(families) if name == family]].mean(1)
        return scores | {"combined": standard.mean(1), "learnt": self._classifier(features)}

    def _times(self, process):
        """{log SNR: t}; the SNR can only fall with time, whatever the process."""
        first, last = process.log_snr_range
        levels = [level for level in sorted(self.log_snr, reverse=True) if last <= level <= first]
        if not levels:
            raise NotApplicable(f"this process has a log SNR from {first:g} to {last:g}, outside of the grid")
        return dict(zip(levels, process.time_at(torch.tensor(levels, dtype=torch.float64)).tolist(), strict=True))

    @torch.no_grad()
    def _scores(self, model, x, ctx):
        """{family and SNR: −log of the mean square residual}; what lies below 1e-6 is rounding."""
        times, shape = self._times(model.process), (model.process.order, *model.shape)
        draws = ctx.noise("draws", self.draws, *shape)
        kinds = {"": torch.zeros(1, *shape, dtype=torch.float64, device=model.device)}
        if model.process.order > 1:
            kinds[" drawn"] = ctx.noise("auxiliaries", self.auxiliaries, *shape)
        first = model.eps(model.noised(x, kinds[""][0], model.process.t_min), model.process.t_min)
        sizes = {}
        for level, t in times.items():
            sizes |= {f"{name} snr={level:g}": size for name, size in self._loss(model, x, draws, t).items()}
            for kind, noise in kinds.items():
                found = self._pia(model, x, first, noise, t)
                sizes |= {f"{name}{kind} snr={level:g}": size for name, size in found.items()}
        for kind, noise in kinds.items():
            chains = torch.stack([self._chain(model, x, eps, times.values()) for eps in noise]).mean(0)
            sizes |= {f"secmi{kind} snr={level:g}": size for level, size in zip(times, chains, strict=True)}
        return {name: -(size + 1e-6).log() for name, size in sizes.items()}

    def _loss(self, model, x, draws, t):
        """The loss, and its part that averaging the answers over draws leaves ("bias")."""
        errors = torch.stack([model.eps(model.noised(x, eps, t), t) - eps[-1] for eps in draws])
        return {"loss": torch.stack([_size(error) for error in errors]).mean(0), "bias": _size(errors.mean(0))}

    def _pia(self, model, x, first, noise, t):
        """PIA and its drift with ε_n := ε_θ(u_{t_min}, t_min), and the other ε from ``noise`` (R, n, *item)."""
        process, found = model.process, []
        for eps in noise:
            eps = eps.repeat(len(x), *[1] * eps.dim())
            eps[:, -1] = first
            u = model.noised(x, eps, t)
            answer = model.eps(u, t)
            drift = torch.einsum("ij,bj...->bi...", process.F.to(u), u)
            drift[:, -1] += process.G[-1].item() ** 2 / 2 / model.kernel(t).factor[0, -1, -1] * answer
            found.append(torch.stack([_size(answer - first), _size(drift)]))
        return dict(zip(("pia", "drift"), torch.stack(found).mean(0), strict=True))

    def _chain(self, model, x, eps, times):
        """SecMI's residual along the chain from u_{t_min}, as the change of ε_n: a_n (q̂_0 after − q̂_0 before), (K, B)."""
        t, found = model.process.t_min, []
        u = model.noised(x, eps, t)
        clean = model.predict_x0(u, model.eps(u, t), t)
        for after in times:
            u, t = model.step(u, clean, t, after), after
            before, clean = clean, model.predict_x0(u, model.eps(u, t), t)
            found.append(_size(clean - before) * model.kernel(t).whitened_mean[0, -1].square())
        return torch.stack(found)


def _size(residual):
    return residual.flatten(1).square().mean(1)
