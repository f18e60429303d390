"""Captions of files, and latent text-conditional pipelines in the layout of Stable Diffusion, from end to end."""

import csv
import json
import shutil
import socket
import sys

import pytest
import torch
from digit_models import save

from mibench.auditing.checkpoint import Checkpoint
from mibench.auditing.files import read_side
from mibench.auditing.folder import ModelFolder
from mibench.auditing.labels import read_conditions
from mibench.auditing.result import Audit
from mibench.auditing.run import run_audit
from mibench.auditing.settings import AuditSettings
from mibench.errors import UsageError
from mibench.file_datasets import FileReader
from mibench_datasets import Images

TOLD = Checkpoint(
    lambda x, step, given: x,
    alpha_bar=[0.9, 0.7, 0.4, 0.1],
    shape=(1, 8, 8),
    captions=lambda texts: torch.tensor([[len(text), 7] for text in texts]),
)
ROWS = [
    ("members/0000.png", "a cat"),
    ("members/0001.png", "two, dogs"),
    ("0002.png", ""),
    ("others/0000.png", "x" * 9),
]


@pytest.fixture
def sides(tmp_path, pictures):
    save(pictures.grey[:3], tmp_path / "members")
    save(pictures.grey[3:4], tmp_path / "others")
    reader = FileReader.known[Images](Images(size=8, channels=1))
    return [read_side(tmp_path / name, reader, lambda x: x, None, print) for name in ("members", "others")]


def told(sides, rows, say=print):
    path = sides[0].path.parent / "captions.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return read_conditions(None, str(path), sides, TOLD, say)


def test_a_csv_gives_each_file_its_caption(sides):
    said = []
    found = told(sides, [("file", "caption"), *ROWS, ("gone.png", "z")], said.append)
    digests = [digest for side in sides for digest in side.digests]
    assert found.given(digests).tolist() == [[5, 7], [9, 7], [0, 7], [9, 7]] and found.of[digests[1]] == "two, dogs"
    assert len(said) == 1 and "1 of 5 rows are of no file, such as gone.png" in said[0]
    empty = read_conditions(None, "empty", sides, TOLD, print)
    assert empty.given(digests).tolist() == [[0, 7]] * 4 and empty.spec(digests) != found.spec(digests)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("file", "caption"), *ROWS[1:]], r"0000\.png has no caption in .*captions\.csv"),
        ([("file", "caption"), ("0000.png", "a"), *ROWS[1:3]], "0000.png may be members/0000.png or others/0000.png"),
        ([("file", "caption"), *ROWS, ROWS[0]], "members/0000.png is in it 2 times"),
        ([("file", "text"), *ROWS], "the columns file and caption"),
    ],
)
def test_captions_that_do_not_fit_the_files_are_refused(sides, rows, said):
    with pytest.raises(UsageError, match=said) as error:
        told(sides, rows)
    assert "\n" not in str(error.value)


def test_a_model_of_text_needs_captions_and_no_other_takes_them(sides):
    with pytest.raises(UsageError, match="conditional on text; give --captions CSV"):
        read_conditions(None, None, sides, TOLD, print)
    with pytest.raises(UsageError, match="--labels folders: the model is not conditional on classes"):
        read_conditions("folders", "empty", sides, TOLD, print)
    bare = Checkpoint(lambda x, step: x, alpha_bar=[0.9, 0.7, 0.4, 0.1], shape=(1, 8, 8))
    with pytest.raises(UsageError, match="--captions empty: the model is not conditional on captions"):
        read_conditions(None, "empty", sides, bare, print)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, pictures):
    """A folder with ``pipe``, whose U-Net has learnt a little of ``members``, ``others`` and ``captions.csv``."""
    from text_pipelines import make, train, write_files

    root = tmp_path_factory.mktemp("text")
    torch.set_num_threads(1)
    parts = make(root / "pipe")
    train(root / "pipe", parts, root, write_files(root, pictures.colour), 60)
    return root


def files_of(root):
    return {"members": root / "members", "nonmembers": root / "others", "model": str(root / "pipe")}


