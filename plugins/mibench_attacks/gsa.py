"""GSA."""

from typing import Any, ClassVar

import torch
from pydantic import Field, PrivateAttr

from mibench import Attack
from mibench.errors import NotApplicable
from mibench_attacks.options import Time

MEMORY = 2**26


class GSA(Attack):
    """GSA: boosted trees on the norms of the loss's gradient, layer by layer, learnt from shadow models."""

    name: ClassVar = "gsa"
    version: ClassVar = 1
    paper: ClassVar = "arXiv 2308.06405"
    access: ClassVar = "weights"
    published: ClassVar = "trees"

    shadows: int = Field(5, ge=1, le=4096, description="shadow models to learn from")
    count: int = Field(200, ge=10, le=1_000_000, description="members and non-members of each, at most")
    times: tuple[Time, ...] = Field(
        tuple(round(0.05 + k / 10, 2) for k in range(10)), min_length=1, description="fractions of the horizon"
    )
    iterations: int = Field(100, ge=1, le=10_000, description="trees")

    _trees: Any = PrivateAttr()

    def shadow_models(self):
        return self.shadows, "offline"

    def fit(self, model, members, nonmembers, ctx):
        """Fit the trees to what shadow models show of their members and of auxiliary samples they do not hold.

        No sample of the target takes part. Trees need no scaler: they see the order of a feature alone.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        if ctx.auxiliary is None:
            raise NotApplicable("GSA needs auxiliary samples for its shadow models")
        rows, labels = [], []
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

    def score(self, model, x, ctx):
        """The trees' log-odds. T evaluations and one backward pass per sample (the paper's GSA₁)."""
        features = self._features(model, x, ctx)
        return {"trees": torch.from_numpy(self._trees.decision_function(features.cpu().numpy())).to(x)}

    def _features(self, model, x, ctx):
        """Per parameter log ‖∇ L(x)‖, (B, P), where L is the mean of ‖ε_θ(u_t, t) − ε_n‖² over the times."""
        module, process = model.denoiser, model.process
        eps = ctx.noise("gsa", len(self.times), process.order, *model.shape)
        kernel = model.kernel(torch.tensor(self.times, dtype=torch.float64) * process.horizon)
        noise = torch.einsum("tij,tj...->ti...", kernel.factor, eps)
        parameters = {name: p.detach() for name, p in module.named_parameters()}

        def loss(parameters, item):
            u = noise + torch.einsum("ti,...->ti...", kernel.mean_coef, item)
            answer = torch.func.functional_call(module, parameters, (u, kernel))
            return (answer - eps[:, -1]).flatten(1).square().sum(1).mean()

        def norms(item):
            gradients = torch.func.grad(loss)(parameters, item).values()
            return torch.stack([gradient.norm() for gradient in gradients])

        # a gradient is as large as the model, so few samples go at once
        chunk = max(1, MEMORY // sum(p.numel() for p in parameters.values()))
        found = torch.vmap(norms, chunk_size=chunk)(x.to(model.device, torch.float64))
        model.cost.forwards += len(x) * len(self.times)
        model.cost.vjps += len(x)
        return (found.double() + 1e-12).log()
