"""Checkpoints made by plain diffusers code, audited: python benchmarks/plain_diffusers.py [NAME …] [--images ZIP] [--out DIR].

Five small U-Nets memorise 64 images; a sixth sees 1500 digits once. Each is audited by the attacks loss, SecMI and PIA: the
former with 64 members against 256 others, where each attack should reach .95; the latter with 300 against 297, where none should
leave [.42, .58], as 11 % of attacks would by chance with 64. Minutes each on one thread; what is trained already is only
audited. The model of CIFAR needs an archive of its images.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image
from torch.nn import functional

import mibench
from mibench.archives import open_archive

MADE = {
    "linear": {"beta_schedule": "linear", "prediction_type": "epsilon"},
    "cosine": {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
    "scaled": {"beta_schedule": "scaled_linear", "prediction_type": "sample"},
    "classes": {"beta_schedule": "linear", "prediction_type": "epsilon"},
    "cifar": {"beta_schedule": "linear", "prediction_type": "epsilon"},
    "once": {"beta_schedule": "linear", "prediction_type": "epsilon"},
}
MEMBERS, OTHERS = 64, 256


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Digits of 8×8 grey levels, shuffled, (1797, 8, 8, 1), and their classes."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))
    return (found.images[order, :, :, None] * 255 / 16).round().astype(np.uint8), found.target[order]


def photos(archive: str) -> np.ndarray:
    """The first images of an archive at 16×16, (N, 16, 16, 3)."""
    files = open_archive(archive)
    names = [name for name in files.names if name.endswith((".jpg", ".png"))][: MEMBERS + OTHERS]
    import io

    opened = (Image.open(io.BytesIO(data)).convert("RGB").resize((16, 16)) for _, data in files.files(names))
    return np.stack([np.asarray(image) for image in opened])


def write(images: np.ndarray, classes: np.ndarray | None, folder: Path) -> None:
    """Images as PNGs, in a folder for each class where there are classes."""
    for k, pixels in enumerate(images):
        path = folder / (str(classes[k]) if classes is not None else "") / f"{k:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.squeeze()).save(path)


def train(name: str, images: np.ndarray, classes: np.ndarray | None, folder: Path, steps: int, batch: int = 32) -> None:
    """Train a U-Net, as tutorials of diffusers do, and save it."""
    torch.manual_seed(0)
    channels, size = images.shape[3], images.shape[1]
    network = UNet2DModel(
        sample_size=size, in_channels=channels, out_channels=channels, block_out_channels=(32, 64), layers_per_block=1,
        norm_num_groups=8, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, add_attention=False,
        num_class_embeds=None if classes is None else 10,
    )  # fmt: skip
    scheduler = DDPMScheduler(**MADE[name])
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order: list[int] = []
    for step in range(steps):
        order = order if len(order) >= batch else torch.randperm(len(x)).tolist()
        rows, order = order[:batch], order[batch:]
        clean, noise, k = x[rows], torch.randn_like(x[rows]), torch.randint(0, 1000, (len(rows),))
        noised = scheduler.add_noise(clean, noise, k)
        labels = {} if classes is None else {"class_labels": torch.from_numpy(classes)[rows]}
        answer = network(noised, k, **labels).sample
        kind = MADE[name]["prediction_type"]
        target = {"epsilon": noise, "sample": clean}.get(kind)
        loss = functional.mse_loss(answer, scheduler.get_velocity(clean, noise, k) if target is None else target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            print(f"{name}: step {step}, loss {loss.item():.4f}", flush=True)
    network.save_pretrained(folder / "model" / "unet")
    scheduler.save_pretrained(folder / "model" / "scheduler")


def main() -> None:
    """Train what is missing, and audit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(MADE)} (default: all that can be made)")
    parser.add_argument("--images", help="archive of CIFAR-10 images")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path("plain-diffusers"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.names or [name for name in MADE if name != "cifar" or args.images]:
        images, classes = (photos(args.images), None) if name == "cifar" else digits()
        classes = classes if name == "classes" else None
        folder, trained_on = args.out / name, 1500 if name == "once" else MEMBERS
        members, others = (300, 297) if name == "once" else (MEMBERS, OTHERS)
        if not (folder / "model" / "scheduler").exists():
            steps, batch = (trained_on // 4, 4) if name == "once" else (args.steps, 32)
            train(name, images[:trained_on], None if classes is None else classes[:trained_on], folder, steps, batch)
            parts = {"members": slice(members), "others": slice(trained_on, trained_on + others)}
            for part, rows in parts.items():
                write(images[rows], None if classes is None else classes[rows], folder / part)
        options = {"labels": "folders"} if name == "classes" else {}
        audit = mibench.audit(
            folder / "model", folder / "members", folder / "others", attacks=["loss", "secmi", "pia"],
            out=folder / "audit", store=folder / "store", threads=1, say=print, **options,
        )  # fmt: skip
        print(name, audit.headline, {row.attack: round(row.auroc, 3) for row in audit.attacks}, flush=True)


if __name__ == "__main__":
    main()
