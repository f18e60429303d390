"""A model of mibench as a folder of diffusers: other tools load it, and its audit gives the scores of the board again."""

import numpy as np
import pytest
import torch
from benches import cell, judged, made
from digit_models import save

from mibench import IMAGE
from mibench.auditing.export import export_diffusers, write_images
from mibench.auditing.result import Audit
from mibench.auditing.run import run_audit
from mibench.auditing.settings import AuditSettings
from mibench.diffusion.model import Cost
from mibench.errors import UsageError
from mibench.evaluate.target import Target
from mibench.results.store import Store, default_root

ATTACKS = ["loss:draws=4", "pia", "secmi", "sima"]


@pytest.fixture
def exported(tmp_path, pictures):
    """Trains a model of images for a few steps, and writes it and its files; the scores of attacks on it."""

    def export(defense="vp"):
        save(pictures.grey[:400], tmp_path / "pool")
        dataset = f"images:path={tmp_path / 'pool'},size=8,channels=1,members=64,nonmembers=80,reference=100"
        recipe = {"steps": 400, "width": 64}
        cells = [cell(name, defense=defense, dataset=dataset, model="trained", recipe=recipe) for name in ATTACKS]
        store = Store(tmp_path / "board")
        made(cells, store)
        target = Target(cells[0], store, "cpu")
        export_diffusers(target.released.counted(Cost()), cells[0].own_recipe, tmp_path / "made")
        write_images(target.data, cells[0].dataset.modality, tmp_path / "files")
        return {name: store.load("scores", record.key)[0] for name, record in judged(cells, store).records.items()}

    return export


@pytest.mark.slow
@pytest.mark.parametrize("defense", ["vp", "vp:parameterisation=sufficient"])
def test_the_audit_of_an_exported_model_gives_the_scores_of_the_board(tmp_path, exported, defense):
    board = exported(defense)
    sides = {name: tmp_path / "files" / name for name in ("members", "nonmembers", "reference")}
    settings = AuditSettings(
        model=str(tmp_path / "made"), **sides, attacks=tuple(ATTACKS), out=tmp_path / "out", samples=0, controls=False
    )
    audit = Audit.read(run_audit(settings, print, lambda *done: None))
    files = {
        side: torch.tensor([int(name.removesuffix(".png")) for name in table["file"]])
        for side, table in audit.scores.groupby("side", sort=False)
    }
    for row in audit.attacks:
        scores, _ = Store(default_root()).load("scores", row.key)
        assert scores.keys() == board[row.attack].keys()
        for setting, values in board[row.attack].items():
            there = values[files[setting.partition("/")[0].removesuffix("s")]]
            assert ((scores[setting] - there) / there.abs()).abs().max() < 1e-5, (row.attack, setting)


@pytest.mark.slow
def test_diffusers_loads_an_exported_model(tmp_path, exported, pictures):
    from diffusers import DDPMPipeline

    exported()
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "made")
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=16, num_inference_steps=20, output_type="np", generator=torch.manual_seed(0)).images
    assert images.shape == (16, 8, 8, 1) and np.isfinite(images).all()
    assert abs(images.mean() - pictures.grey.mean() / 255) < 0.1
    with pytest.raises(UsageError, match="is there already"):
        write_images(None, IMAGE, tmp_path / "files")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "say what to write"),
        (["--diffusers", "x"], "name a record, or a model with --defense"),
        (["--diffusers", "x", "--defense", "vp"], "holds no trained model of digits · vp · seed 0"),
        (["gone.json", "--diffusers", "x"], "there is no record gone.json"),
        (["gone.json", "--diffusers", "x", "--seed", "1"], "leave out --seed"),
    ],
)
def test_what_cannot_be_exported_is_said(cli, flags, said):
    code, _, err = cli("export-model", *flags)
    assert code == 2 and said in err
