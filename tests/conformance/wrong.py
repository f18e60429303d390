"""Components with one fault each: name, source of the class, and words that the check must say of it."""

DEFENSE = """
class Wrong(VP):
    "A defense."
    name = "wrong"
"""
ATTACK = """
class Wrong(Attack):
    "An attack."
    name = "wrong"
    published = "x"

    def score(self, model, x, ctx):
        answer = model.eps(model.at_rest(x), model.process.t_min)
        scores = -answer.flatten(1).norm(dim=1)
        return {"x": scores}
"""
DATASET = """
class Wrong(Dataset):
    "A dataset."
    name = "wrong"
    modality = POINTS

    def pool(self, generator):
        return torch.randn(1500, 2, generator=generator)
"""
MEASURE = """
class Wrong(Measure):
    "A measure."
    name = "wrong"
    stage = "data"
"""
RETURN = 'return {"x": scores}'
DRAW = "return torch.randn(1500, 2, generator=generator)"


def loss(line):
    """A defense with losses of one line."""
    return f"{DEFENSE}\n    def losses(self, model, batch):\n        {line}\n"


def process(line):
    """A defense whose process is changed by one line."""
    return f"{DEFENSE}\n    def process(self):\n        sde = super().process()\n        {line}\n        return sde\n"


WRONG = {
    "a measure that changes nothing": (MEASURE, "plugin", "changes nothing"),
    "a measure without a stage": (
        f"{MEASURE}\n    def vary(self, x, generator):\n        return x\n".replace('stage = "data"', ""),
        "plugin",
        "has no sound `stage`",
    ),
    "adversaries that are one word": (
        f'{MEASURE}    adaptive = "lira"\n\n    def vary(self, x, generator):\n        return -x\n',
        "plugin",
        "has the adversaries 'lira'",
    ),
    "an adversary that there is not": (
        f'{DEFENSE}    adaptive = ("averagd",)\n',
        "defense",
        "names no attack that is known here (unknown attack 'averagd'; did you mean 'averaged'?)",
    ),
    "a measure that mixes what a step sees": (
        f"{MEASURE}\n    def vary(self, x, generator):\n        return 0.5 * x + 0.5 * x.mean(0)\n",
        "measure",
        "its vary() changes what a step takes from others",
    ),
    "a measure that mixes losses": (
        f"{MEASURE}\n    def reduce(self, inner, losses):\n        return losses.square().mean()\n",
        "measure",
        "its reduce() changes what a step takes from others",
    ),
    "a measure that picks members by others": (
        f"{MEASURE}\n    def select(self, inner, members):\n"
        "        near = torch.cdist(members.flatten(1), members.flatten(1)).tril(-1) + torch.ones(20, 20).triu()\n"
        "        return (near.amin(1) > 0).nonzero()[:, 0]\n",
        "measure",
        "its select() changes what a step takes from others",
    ),
    "a claim without a step": (
        f"{MEASURE}\n    def vary(self, x, generator):\n        return -x\n\n"
        "    def claim(self, inner, members, recipe, steps):\n"
        "        return Claim.of(noise=5, rate=0.5, steps=steps or recipe.steps, delta=1e-5, clip=1)\n",
        "measure",
        "it claims privacy, but trains by the usual step",
    ),
    "a claim of other numbers": (
        f"{DEFENSE}\n    def step(self, training, optimizer):\n        return super().step(training, optimizer)\n\n"
        "    def claim(self, members, recipe, steps=None):\n"
        "        return Claim(epsilon=0.1, delta=1e-5, noise=1, rate=0.5, steps=steps or recipe.steps, clip=1, draws=1,"
        " accountant='mine')\n",
        "defense",
        "it claims ε = 0.1, but its noise, rate, steps and δ give",
    ),
    "prior": (process("sde.prior = sde.prior * 2"), "defense", "the prior has 2"),
    "kernels": (process("sde.initial[0] = torch.nan; sde._cached_kernel.cache_clear()"), "defense", "· process: "),
    "losses of another batch": (
        loss("return super().losses(model, batch).mean().expand(3)"),
        "defense",
        "its losses() are of shape (3,)",
    ),
    "loss that is NaN": (
        loss("return super().losses(model, batch) * torch.nan"),
        "defense",
        "are not finite",
    ),
    "loss with draws of its own": (
        loss("return super().losses(model, batch) * torch.rand(len(batch.rows))"),
        "defense",
        "its loss differs for the same generator",
    ),
    "steps with draws of their own": (
        DEFENSE
        + """
    def step(self, training, optimizer):
        optimizer.param_groups[0]["lr"] *= torch.rand(()).item()
        return super().step(training, optimizer)
""",
        "defense",
        "two trainings with one seed differ",
    ),
    "state outside the weights": (
        DEFENSE
        + """
    _steps: int = PrivateAttr(0)

    def losses(self, model, batch):
        if model.denoiser.training:
            self._steps += 1
        return super().losses(model, batch) * (1 + self._steps % 7)
""",
        "defense",
        "its loss differs",
    ),
    "state that is not saved": (
        DEFENSE
        + """
    def step(self, training, optimizer):
        optimizer.steps = getattr(optimizer, "steps", 0) + 1
        optimizer.param_groups[0]["lr"] /= optimizer.steps**4
        return super().step(training, optimizer)
""",
        "defense",
        "interrupted and resumed ends with other weights",
    ),
    "release that mixes the batch": (
        DEFENSE
        + """
    def release(self, model):
        return Model(model.process, lambda u, kernel: model.denoiser(u, kernel) + u.mean(), model.shape)
""",
        "defense",
        "depends on the other samples of the batch",
    ),
    "scores of the batch": (
        ATTACK.replace(RETURN, 'return {"x": scores / scores.std()}'),
        "attack",
        "depend on the other samples",
    ),
    "inverted": (ATTACK.replace(RETURN, 'return {"x": -scores}'), "attack", "the scores are inverted"),
    "not a number": (ATTACK.replace(RETURN, 'return {"x": scores.log()}'), "attack", "a score is NaN or infinite"),
    "published setting": (
        ATTACK.replace('published = "x"', 'published = "y"'),
        "attack",
        "its published setting 'y' is not among",
    ),
    "name of a setting": (
        ATTACK.replace(RETURN, 'return {"x": scores, "a|b": scores}'),
        "attack",
        "the name of a setting",
    ),
    "misspelt access": (
        ATTACK.replace('published = "x"', 'published = "x"; access = "netwrok"'),
        "plugin",
        "has the access 'netwrok'",
    ),
    "more than it declares": (
        ATTACK.replace('published = "x"', 'published = "x"; access = "samples"'),
        "attack",
        "asked for the model's answers",
    ),
    "changed model": (
        ATTACK.replace('published = "x"', 'published = "x"; access = "weights"').replace(
            "answer = model", "next(model.denoiser.parameters()).data.mul_(2); answer = model"
        ),
        "attack",
        "changed the model that it was given",
    ),
    "no signal": (ATTACK.replace(RETURN, 'return {"x": x.flatten(1).sum(1)}'), "attack", "near 1 is right"),
    "no docstring": (ATTACK.replace('    "An attack."\n', ""), "plugin", "has no docstring"),
    "version": (ATTACK.replace('published = "x"', 'published = "x"; version = 0'), "plugin", "has version 0"),
    "option without words": (
        ATTACK.replace('published = "x"', 'published = "x"\n    p: float = 1.0'),
        "attack",
        "option 'p' has no description",
    ),
    "label": (
        ATTACK.replace(
            'published = "x"', 'published = "x"\n    p: dict[str, float] = Field({}, description="of the norm")'
        ),
        "attack",
        "its label",
    ),
    "unknown options": (
        ATTACK.replace('published = "x"', 'published = "x"\n    model_config = {"extra": "ignore"}'),
        "attack",
        "it accepts unknown options",
    ),
    "pool with draws of its own": (
        DATASET.replace("generator=generator)", ")"),
        "dataset",
        "differs from call to call",
    ),
    "pool too small": (DATASET.replace("1500", "1000"), "dataset", "its pool holds 1000 samples, fewer than"),
    "pool of another shape": (DATASET.replace("1500, 2", "1500"), "dataset", "its pool is torch.float32 (1500,)"),
    "pool that is not finite": (DATASET.replace(DRAW, f"{DRAW}.log()"), "dataset", "values that are not finite"),
    "pool of another scale": (DATASET.replace(DRAW, f"{DRAW} * 100"), "dataset", "scale them to about 1"),
    "repeated samples": (
        DATASET.replace(DRAW, f"{DRAW.replace('1500', '30')}.repeat(50, 1)"),
        "dataset",
        "non-members equal a member",
    ),
    "recipe": (
        DATASET.replace("modality", 'recipe = {"stepps": 3}\n    modality'),
        "dataset",
        "unknown option 'stepps'",
    ),
}

HEAD = """
import torch
from pydantic import Field, PrivateAttr

from mibench import POINTS, Attack, Claim, Dataset, Measure, Model, hookimpl
from mibench_defenses import VP
"""


def plugin(source):
    """The file of a plugin that offers one class ``Wrong``."""
    kind = next(
        kind
        for kind, base in (("attack", "Attack"), ("dataset", "Dataset"), ("defense", "VP"), ("measure", "Measure"))
        if f"({base})" in source
    )
    return f"{HEAD}\n{source}\n\n@hookimpl\ndef mibench_{kind}s():\n    return [Wrong]\n"
