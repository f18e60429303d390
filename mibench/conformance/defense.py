"""Whether a defense has a valid process, a loss and steps that can be repeated, and a release that can be attacked."""

from __future__ import annotations

import torch
from torch import Tensor

from mibench.components import Dataset
from mibench.conformance.fault import Fault
from mibench.data import Split, split
from mibench.defenses import Defense
from mibench.diffusion.model import Model, network_of
from mibench.diffusion.optimise import Callbacks
from mibench.diffusion.training import SingleTrainer, drops, train
from mibench.evaluate.isolation import isolated
from mibench.measures import MeasuredDefense, measured
from mibench.names import build
from mibench.plugins import Registry
from mibench.recipe import Recipe
from mibench.seeds import generator

__all__ = ["DATA", "RECIPE", "check_loss", "check_process", "check_release", "check_training"]

DATA = "digits:members=20,nonmembers=20,reference=20"
STEPS, INTERRUPTED = 6, 3
RECIPE = Recipe(steps=STEPS, batch=16, width=16, depth=1)
FAR = 0.02
"""The largest divergence, in nats per variable, of the state at the horizon from the prior: a fifth of its scale."""


def check_process(defense: Defense, registry: Registry) -> str:
    """The kernels are finite at all times, and the law of the state at the horizon is the prior."""
    process = defense.process()
    times = torch.linspace(process.t_min, process.horizon, 64, dtype=torch.float64)
    for kernel in (process.kernel(times), process.tabulated(times)):
        for values in vars(kernel).values():
            if not torch.isfinite(values).all():
                raise Fault("its kernels are not finite; shorten the horizon or raise t_min")
    factor = process.marginal(_data(registry).data_variance).cholesky(times[-1:])[0]
    covariance, prior = factor @ factor.mT, torch.diag(process.prior)
    trace = torch.linalg.solve(prior, covariance).diagonal().sum() - process.order
    divergence = (trace + prior.logdet() - covariance.logdet()).item() / 2
    if divergence > FAR * process.order:
        reached, wanted = ([f"{x:.3g}" for x in values.tolist()] for values in (covariance.diagonal(), process.prior))
        raise Fault(
            f"at the horizon the variances are {', '.join(reached)}, but the prior has {', '.join(wanted)} "
            f"({divergence:.2g} nats apart); give LinearSDE the prior that the process reaches, or a longer horizon"
        )
    return f"order {process.order}, {divergence:.1e} nats from its prior"


def check_loss(defense: Defense, registry: Registry, dataset: Dataset | None = None) -> str:
    """Each member has a finite loss of its own that can be differentiated, and the batch's is one number."""
    data = _data(registry, dataset)
    recipe, found = defense.adapt_recipe(RECIPE), []
    for attempt in ("first", "second"):
        model = _blank(defense, data)
        network_of(model).train()
        teachers = _teachers(defense, data)
        with isolated(0, attempt):  # other global random numbers
            training = SingleTrainer(defense, model, data.members, recipe, 0, teachers)
            batch = training.batch()
            if batch.u.shape[1:] != model.state_shape or not torch.isfinite(batch.u).all():
                raise Fault("its rows() or vary() give no finite members of the dataset's shape")
            if any(map(drops, network_of(model).modules())):
                torch.manual_seed(0)
            losses = training.losses(batch)
        if not isinstance(losses, Tensor) or losses.shape != batch.rows.shape or not losses.is_floating_point():
            what = f"of shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
            raise Fault(f"its losses() are {what}; return one floating-point number for each noised member, (B,)")
        if not torch.isfinite(losses).all() or not losses.requires_grad:
            raise Fault("its losses are not finite, or have no gradient; use the answers of model.denoiser")
        loss = defense.reduce(losses)
        if not isinstance(loss, Tensor) or loss.shape != ():
            raise Fault("its reduce() gives no single number; return a tensor such as losses.mean()")
        found.append(loss.item())
    if found[0] != found[1]:
        raise Fault(
            "its loss differs for the same generator; take all randomness from `generator`, none from torch's global one"
        )
    return ""


