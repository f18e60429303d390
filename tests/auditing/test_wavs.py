"""Audits of wavs: what a model of mels gives away, and what tells files apart."""

import numpy as np
import pytest
import soundfile

from mibench.auditing.result import Audit
from mibench.auditing.run import run_audit
from mibench.auditing.settings import AuditSettings
from mibench.errors import UsageError

MODEL = '''
"""The optimal network of the mels of the wavs beside this file, blurred by 0.2."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

import mibench
from mibench.file_datasets import FileReader
from mibench.names import build
from mibench.plugins import load


class Optimal(nn.Module):
    def __init__(self, alpha_bar):
        super().__init__()
        dataset = build(load(), "dataset", "speech")
        read = FileReader.known[type(dataset)](dataset).read
        x = torch.stack([read(file.read_bytes()) for file in sorted(Path(__file__).parent.glob("members/*.wav"))]).double()
        self.register_buffer("points", ((x - x.mean()) / x.std()).flatten(1))
        self.register_buffer("alpha_bar", torch.from_numpy(alpha_bar))

    def forward(self, x, step):
        alpha_bar = self.alpha_bar[step.long()][:, None]
        alpha, sigma, flat = alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), x.double().flatten(1)
        level = sigma**2 + alpha**2 * 0.04
        mean = torch.softmax((alpha * flat @ self.points.T - alpha**2 * self.points.square().sum(1) / 2) / level, 1)
        mean = mean @ self.points
        clean = mean + alpha * 0.04 / level * (flat - alpha * mean)
        return ((flat - alpha * clean) / sigma).view_as(x).float()


def make():
    alpha_bar = np.cumprod(1 - np.linspace(1e-3, 0.2, 100))
    return mibench.Checkpoint(Optimal(alpha_bar), alpha_bar, shape=(1, 40, 32))
'''


def sing(folder, seeds, noise=0.0):
    """Wavs of three tones each, 0.6 s at 8 kHz."""
    folder.mkdir()
    t = np.arange(4800) / 8000
    for k in seeds:
        chance = np.random.default_rng(k)
        tones, loud = chance.uniform(150, 1500, (3, 1)), chance.uniform(0.1, 0.3, (3, 1))
        swell = np.exp(-(((t - chance.uniform(0.2, 0.4)) / 0.15) ** 2))
        wave = swell * (loud * np.sin(2 * np.pi * tones * t)).sum(0) + 0.001 * chance.standard_normal(len(t))
        soundfile.write(folder / f"{k:03d}.wav", wave + noise * chance.standard_normal(len(t)), 8000, subtype="PCM_16")


@pytest.fixture
def audit(tmp_path):
    sing(tmp_path / "members", range(64))
    sing(tmp_path / "others", range(64, 224))
    (tmp_path / "model.py").write_text(MODEL)

    def done(**options):
        given = {"members": tmp_path / "members", "nonmembers": tmp_path / "others", "data": "speech", "samples": 5}
        given |= {"attacks": ("pia:times=[0.1,0.3]",), "controls": False, "out": tmp_path / "out"} | options
        settings = AuditSettings(model=f"{tmp_path / 'model.py'}:make", **given)
        return Audit.read(run_audit(settings, lambda line: None, lambda *done: None))

    return done


@pytest.mark.slow
def test_a_model_of_mels_leaks_and_noisy_wavs_are_told_apart(audit, tmp_path):
    found = audit()
    assert found.verdict == "leaks" and found.attacks[0].auroc > 0.95
    assert (found.folder / "report.html").read_text().count("data:image/png;base64") == 2 * len(found.leaks)
    sing(tmp_path / "noisy", range(64, 224), noise=0.01)
    assert audit(nonmembers=tmp_path / "noisy").verdict == "split"


@pytest.mark.slow
def test_wavs_that_do_not_fit_are_refused(audit, tmp_path):
    wav = tmp_path / "others" / "100.wav"
    for options, said in (
        ({"range": (0, 1)}, "--range is of images"),
        ({"normalisation": (3, 5)}, "loss on the members"),
        ({"data": "speech:frames=64"}, r"samples of shape \(1, 40, 64\), the model takes \(1, 40, 32\)"),
        ({"data": "speech:skip_broken=true"}, "leave out skip_broken"),
        ({"data": "images"}, "for wavs give --data speech"),
    ):
        with pytest.raises(UsageError, match=said):
            audit(**options)
    wav.write_bytes(wav.read_bytes()[:500])
    with pytest.raises(UsageError, match=r"100\.wav is incomplete"):
        audit()
