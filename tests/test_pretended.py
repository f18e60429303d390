"""Every path that runs on a device, on a pretended one: no mix of devices, and how often the host waits for it."""

from unittest import mock

import pytest
import torch
from pretended import Mismatch, Pretended
from torch import Tensor

from mibench import IMAGE, Context
from mibench.context import Shadow
from mibench.diffusion.denoisers import ExactDenoiser, NetworkDenoiser
from mibench.diffusion.likelihood import elbo
from mibench.diffusion.model import Model
from mibench.diffusion.optimise import adam
from mibench.diffusion.process import Kernel
from mibench.diffusion.sampling import sample
from mibench.diffusion.stacked import StackedTrainer
from mibench.diffusion.training import SingleTrainer
from mibench.metrics.frechet import moments
from mibench.metrics.kid import kid
from mibench.names import build
from mibench.plugins import load
from mibench.recipe import Recipe
from mibench_defenses import HOLD, VP

torch.set_num_threads(1)

SHAPE = (1, 8, 8)
IMAGES = torch.randint(256, (60, *SHAPE), generator=torch.Generator().manual_seed(0)) / 127.5 - 1
FEW = {
    "adaptive": "draws=2,auxiliaries=2",
    "audit": "",
    "averaged": "queries=2",
    "filter": "",
    "blind": "",
    "gsa": "shadows=2,iterations=2",
    "likelihood": "evaluations=6",
    "lira": "shadows=3,draws=2",
    "loss": "draws=2",
    "loss-vector": "draws=2",
    "nn": "count=20",
    "pfami": "neighbours=2",
    "pia": "",
    "pian": "",
    "quantile": "count=20",
    "rediffuse": "draws=2",
    "rmia": "references=2,draws=2",
    "secmi": "steps=5",
    "sima": "",
}
MORE = ["pia:form=drift", "pia:auxiliaries=sampled,draws=2", "sima:path=draws,draws=2"]
WRAPPERS = ("audit", "averaged", "filter")
ATTACKS = [
    ("secmi:steps=5+" if name in WRAPPERS else "") + (f"{name}:{options}" if options else name)
    for name, options in FEW.items()
] + MORE
SHORT = ["secmi:steps=5", "likelihood:evaluations=6", "gsa:shadows=2,iterations=2"]


def blank(defense, network="mlp", seed=0, device="cuda"):
    if network != "mlp":
        pytest.importorskip("diffusers")
    recipe = Recipe(width=16, depth=1, batch=4, network=network, precision="bf16", augment=("flip", "crop"))
    model = defense.build_model(SHAPE, 1.0, recipe, device, seed)
    model.denoiser.eval()
    return model, recipe


def waits_of_a_step(way, network="mlp"):
    """Of the second one; the first makes the state of the optimiser."""
    with Pretended() as device:
        if way == "alone":
            model, recipe = blank(HOLD(order=3), network)
            task = SingleTrainer(HOLD(order=3), model, IMAGES, recipe, 0)
        else:
            models = [blank(VP(), network, seed)[0] for seed in range(2)]
            task = StackedTrainer(VP(), models, [IMAGES] * 2, blank(VP())[1], (0, 1))
        optimizer = adam(task, blank(VP())[1])
        task.step(optimizer)
        device.waits.clear()
        task.step(optimizer)
        return device.waits


class Evaluations:
    """How often a network or an exact denoiser is asked."""

    def __enter__(self):
        self.count, self._undo = 0, []
        for owner, name in ((NetworkDenoiser, "run_network"), (ExactDenoiser, "__call__")):
            patch = mock.patch.object(owner, name, self._counted(getattr(owner, name)))
            patch.start()
            self._undo.append(patch)
        return self

    def _counted(self, real):
        def call(*args):
            self.count += 1
            return real(*args)

        return call

    def __exit__(self, *_):
        for patch in self._undo:
            patch.stop()


@torch.no_grad()
def waits_of_samples(order, method, evaluations=8):
    """With how often the network was asked."""
    with Pretended() as device:
        model, _ = blank(HOLD(order=order))
        device.waits.clear()
        with Evaluations() as asked:
            sample(model, 4, torch.Generator().manual_seed(0), evaluations, method, "log-snr")
        return device.waits, asked.count


@torch.no_grad()
def waits_of_scores(name, defense, network="mlp"):
    """Of the scores of one batch, with how often any network was asked; the attack has learnt before."""
    attack = build(load(), "attack", name)
    with Pretended() as device:
        models = [blank(defense, "mlp" if network == "exact" else network, seed)[0] for seed in range(4)]
        if network == "exact":
            points = IMAGES[:20].to("cuda")
            models = [Model(model.process, ExactDenoiser(points), SHAPE, "cuda") for model in models]
        x = IMAGES.double().to("cuda")

        def shadows(count, kind):
            return [
                Shadow(model, x[20 * (k % 2) : 20 * (k % 2) + 20].cpu().float())
                for k, model in enumerate(models[1:][:count])
            ]

        ctx = Context(
            0, "cuda", modality=IMAGE, auxiliary=x[20:], shadows=shadows, changed_release=True,
            draw=lambda count: sample(models[0], count, torch.Generator().manual_seed(0), 4),
        )  # fmt: skip
        attack.fit(models[0], x[:10], x[20:30], ctx)
        ctx.samples(20)
        device.waits.clear()
        with Evaluations() as asked:
            attack.score(models[0], x[10:20], ctx)
        return device.waits, asked.count