def check_training(defense: Defense, registry: Registry, dataset: Dataset | None = None) -> str:
    """A few steps change the weights, and are the same bit for bit when repeated, and when interrupted and resumed."""
    data = _data(registry, dataset)
    for parameterisation in ("plain", "sufficient"):
        chosen = _with_parameterisation(defense, parameterisation)
        start = _weights(_blank(chosen, data))
        whole, again = (_trained(chosen, data, attempt) for attempt in ("first", "second"))
        if not _equal(whole, again):
            raise Fault("two trainings with one seed differ; take all randomness of a step from its generator")
        if _equal(whole, start):
            raise Fault(f"{STEPS} steps change no weight; step() must step the optimizer")
        sink = _Sink()
        _trained(chosen, data, "third", sink)
        fresh = build(registry, "defense", chosen.label)  # as in a new process
        assert isinstance(fresh, Defense)
        if not _equal(whole, _trained(fresh, data, "fourth", _Sink(sink.state))):
            raise Fault(
                "a training that is interrupted and resumed ends with other weights; keep no state in the defense, but in "
                "parameters or buffers of the network"
            )
    return f"{STEPS} steps, the same when interrupted"


def check_release(defense: Defense, registry: Registry, dataset: Dataset | None = None) -> str:
    """The released model answers for each sample by itself, finite and in the samples' shape."""
    data = _data(registry, dataset)
    model = _blank(defense, data)
    network_of(model).eval()
    released = defense.release(model)
    if not isinstance(released, Model):
        raise Fault(f"its release() gives {type(released).__name__}; return a mibench.Model")
    with torch.no_grad():
        x, t = data.members[:4].double(), 0.1 * released.process.horizon
        u = released.noised(x, torch.randn(released.state_shape, generator=generator(0, "u")).double(), t)
        together = released.eps(u, t)
        apart = torch.cat([released.eps(one[None], t) for one in u])
    if together.shape != x.shape or together.dtype != torch.float64 or not torch.isfinite(together).all():
        raise Fault(
            f"the released model answers {together.dtype} {tuple(together.shape)}, or not finite numbers; keep to Model.eps"
        )
    if not (together - apart).abs().max() <= 0.01 * together.std():
        raise Fault(
            "the released model's answer to a sample depends on the other samples of the batch, or is drawn anew each time"
        )
    return ""


def _with_parameterisation(defense: Defense, parameterisation: str) -> Defense:
    """The same defense, its network in another parameterisation."""
    if isinstance(defense, MeasuredDefense):
        return measured(_with_parameterisation(defense.base, parameterisation), defense.measures)
    return defense.model_copy(update={"parameterisation": parameterisation})


def _data(registry: Registry, dataset: Dataset | None = None) -> Split:
    return split(dataset or build(registry, "dataset", DATA), 0)  # type: ignore[arg-type]


def _blank(defense: Defense, data: Split, seed: int = 0) -> Model:
    return defense.build_model(data.shape, data.data_variance, defense.adapt_recipe(RECIPE), seed=seed)


def _teachers(defense: Defense, data: Split) -> list[Model]:
    """Untrained ones, each with weights of its own."""
    return [_blank(other, data, 1 + k) for k, (other, _) in enumerate(defense.teachers(len(data.members)))]


def _weights(model: Model) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network_of(model).state_dict().items()}


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def _trained(defense: Defense, data: Split, attempt: str, sink: _Sink | None = None) -> dict[str, Tensor]:
    """The weights after a training, with other global random numbers for each attempt."""
    model, recipe = _blank(defense, data), defense.adapt_recipe(RECIPE)
    teachers = _teachers(defense, data)
    with isolated(0, attempt):
        train(defense, model, data.members[defense.select(data.members)], recipe, 0, Callbacks(sink=sink), teachers)
    return _weights(model)


class _Sink:
    """Keeps the state of a training after some steps, and gives it to the next one."""

    def __init__(self, state: dict[str, Tensor] | None = None) -> None:
        self.state, self._resumes, self._steps = state, state is not None, 0

    def read(self) -> dict[str, Tensor] | None:
        """The state to resume, if any."""
        return self.state

    def due(self) -> bool:
        """Whether this many steps are done."""
        self._steps += 1
        return not self._resumes and self._steps == INTERRUPTED

    def write(self, done: int, state: dict[str, Tensor]) -> None:
        """Keep a copy."""
        self.state = {name: value.clone() for name, value in state.items()}