@pytest.mark.slow
def test_a_pipeline_is_audited_by_the_command(pipeline, tmp_path, cli):
    sides = [
        f"--members={pipeline / 'members'}",
        f"--nonmembers={pipeline / 'others'}",
        "--quiet",
        "--samples",
        "4",
        "--guidance=2",
    ]
    told = [
        "--captions",
        str(pipeline / "captions.csv"),
        "--attack",
        "clid:draws=1 pia",
        "--out",
        str(tmp_path / "out"),
    ]
    code, out, err = cli("audit", str(pipeline / "pipe"), *sides, *told)
    assert not code and "clid:draws=1: AUROC" in out, err
    found = Audit.read(tmp_path / "out")
    rows = {row.attack: row for row in found.attacks}
    assert set(rows) == {"clid:draws=1", "pia"} and rows["pia"].exact > 0.95 and rows["clid:draws=1"].exact is None
    assert found.model["shape"] == [4, 8, 8] and found.model["autoencoder"] == "AutoencoderKL"
    assert not any(row.tells for row in found.split) and found.leaks[0].distance > 0
    page = (found.folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 2 * len(found.leaks) and "under captions (" in page


@pytest.mark.slow
def test_under_the_empty_caption_nothing_is_told_and_no_network_is_asked(pipeline, tmp_path, monkeypatch):
    def closed(*given, **options):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", closed)
    monkeypatch.setattr(socket, "create_connection", closed)
    options = {"attacks": ("clid:draws=1,times=[0.1]",), "controls": False, "samples": 0, "out": tmp_path / "out"}
    settings = AuditSettings(**files_of(pipeline), captions="empty", **options)
    found = Audit.read(run_audit(settings, lambda line: None, lambda *done: None))
    scores = found.scores[found.attacks[0].attack]
    assert found.attacks[0].setting in ("t=0.1", "combined") and len(scores) == 144
    checkpoint = ModelFolder.at(pipeline / "pipe").checkpoint()
    x, step = torch.randn(2, 4, 8, 8), torch.full((2,), 50.0)
    own, none = (
        checkpoint.network(x, step, checkpoint.captions(texts)).sample for texts in (["seven 3", ""], ["", ""])
    )
    assert torch.equal(own[1], none[1]) and not torch.allclose(own[0], none[0])


@pytest.mark.slow
def test_latents_are_those_of_the_pipeline_and_come_back(pipeline):
    from diffusers import AutoencoderKL

    latents = ModelFolder.at(pipeline / "pipe").checkpoint().autoencoder
    plain = AutoencoderKL.from_pretrained(pipeline / "pipe" / "vae", local_files_only=True)
    x = torch.rand(5, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        z = plain.encode(x).latent_dist.mode() * plain.config.scaling_factor
        back = plain.decode(z / plain.config.scaling_factor).sample
    torch.testing.assert_close(latents.encode(x), z)
    torch.testing.assert_close(latents.decode(z), back)
    assert latents.shape == (3, 16, 16)


def _edit(folder, part, **values):
    path = folder / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _pickles(folder):
    weights = folder / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: shutil.rmtree(folder / "tokenizer"), "no .*tokenizer; a network that is given text needs"),
        (lambda folder: (folder / "text_encoder_2").mkdir(), "one CLIP encoder and nothing else are known"),
        (lambda folder: _edit(folder, "text_encoder", architectures=["T5"]), "unknown text encoder 'T5'"),
        (
            lambda folder: _edit(folder, "unet", cross_attention_dim=48),
            "32 numbers for each token, the network takes 48",
        ),
        (lambda folder: _edit(folder, "unet", in_channels=9), "latents have 4 channels, the network takes 9"),
        (lambda folder: _edit(folder, "vae", _class_name="AutoencoderDC"), "unknown autoencoder 'AutoencoderDC'"),
        (_pickles, "pickles only, which can run any program"),
        (lambda folder: None, r"needs transformers .*pip install 'mibench\[audit\]'"),
    ],
)
def test_pipelines_with_other_parts_are_refused_in_one_line(pipeline, tmp_path, monkeypatch, change, said):
    shutil.copytree(pipeline / "pipe", tmp_path / "pipe")
    change(tmp_path / "pipe")
    if "transformers" in said:
        monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=said) as error:
        ModelFolder.at(tmp_path / "pipe").checkpoint()
    assert "\n" not in str(error.value)
