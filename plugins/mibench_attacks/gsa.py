"""GSA."""

from typing import Any

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor, nn

from mibench import Attack, Context, Model
from mibench.errors import NotApplicable
from mibench.kinds import ShadowKind
from mibench_attacks.options import Time

LIMIT = 2**26  # numbers in all gradients that are in memory at a time


class GSA(Attack):
    """GSA: boosted trees on the norms of the loss's gradient, layer by layer, learnt from shadow models."""

    name = "gsa"
    title = "GSA"
    paper = "arXiv 2308.06405"
    access = "weights"
    published = "trees"

    shadows: int = Field(5, ge=1, le=4096, description="shadow models to learn from")
    count: int = Field(200, ge=10, le=1_000_000, description="members and non-members of each, at most")
    times: tuple[Time, ...] = Field(
        tuple(round(0.05 + k / 10, 2) for k in range(10)), min_length=1, description="fractions of the horizon"
    )
    iterations: int = Field(100, ge=1, le=10_000, description="trees")

    _trees: Any = PrivateAttr()

    def shadow_models(self) -> tuple[int, ShadowKind]:
        return self.shadows, "offline"

    def fit(self, model: Model, members: Tensor, nonmembers: Tensor, ctx: Context) -> None:
        """Fit the trees to shadow models: their members against auxiliary samples that they were not trained on.

        No sample of the target takes part. Trees need no scaler: only the order of a feature's values counts.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        if ctx.auxiliary is None:
            raise NotApplicable("GSA needs auxiliary samples for its shadow models")
        rows: list[Tensor] = []
        labels: list[int] = []
        for shadow in ctx.shadows(*self.shadow_models()):
            others = ctx.auxiliary[~shadow.holds(ctx.auxiliary)]
            for side, label in ((shadow.members, 1), (others, 0)):
                x = side[: self.count].to(model.device, torch.float64)
                rows.append(self._features(shadow.model, x, ctx))
                labels += [label] * len(x)
        if not 0 < sum(labels) < len(labels):
            raise NotApplicable("the shadow models were trained on every auxiliary sample")
        self._trees = HistGradientBoostingClassifier(
            max_iter=self.iterations, class_weight="balanced", early_stopping=False, random_state=0
        ).fit(torch.cat(rows).cpu().numpy(), labels)

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """The trees' log-odds. T evaluations and one backward pass per sample (the paper's GSA₁)."""
        features = self._features(model, x, ctx)
        return {"trees": torch.from_numpy(self._trees.decision_function(features.cpu().numpy())).to(x)}

    def _features(self, model: Model, x: Tensor, ctx: Context) -> Tensor:
        """Per parameter log ‖∇ L(x)‖, (B, P), where L is the mean of ‖ε_θ(u_t, t) − ε_n‖² over the times."""
        module = model.denoiser
        assert isinstance(module, nn.Module), "the attack's access is to weights"
        eps = ctx.noise("gsa", len(self.times), *model.state_shape)
        kernel = model.kernel(torch.tensor(self.times, dtype=torch.float64) * model.process.horizon)
        noise = torch.einsum("tij,tj...->ti...", kernel.factor, eps)
        parameters = {name: p.detach() for name, p in module.named_parameters()}

        def loss(parameters: dict[str, Tensor], item: Tensor) -> Tensor:
            u = noise + torch.einsum("ti,...->ti...", kernel.mean_coef, item)
            answer: Tensor = torch.func.functional_call(module, parameters, (u, kernel))
            return (answer - eps[:, -1]).flatten(1).square().sum(1).mean()

        def norms(item: Tensor) -> Tensor:
            gradients = torch.func.grad(loss)(parameters, item).values()
            return torch.stack([gradient.norm() for gradient in gradients])

        # a gradient is as large as the model, so few samples go at once
        chunk = max(1, LIMIT // sum(p.numel() for p in parameters.values()))
        sizes: Tensor = torch.vmap(norms, chunk_size=chunk)(x.to(model.device, torch.float64))
        model.cost.forwards += len(x) * len(self.times)
        model.cost.vjps += len(x)
        return (sizes.double() + 1e-12).log()
