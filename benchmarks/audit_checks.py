"""What the checks of an audit find and do not find: python benchmarks/audit_checks.py [wrong spoilt sound] [--seeds N].

It is started in the repository's folder.

For each seed, digits are divided anew. Models that are set up wrong must be refused before any attack for the right reason,
held-out files of another making must be told in the headline, and sound input must be neither. The models are the optimal ones
of a set of images, so that nothing is trained; minutes on one thread.
"""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image, ImageFilter

sys.path.insert(0, "tests/auditing")
from digit_models import MODEL, save

from mibench.auditing.result import Audit
from mibench.auditing.run import run_audit
from mibench.auditing.settings import AuditSettings
from mibench.errors import UsageError

WRONG = {
    "images in [0, 1] for a model of [-1, 1]": ("grey", {}, {"range": (0, 1)}, "loss on the members"),
    "images in [-1, 1] for a model of [0, 1]": ("grey", {"range": (0, 1)}, {}, "give --range=0,1"),
    "prediction type epsilon for v": ("grey", {"answers": "v_prediction"}, {}, "prediction type is another"),
    "prediction type sample for epsilon": ("grey", {"prediction": "sample"}, {}, "prediction type is another"),
    "schedule linear for cosine": ("grey", {"trained": "cosine"}, {}, "schedule is another"),
    "schedule cosine for linear": ("grey", {"schedule": "cosine"}, {}, "schedule is another"),
    "channels swapped": ("colour", {"flip": True}, {}, "reverse order"),
}
"""Kind of images, what is wrong with the model, options of the audit, and what the refusal must say."""


def noisy(image: Image.Image) -> Image.Image:
    """With noise of 3 of 255."""
    values = np.asarray(image)
    noise = np.random.default_rng(values.sum()).normal(0, 3, values.shape)
    return Image.fromarray((values + noise).round().clip(0, 255).astype(np.uint8))


SPOILT = {
    "JPEG quality": (lambda image: image.resize((16, 16), Image.Resampling.BICUBIC), "jpg", {"quality": 60}),
    "blur": (lambda image: image.filter(ImageFilter.GaussianBlur(0.6)), "png", {}),
    "size": (lambda image: image.resize((24, 24), Image.Resampling.NEAREST), "png", {}),
    "noise": (noisy, "png", {}),
}
"""How held-out files are made, as what they are saved, and how."""


def audited(folder: Path, kind: str, seed: int, model: dict[str, object], **options: object) -> str:
    """The verdict of an audit, or why it refuses."""
    shape = (1, 8, 8) if kind == "grey" else (3, 8, 8)
    settings = {"folder": str(folder / kind / "members"), "shape": shape, "blur": 0.2, **model}
    (folder / "model.py").write_text(MODEL.replace("{settings}", repr(settings)))
    given = {"members": folder / kind / "members", "nonmembers": folder / kind / "others", **options}
    audit = AuditSettings(
        model=f"{folder / 'model.py'}:make", attacks=("pia:times=[0.1,0.3]",), controls=False, samples=0, seed=seed,
        out=folder / "out", store=folder / "store", **given,
    )  # fmt: skip
    try:
        return Audit.read(run_audit(audit, lambda line: None, lambda *done: None)).verdict
    except UsageError as error:
        return str(error)


def main() -> None:
    """Print how often each check found what it should."""
    from sklearn.datasets import load_digits

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["wrong", "spoilt", "sound"], help="of wrong, spoilt, sound")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: Counter[str] = Counter()

    def count(seed: int, name: str, answer: str, said: str) -> None:
        found[name] += said in answer
        print(f"seed {seed}, {name}: {answer}", file=sys.stderr, flush=True)

    for seed in range(args.seeds):
        grey = (np.random.default_rng(seed).permutation(load_digits().images) / 16 * 255).round()
        colour = np.stack([grey, (grey * 0.6 + 40).round(), 255 - grey], -1)
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for kind, images in (("grey", grey), ("colour", colour)):
                (folder / kind).mkdir()
                for name, rows in (("members", slice(64)), ("others", slice(64, 224)), ("elsewhere", slice(300, 620))):
                    save(images[rows], folder / kind / name)
            for name, (kind, model, options, said) in WRONG.items() if "wrong" in args.parts else ():
                count(seed, name, audited(folder, kind, seed, model, **options), said)
            elsewhere = {"folder": str(folder / "grey" / "elsewhere"), "blur": 0.4}
            for name, (spoil, ending, options) in SPOILT.items() if "spoilt" in args.parts else ():
                save(grey[64:224], folder / name, spoil, ending, **options)
                count(seed, name, audited(folder, "grey", seed, elsewhere, nonmembers=folder / name), "split")
            sound = (
                ("sound: a memorised model leaks", "grey", {}, "leaks"),
                ("sound: a memorised model leaks, in colour", "colour", {}, "leaks"),
                ("sound: nothing found of a model of other digits", "grey", elsewhere, "nothing found"),
            )
            for name, kind, model, verdict in sound if "sound" in args.parts else ():
                count(seed, name, audited(folder, kind, seed, model), verdict)
    for name, times in found.items():
        print(f"{name}: {times} of {args.seeds}", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
