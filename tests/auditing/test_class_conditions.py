"""Conditional models: each sample is scored under its own class, whatever the attack; CLiD compares it with no class."""

import pytest
import torch
from digit_models import MODEL, save

from mibench.auditing.result import Audit
from mibench.auditing.run import run_audit
from mibench.auditing.settings import AuditSettings
from mibench.diffusion.denoisers import SufficientDenoiser
from mibench.diffusion.model import Model
from mibench.diffusion.networks import TakesConditions
from mibench.errors import NotApplicable, UsageError
from mibench.names import build
from mibench.plugins import load

CONDITIONAL = MODEL.replace(
    "    def forward(self, x, step):\n",
    """    def forward(self, x, step, label):
        whole = self.points
        out = torch.empty_like(x)
        for one in label.unique():  # the optimal network of a class; of all where there is none
            rows = label == one
            self.points = whole if one == 3 else whole[int(one) :: 3]
            out[rows] = self.optimal(x[rows], step[rows])
        self.points = whole
        return out

    def optimal(self, x, step):
""",
).replace('SETTINGS["shape"]\n    )', 'SETTINGS["shape"], labels=4, empty=3\n    )')


@pytest.fixture
def files(tmp_path, pictures):
    """Members and others in folders of three classes, as file k is of class k mod 3; and the conditional model."""
    for name, images in (("members", pictures.grey[:66]), ("others", pictures.grey[66:222])):
        (tmp_path / name).mkdir()
        for k in range(3):
            save(images[k::3], tmp_path / name / str(k))
    save(pictures.grey[:66], tmp_path / "flat")
    given = {"folder": str(tmp_path / "flat"), "shape": (1, 8, 8), "blur": 0.2}
    (tmp_path / "model.py").write_text(CONDITIONAL.replace("{settings}", repr(given)))
    return tmp_path


def audited(files, **options):
    given = {"members": files / "members", "nonmembers": files / "others", "samples": 20, "out": files / "out"}
    given |= {"attacks": ("pia:times=[0.1,0.3]", "clid:draws=2"), "controls": False, "labels": "folders"} | options
    settings = AuditSettings(model=f"{files / 'model.py'}:make", **given)
    return Audit.read(run_audit(settings, lambda line: None, lambda *done: None))


@pytest.mark.slow
def test_each_sample_is_scored_under_its_class(files):
    found = audited(files)
    rows = {row.attack: row for row in found.attacks}
    assert rows["pia:times=[0.1,0.3]"].auroc > 0.95 and rows["clid:draws=2"].auroc > 0.7
    assert not found.warnings and found.leaks[0].distance is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": None}, "of 4 classes; give --labels folders"),
        ({"labels": "gone.csv"}, "cannot be read"),
        ({"members": "flat"}, "lies in no folder of a class"),
        ({"empty_label": 3}, "leave out --empty-label"),
    ],
)
def test_labels_that_are_missing_or_wrong_are_refused(files, options, said):
    if "members" in options:
        options = {"members": files / "flat", "nonmembers": files / "others"}
    with pytest.raises(UsageError, match=said):
        audited(files, **options)


def test_a_csv_gives_labels(files, pictures):
    save(pictures.grey[66:222], files / "flat-others")
    table = "file,label\n" + "".join(f"{k:04d}.png,{k % 3}\n" for k in range(156))
    (files / "labels.csv").write_text(table)
    from mibench.auditing.files import read_side
    from mibench.auditing.labels import read_conditions
    from mibench.auditing.opened import open_given
    from mibench.auditing.run import _reading
    from mibench.file_datasets import FileReader

    dataset = _reading(load(), "images", (1, 8, 8))
    side = read_side(files / "flat-others", FileReader.known[type(dataset)](dataset), lambda x: x, None, print)
    model = open_given(AuditSettings(model=f"{files / 'model.py'}:make", members=files, nonmembers=files)).checkpoint
    labels = read_conditions(str(files / "labels.csv"), None, [side], model, print)
    assert [labels.of[digest] for digest in side.digests] == [k % 3 for k in range(156)]
    (files / "labels.csv").write_text(table.replace("0007.png,1", "0007.png,9"))
    with pytest.raises(UsageError, match="class 9 is none of the model's 4"):
        read_conditions(str(files / "labels.csv"), None, [side], model, print)
    for names in (("ant", "bee", "cat"), ("bee", "cat", "cat")):  # of three classes beside the empty one
        (files / "labels.csv").write_text("file,label\n" + "".join(f"{k:04d}.png,{names[k % 3]}\n" for k in range(156)))
        if "ant" in names:
            assert read_conditions(str(files / "labels.csv"), None, [side], model, print).of == labels.of
    with pytest.raises(UsageError, match="of 2 classes, and the model knows 4, so that names do not say"):
        read_conditions(str(files / "labels.csv"), None, [side], model, print)


def test_a_model_answers_under_no_condition_until_it_finds_that_of_a_sample():
    class Echo(TakesConditions):
        has_empty = True

        def forward(self, blocks, log_snr):
            return self.given(len(blocks))[:, None].float().expand(len(blocks), 1)

    model = Model(build(load(), "defense", "vp").process(), SufficientDenoiser(Echo(), 1.0), (1,))
    model.condition_of = lambda x: x[:, 0]
    x, eps = torch.tensor([[1.0], [2.0]], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    own = model.residual(x, eps, 0.5)
    u = model.noised(x, eps, 0.5)
    model.under_none(2)
    assert not torch.equal(model.eps(u, 0.5), own) and torch.equal(model.residual(x, eps, 0.5), own)
    with pytest.raises(NotApplicable, match="is not conditional"):
        Model(model.process, SufficientDenoiser(torch.nn.Identity(), 1.0), (1,)).under_none(2)
