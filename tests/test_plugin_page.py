"""docs/plugins.md: its files are sound plugins, and the schedules are what it says."""

import pytest
import torch
from pages import blocks

from mibench import Recipe, UsageError
from mibench.diffusion.process import LinearSDE
from mibench.names import build
from mibench.plugins import load
from mibench.seeds import generator
from mibench_defenses import VP


@pytest.fixture
def page(tmp_path):
    """The folder with the files of the page."""
    for block in blocks("plugins.md"):
        if block["file"]:
            (tmp_path / block["file"]).write_text(block["text"])
    return tmp_path


def test_a_dataset_that_reads_files(page, cli):
    points = torch.randn(60, 2, generator=generator(0, "rows"))
    (page / "data").mkdir()
    for name, part in zip("ab", points.split(30), strict=True):
        (page / "data" / f"{name}.csv").write_text("\n".join(f"{x:.6f},{y:.6f}" for x, y in part.tolist()))
    text = f"rows:path={page / 'data'},members=20,nonmembers=20,reference=20"
    code, out, _ = cli("check", page / "rows.py", "--component", text)
    assert code == 0 and "60 samples of shape (2,)" in out, out
    assert "not checked without files" in cli("check", page / "rows.py")[1]
    dataset = build(load((str(page / "rows.py"),)), "dataset", text)
    (page / "data").rename(page / "elsewhere")
    assert build(load((str(page / "rows.py"),)), "dataset", text.replace("/data", "/elsewhere")).spec() != {}
    moved = build(load((str(page / "rows.py"),)), "dataset", text.replace("/data", "/elsewhere"))
    spec = moved.spec()
    assert spec["options"]["content"] and "path" not in spec["options"]
    (page / "elsewhere" / "notes.txt").write_text("does not count")
    assert dataset.model_copy(update={"path": moved.path}).spec() == spec
    (page / "elsewhere" / "a.csv").write_text("1,2")
    assert dataset.model_copy(update={"path": moved.path}).spec() != spec


def test_a_measure_of_the_step(page, cli):
    """Members whose loss is below the level give no gradient, whatever the others' losses are."""
    code, out, _ = cli("check", page / "enough.py")
    assert code == 0 and "measure enough · members apart" in out, out
    registry = load((str(page / "enough.py"),))
    defense = build(registry, "defense", "vp+enough:level=2")
    assert defense.label == "vp+enough:level=2.0" and defense.adversaries() == ("lira",)
    assert build(registry, "defense", "vp+enough+dp-sgd").label == "vp+dp-sgd:epsilon=10.0+enough"

    class Fixed(VP):
        """Losses that are given."""

        name = "fixed"

        def losses(self, model, batch):
            return batch

    (measure,) = defense.measures
    losses = torch.tensor([0.5, 3.0, 2.5], requires_grad=True)
    measure.losses(Fixed(), None, losses).sum().backward()
    assert losses.grad.tolist() == [0.0, 1.0, 1.0]
    with pytest.raises(UsageError, match="train with precision=fp32"):
        defense.check(build(registry, "dataset", "digits"), Recipe(precision="bf16"))


def test_sub_vp_is_vp_with_another_clock_and_scale(page, cli):
    """m = e^(−B) and √v = 1 − e^(−2B), β linear (2011.13456), divided by c = m e^(τ/2)."""
    code, out, _ = cli("check", page / "sub_vp.py")
    assert code == 0, out
    process = build(load((str(page / "sub_vp.py"),)), "defense", "sub-vp").process()
    t = torch.logspace(-3, 0, 50, dtype=torch.float64)
    half = (0.1 * t + 19.9 * t**2 / 2) / 2
    mean, deviation = (-half).exp(), -torch.expm1(-2 * half)
    scale = mean * (process.elapsed(t) / 2).exp()
    kernel = process.kernel(t)
    torch.testing.assert_close(scale * kernel.mean_coef[:, 0], mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(scale * kernel.factor[:, 0, 0], deviation, rtol=1e-9, atol=0)


def test_flow_matching_as_the_page_gives_it():
    process = LinearSDE(
        [[-0.5]],
        [1.0],
        rate=lambda t: 2 * t / ((1 - t) * (t**2 + (1 - t) ** 2)),
        elapsed=lambda t: torch.log1p(t**2 / (1 - t) ** 2),
        horizon=0.99,
        initial=[0.0],
        prior=[1.0],
    )
    t = torch.linspace(0.01, 0.99, 20, dtype=torch.float64)
    torch.testing.assert_close(process.kernel(t).log_snr, 2 * torch.log((1 - t) / t), rtol=1e-9, atol=1e-9)