def few_enough(waits, asked, each=1):
    """One wait for each evaluation, and two to hand over what comes of them."""
    total = sum(waits.values())
    assert total <= each * asked + 2, f"{total} waits in {asked} evaluations: {waits.most_common(5)}"


@pytest.mark.parametrize(("way", "network"), [("alone", "mlp"), ("together", "mlp"), ("alone", "unet-tiny")])
def test_a_step_never_waits(way, network):
    assert not waits_of_a_step(way, network)


@pytest.mark.parametrize("method", ["multistep", "sscs"])
def test_a_sampler_hardly_waits(method):
    few_enough(*waits_of_samples(3, method))


@pytest.mark.parametrize("name", SHORT)
def test_an_attack_hardly_waits(name):
    few_enough(*waits_of_scores(name, HOLD(order=3)))


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("method", ["multistep", "exponential", "euler-maruyama", "sscs"])
def test_no_sampler_waits(method, order):
    few_enough(*waits_of_samples(order, method))


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mlp", "unet-tiny", "exact"])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_waits(name, network):
    if network == "exact" and name.startswith("gsa"):
        pytest.skip("the exact model has no weights")
    each = 2 if "sampled" in name else 1  # PIA's law of the auxiliaries, two parts of it at each time
    few_enough(*waits_of_scores(name, VP() if network == "unet-tiny" else HOLD(order=2), network), each)


def test_no_attack_is_forgotten():
    unconditional = {"clid"}  # it does not apply to these models
    assert set(load().components["attack"]) == set(FEW) | unconditional


@pytest.mark.slow
def test_the_published_network_on_a_device():
    assert not waits_of_a_step("alone", "unet-cifar")


def test_the_bound_and_the_distances_run_on_a_device():
    with Pretended(), torch.no_grad():
        model, _ = blank(VP())
        x = IMAGES[:4].double().to("cuda")
        elbo(model, x, torch.randn(3, *model.state_shape, dtype=torch.float64, device="cuda"))
        features = torch.randn(50, 8, device="cuda")
        moments(features)
        kid(features, features + 1, subsets=2, size=20)


def test_values_and_waits_of_the_pretended_device():
    with Pretended() as device:
        x = torch.arange(6.0).to("cuda")
        assert x.device.type == "cuda" and x.is_cuda and not x.cpu().is_cuda
        device.waits.clear()
        y = (x.view(2, 3) @ torch.ones(3, 2, device="cuda")).sum(1) + 1.0
        assert not device.waits
        assert y.tolist() == [7.0, 25.0] and sum(device.waits.values()) == 1
        x[x > 2].sum().item()
        assert sum(device.waits.values()) == 3
    assert torch.zeros(1).device.type == "cpu"


# ── broken on purpose ─────────────────────────────────────────────────────────────────────────────────────────────
def data_on_the_cpu(patch):

    patch.setattr(
        "mibench.diffusion.pool.Pool.batch", lambda self, rows, moves: torch.zeros(len(rows), *SHAPE).double()
    )


def kernels_on_the_cpu(patch):
    patch.setattr(Kernel, "to", lambda self, device: self)


def noise_of_a_cpu_generator(patch):
    patch.setattr(OfTraining, "rows", lambda self, size, recipe, generator: torch.randint(
        size, (recipe.batch,), generator=torch.Generator(), device="cuda"))  # fmt: skip


def loss_that_is_printed(patch):
    real = SingleTrainer.losses
    patch.setattr(SingleTrainer, "losses", lambda self, batch: (found := real(self, batch)) * (found.sum().item() > 0))


def kernels_that_block(patch):
    patch.setattr(Kernel, "to", lambda self, device: Kernel(*(getattr(self, name).to(device) for name in vars(self))))
    patch.setattr(Model, "kernel", lambda self, t: self.process.kernel(t).to(self.device))


def states_that_are_looked_at(patch):
    real = Model.step

    def step(self, u, clean, t0, t1):
        assert u.isfinite().all() and clean.isfinite().all()
        return real(self, u, clean, t0, t1)

    patch.setattr(Model, "step", step)


OfTraining = HOLD


@pytest.mark.parametrize("fault", [data_on_the_cpu, kernels_on_the_cpu, noise_of_a_cpu_generator])
def test_a_mix_of_devices_is_found(fault, monkeypatch):
    fault(monkeypatch)
    with pytest.raises(Mismatch):
        waits_of_a_step("alone")


def test_a_wait_in_a_step_is_found(monkeypatch):
    loss_that_is_printed(monkeypatch)
    assert any("item" in kind or "_local_scalar_dense" in kind for kind in waits_of_a_step("alone"))


@pytest.mark.parametrize("fault", [kernels_that_block, states_that_are_looked_at])
def test_waits_of_a_sampler_are_found(fault, monkeypatch):
    fault(monkeypatch)
    with pytest.raises(AssertionError, match="waits in 8 evaluations"):
        few_enough(*waits_of_samples(3, "multistep"))


def test_what_cuda_refuses():
    with Pretended():
        x = torch.ones(3, device="cuda")
        for wrong in (
            lambda: x + torch.ones(3),
            lambda: torch.func.grad(lambda x: (x * torch.ones(3)).sum())(x),
            lambda: torch.nn.Linear(3, 3)(x),
            lambda: torch.randn(3, device="cuda", generator=torch.Generator()),
            lambda: x.numpy(),
            lambda: x.cumsum(0),
        ):
            with pytest.raises(Mismatch):
                wrong()
    assert isinstance(x, Tensor)
