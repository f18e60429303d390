"""Levels, states and ε of given models against the schedulers that made them, at every step."""

import json

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    ScoreSdeVeScheduler,
    UNet2DModel,
)
from torch import nn

from mibench.auditing.checkpoint import Checkpoint
from mibench.auditing.denoiser import GivenDenoiser
from mibench.auditing.folder import ModelFolder, scheduler_levels
from mibench.auditing.tabulated import Levels
from mibench.diffusion.model import Model
from mibench.errors import UsageError

SHAPE = (2, 4, 4)


class Answer(nn.Module):
    """A smooth network that depends on the step."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x, step):
        return self.mix(x) + 0.3 * torch.sin(step / 90)[:, None, None, None] * x


def given(scheduler, tmp_path):
    scheduler.save_pretrained(tmp_path)
    levels = scheduler_levels(tmp_path)
    del levels["name"], levels["schedule"]
    checkpoint = Checkpoint(Answer(), shape=SHAPE, **levels)
    levels = Levels.of(checkpoint)
    return checkpoint, levels, Model(levels.process(), GivenDenoiser(checkpoint, levels, 1.0), SHAPE)


@pytest.mark.parametrize("every", [37, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
def test_states_and_answers_are_the_schedulers(tmp_path, schedule, kind, every):
    scheduler = DDPMScheduler(beta_schedule=schedule, prediction_type=kind)
    checkpoint, levels, model = given(scheduler, tmp_path)
    torch.manual_seed(1)
    x, noise = torch.randn(2, 1, *SHAPE, dtype=torch.float64)
    steps = torch.arange(0, 1000, every)
    states, answers = 0.0, 0.0
    with torch.no_grad():
        for k in steps.tolist():
            t = levels.time_of(k)
            assert levels.step_of(model.kernel(t).log_snr).item() == k
            u = model.noised(x, noise, t)
            expected = scheduler.add_noise(x, noise, torch.tensor([k]))
            states = max(states, (u[:, 0] - expected).abs().max().item())
            out = checkpoint.network(expected.float(), torch.tensor([float(k)])).double()
            a = scheduler.alphas_cumprod[k].double()
            eps = {
                "epsilon": out,
                "sample": (expected - a.sqrt() * out) / (1 - a).sqrt(),
                "v_prediction": a.sqrt() * out + (1 - a).sqrt() * expected,
            }[kind]
            answers = max(answers, (model.eps(u, t) - eps).abs().max().item())
    assert states < 1e-6 and answers < 1e-4


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_a_step_is_that_of_ddim(tmp_path, kind):
    scheduler = DDIMScheduler(prediction_type=kind, clip_sample=False, beta_schedule="squaredcos_cap_v2")
    checkpoint, levels, model = given(scheduler, tmp_path)
    scheduler.set_timesteps(100)
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(2))
    for k in (900, 500, 110, 30):
        out = checkpoint.network(x, torch.full((3,), float(k))).detach()
        expected = scheduler.step(out, k, x).prev_sample
        u, (t, after) = x[:, None].double(), (levels.time_of(k), levels.time_of(k - 10))
        with torch.no_grad():
            ours = model.step(u, model.predict_x0(u, model.eps(u, t), t), t, after)
        assert (ours[:, 0] - expected).abs().max() < 1e-6 * max(1, expected.abs().max())


def test_flow_matching_is_the_schedulers(tmp_path):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    checkpoint, levels, model = given(scheduler, tmp_path)
    x, noise = torch.randn(2, 1, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for k in (0, 10, 300, 998):
        place = len(scheduler.timesteps) - 1 - k
        raw = scheduler.scale_noise(x, scheduler.timesteps[place : place + 1], noise)
        s = scheduler.sigmas[place].double()
        u = model.noised(x, noise, levels.time_of(k))
        size = (s**2 + (1 - s) ** 2).sqrt()
        assert (u[:, 0] * size - raw).abs().max() < 1e-6
        with torch.no_grad():
            out = checkpoint.network(raw.float(), scheduler.timesteps[place : place + 1]).double()
            assert (model.eps(u, levels.time_of(k)) - (raw + (1 - s) * out)).abs().max() < 1e-4
    u = torch.randn(2, 1, *SHAPE, dtype=torch.float64)
    with torch.no_grad():  # a step of the scheduler is Euler's: first order in the distance of two levels
        t, after = levels.time_of(500), levels.time_of(499)
        ours = model.step(u, model.predict_x0(u, model.eps(u, t), t), t, after)[:, 0]
        one, other = (scheduler.sigmas[len(scheduler.timesteps) - 1 - k].double() for k in (500, 499))
        sizes = [(s**2 + (1 - s) ** 2).sqrt() for s in (one, other)]
        raw = u[:, 0] * sizes[0]
        out = checkpoint.network(raw.float(), (one * 1000).float().expand(2)).double()
        assert (ours * sizes[1] - (raw + (other - one) * out)).abs().max() < 1e-6


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_edm_is_the_schedulers(tmp_path, kind):
    scheduler = EDMEulerScheduler(prediction_type=kind)
    scheduler.set_timesteps(1000)
    checkpoint, levels, model = given(scheduler, tmp_path)
    x, noise = torch.randn(2, 1, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    for k in (0, 100, 500, 999):
        sigma = scheduler.sigmas[999 - k].double()
        raw = x + sigma * noise
        u, t = model.noised(x, noise, levels.time_of(k)), levels.time_of(k)
        assert ((u[:, 0] * (1 + sigma**2).sqrt() - raw) / (1 + sigma)).abs().max() < 1e-6
        with torch.no_grad():
            given_to = scheduler.precondition_inputs(raw, sigma).float()
            out = checkpoint.network(given_to, scheduler.precondition_noise(sigma)[None].float()).double()
            clean = scheduler.precondition_outputs(raw, out, sigma)
            assert (model.predict_x0(u, model.eps(u, t), t) - clean).abs().max() < 1e-4


def test_ve_is_the_schedulers(tmp_path):
    scheduler = ScoreSdeVeScheduler(num_train_timesteps=500, sigma_max=50.0)
    checkpoint, levels, model = given(scheduler, tmp_path)
    x, noise = torch.randn(2, 1, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    for k in (0, 100, 499):
        sigma = scheduler.discrete_sigmas[k].double()
        u, t = model.noised(x, noise, levels.time_of(k)), levels.time_of(k)
        raw = x + sigma * noise
        assert ((u[:, 0] * (1 + sigma**2).sqrt() - raw) / (1 + sigma)).abs().max() < 1e-6
        with torch.no_grad():
            out = checkpoint.network(raw.float(), sigma[None].float()).double()
            eps = model.eps(u, t)
            assert ((eps + sigma * out) / (1 + eps.abs())).abs().max() < 1e-4


def test_between_the_steps_the_network_is_given_a_fraction(tmp_path):
    _, levels, model = given(DDPMScheduler(), tmp_path)
    step = levels.step_of(model.kernel(levels.time_of(400.5)).log_snr).item()
    assert step == pytest.approx(400.5, abs=1e-9)
    assert levels.step_of(model.kernel(levels.time_of(-0.5)).log_snr).item() == 0


def tiny(path, channels=2, size=4, **more):
    UNet2DModel(
        sample_size=size, in_channels=channels, out_channels=channels,
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, **more,
    ).save_pretrained(path / "unet")  # fmt: skip
    DDPMScheduler().save_pretrained(path / "scheduler")


def test_a_folder_is_read(tmp_path):
    tiny(tmp_path)
    folder = ModelFolder.at(tmp_path)
    checkpoint = folder.checkpoint()
    assert (checkpoint.shape, checkpoint.steps, checkpoint.prediction) == ((2, 4, 4), 1000, "epsilon")
    with torch.no_grad():
        levels = Levels.of(checkpoint)
        eps = Model(levels.process(), GivenDenoiser(checkpoint, levels, 1.0), checkpoint.shape)
        assert eps.eps(torch.zeros(3, 1, 2, 4, 4, dtype=torch.float64), 0.3).shape == (3, 2, 4, 4)
    before = folder.digest()
    (tmp_path / "model_index.json").write_text("{}")
    assert folder.digest() == before
    config = json.loads((tmp_path / "scheduler" / "scheduler_config.json").read_text())
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config | {"beta_end": 0.03}))
    assert folder.digest() != before


def _scheduler(**changes):
    def change(path):
        file = path / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def _pickled(path):
    (path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, path / "unet" / "diffusion_pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_scheduler(beta_schedule="wavy"), "wavy"),
        (_scheduler(prediction_type="guess"), "prediction type 'guess'"),
        (_scheduler(_class_name="MyScheduler"), "unknown scheduler 'MyScheduler'"),
        (_pickled, "--trust-pickle"),
        (lambda path: (path / "unet" / "config.json").write_text('{"_class_name": "Transformer"}'), "unknown network"),
        (lambda path: (path / "unet" / "config.json").unlink(), "config.json"),
        (
            lambda path: (path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"0" * 99),
            "cannot be loaded",
        ),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, spoil, said):
    tiny(tmp_path)
    spoil(tmp_path)
    with pytest.raises(UsageError, match=said):
        ModelFolder.at(tmp_path).checkpoint()


def test_a_checkpoint_says_what_is_wrong():
    alpha_bar = np.linspace(0.99, 0.01, 10)
    for wrong, said in [
        ({"alpha_bar": alpha_bar[::-1]}, "must grow"),
        ({"alpha_bar": alpha_bar, "sigma": alpha_bar}, "give alpha_bar, or"),
        ({"alpha_bar": alpha_bar, "prediction": "x"}, "unknown prediction"),
        ({"alpha_bar": alpha_bar, "shape": (0,)}, "shape"),
        ({"alpha_bar": alpha_bar, "times": [1, 2]}, "2 values of times for 10 steps"),
        ({"alpha": alpha_bar}, "sigma"),
    ]:
        with pytest.raises(UsageError, match=said):
            Checkpoint(nn.Identity(), **{"shape": SHAPE, **wrong})
