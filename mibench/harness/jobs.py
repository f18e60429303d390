"""What a worker does: make a model, attack it, measure its samples. Each job ends in an artifact, each cell in a record."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mibench.context import Context, generator
from mibench.data import Split, calibration, nearest, split
from mibench.diffusion.denoisers import ExactDenoiser
from mibench.diffusion.model import Model
from mibench.diffusion.sampling import sample
from mibench.diffusion.training import blank_model, train
from mibench.errors import Diverged, MibenchError, NotApplicable
from mibench.harness.cells import Cell
from mibench.harness.records import AttackMetrics, Estimate, Record, Setting, UtilityMetrics
from mibench.harness.store import Store
from mibench.metrics.features import feature_space
from mibench.metrics.frechet import frechet
from mibench.metrics.membership import auroc, auroc_interval, tpr_at_fpr, tpr_interval

__all__ = ["make_model", "measure"]

BATCH = 512
FPRS = (0.1, 0.01)
Progress = Callable[[int, int], None]


def make_model(cell: Cell, store: Store, device: str, progress: Progress) -> None:
    """Train the cell's model, or take the exact one, and store it."""
    began = time.monotonic()
    data = split(cell.dataset, cell.seed)
    facts: dict[str, Any] = {"steps": None, "loss": None}
    if cell.model == "trained":
        model = blank_model(cell.defense, data.shape, data.data_variance, cell.recipe, device, cell.seed)
        try:
            facts = train(cell.defense, model, data.members, cell.recipe, cell.seed, progress)
        except FloatingPointError as error:
            raise MibenchError(f"{cell.defense.label} cannot be trained with this recipe: {error}") from None
        tensors = dict(model.denoiser.state_dict())  # type: ignore[attr-defined]
        facts["member_loss"], facts["heldout_loss"] = (
            _held_loss(model, part, cell.seed) for part in (data.members, data.nonmembers[: len(data.members)])
        )
    else:
        tensors = {"points": data.members if cell.model == "exact" else data.reference}
    facts |= {"seconds": round(time.monotonic() - began, 3), "device": device}
    store.save("models", cell.model_key, tensors, {"spec": cell.model_spec(), "split": data.fingerprint, **facts})


@torch.no_grad()
def _held_loss(model: Model, part: Tensor, seed: int, draws: int = 64) -> float:
    """The unweighted loss per dimension on samples, over times uniform in the horizon and shared noise."""
    process, noise = model.process, generator(seed, "held loss")
    times = (process.t_min + (process.horizon - process.t_min) * (torch.arange(draws) + 0.5) / draws).tolist()
    x = part.to(model.device, torch.float64)
    losses = []
    for t in times:
        eps = torch.randn(process.order, *model.shape, generator=noise).double().to(model.device)
        losses.append((model.eps(model.noised(x, eps, t), t) - eps[-1]).square().mean())
    return torch.stack(losses).mean().item()


def _open_model(cell: Cell, store: Store, data: Split, device: str) -> tuple[Model, dict[str, Any]]:
    """The stored model of a cell, as its defense releases it, and the facts stored with it."""
    tensors, meta = store.load("models", cell.model_key)
    if meta["split"] != data.fingerprint:
        raise MibenchError(
            f"the split of {cell.dataset.label}, seed {cell.seed}, is not the one its model was trained on (a library "
            "changed it); use a fresh --store"
        )
    if cell.model == "trained":
        model = blank_model(cell.defense, data.shape, data.data_variance, cell.recipe, device, cell.seed)
        model.denoiser.load_state_dict(tensors)  # type: ignore[attr-defined]
        model.denoiser.eval()  # type: ignore[attr-defined]
    else:
        points = tensors["points"].to(device)
        model = Model(cell.defense.process(), ExactDenoiser(points), data.shape, device)
    return cell.defense.release(model), meta


def measure(cell: Cell, store: Store, device: str, progress: Progress) -> Record:
    """Attack the stored model, or measure its samples, and make the record."""
    began = time.monotonic()
    data = split(cell.dataset, cell.seed)
    model, meta = _open_model(cell, store, data, device)
    key = cell.key(meta["digest"])
    status, reason, attack, utility = "done", None, None, None
    try:
        if cell.attack:
            attack = _attack(cell, model, data, store, key, progress)
        else:
            utility = _utility(cell, model, data, store, key)
    except NotApplicable as error:
        status, reason = "n/a", str(error)
    scored = cell.utility.samples if cell.attack is None else len(data.members) + len(data.nonmembers)
    return Record(
        key=key,
        status=status,  # type: ignore[arg-type]
        reason=reason,
        labels=cell.labels,
        cell=cell.spec(),
        split={
            "fingerprint": data.fingerprint,
            "near_duplicates": data.near_duplicates(),
            "members": len(data.members),
            "nonmembers": len(data.nonmembers),
            "reference": len(data.reference),
        },
        model={k: v for k, v in meta.items() if k not in ("spec", "split")} | {"key": cell.model_key},
        attack=attack,
        utility=utility,
        cost={"forwards": model.cost.forwards / scored, "vjps": model.cost.vjps / scored},
        environment=_environment(device),
        seconds=round(time.monotonic() - began, 3),
    ).sealed()


def _environment(device: str) -> dict[str, Any]:
    packages = ("mibench", "torch", "numpy", "scipy", "scikit-learn")
    chip = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "device": device,
        "chip": chip,
        "threads": torch.get_num_threads(),
        "scoring_batch": BATCH,
        "deterministic": device == "cpu",
    }


# ── privacy ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _attack(cell: Cell, model: Model, data: Split, store: Store, key: str, progress: Progress) -> AttackMetrics:
    assert cell.attack
    ctx = Context(cell.seed, model.device)
    parts = {"members": data.members, "nonmembers": data.nonmembers}
    cuts = {name: calibration(part) for name, part in parts.items()}
    known = [parts[name][: cuts[name]].to(model.device, torch.float64) for name in parts]
    cell.attack.fit(model, known[0], known[1], ctx)
    model.cost.forwards = model.cost.vjps = 0
    scores: dict[str, Tensor] = {}
    total = sum(len(part) for part in parts.values())
    done = 0
    for name, part in parts.items():
        rows: dict[str, list[Tensor]] = {}
        for chunk in torch.split(part, BATCH):
            x = chunk.to(model.device, torch.float64)
            try:
                with torch.no_grad():
                    answer = cell.attack.score(model, x, ctx)
            except Diverged as error:
                raise Diverged(done + error.sample, error.t) from None
            for setting, values in _checked(cell, answer, len(x)).items():
                rows.setdefault(setting, []).append(values)
            done += len(chunk)
            progress(done, total)
        scores |= {f"{name}/{setting}": torch.cat(values) for setting, values in rows.items()}
    digest = store.save("scores", key, scores, {"spec": cell.spec()})["digest"]
    return attack_metrics(scores, cuts, cell.attack.published, digest)


def _checked(cell: Cell, answer: Any, count: int) -> dict[str, Tensor]:
    """The answer of an attack, if it is what attacks must return.

    Raises:
        MibenchError: naming the attack, the setting and what is wrong.
    """
    name = cell.attack.label if cell.attack else ""
    if not isinstance(answer, dict) or not answer:
        raise MibenchError(
            f"attack {name} returned {type(answer).__name__}; it must return a dict of tensors, one per setting"
        )
    for setting, values in answer.items():
        if not isinstance(values, Tensor) or values.shape != (count,):
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise MibenchError(f"attack {name}, setting {setting!r}: expected a tensor of shape ({count},), got {got}")
        if not torch.isfinite(values).all():
            raise MibenchError(f"attack {name}, setting {setting!r}: a score is NaN or infinite")
    return {setting: values.detach().double().cpu() for setting, values in answer.items()}


def attack_metrics(scores: dict[str, Tensor], cuts: dict[str, int], published: str, digest: str) -> AttackMetrics:
    """Metrics from raw scores alone: settings are chosen on the calibration split, numbers are from the evaluation split.

    Args:
        scores: ``members/<setting>`` and ``nonmembers/<setting>`` → (B,).
        cuts: how many of each are for calibration; they come first.
        published: the setting of the paper; where the attack was given other options, its first setting instead.
        digest: of the stored scores.
    """
    settings = [name.removeprefix("members/") for name in scores if name.startswith("members/")]
    arrays = {name: value.numpy() for name, value in scores.items()}

    def parts(setting: str, calibrating: bool) -> tuple[np.ndarray, np.ndarray]:
        sides = [(arrays[f"{side}/{setting}"], cuts[side]) for side in ("members", "nonmembers")]
        first, second = (a[:cut] if calibrating else a[cut:] for a, cut in sides)
        return first, second

    both = {s: (auroc(*parts(s, True)), auroc(*parts(s, False))) for s in settings}

    def full(setting: str) -> Setting:
        members, nonmembers = parts(setting, False)
        rates = {}
        for fpr in FPRS:
            value = tpr_at_fpr(members, nonmembers, fpr)
            if value is None:
                reason = f"{len(nonmembers)} non-members; {round(10 / fpr)} are needed"
                rates[f"{fpr:g}"] = Estimate(value=None, reason=reason)
            else:
                rates[f"{fpr:g}"] = Estimate(value=value, interval=tpr_interval(members, nonmembers, fpr))
        area = Estimate(value=both[setting][1], interval=auroc_interval(members, nonmembers))
        return Setting(setting=setting, auroc=area, tpr=rates)

    made = {name: len(arrays[f"{name}/{settings[0]}"]) - cuts[name] for name in cuts}
    return AttackMetrics(
        settings=both,
        published=full(published if published in both else settings[0]),
        calibrated=full(max(both, key=lambda s: both[s][0])),
        oracle=full(max(both, key=lambda s: both[s][1])),
        scores=digest,
        **made,
    )


# ── utility ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _utility(cell: Cell, model: Model, data: Split, store: Store, key: str) -> UtilityMetrics:
    n = cell.utility.samples
    how = cell.utility
    drawn = sample(model, n, generator(cell.seed, "samples"), how.evaluations, how.method, how.grid).float().cpu()
    chance = generator(cell.seed, "baselines")
    copies = data.members[torch.randint(len(data.members), (n,), generator=chance)]
    flat = data.members.flatten(1).double()
    values, vectors = torch.linalg.eigh(torch.cov(flat.T))
    gauss = (
        torch.randn(n, flat.shape[1], generator=chance, dtype=torch.float64) * values.clamp_min(0).sqrt() @ vectors.T
    )
    gauss = (flat.mean(0) + gauss).clamp(flat.amin(0), flat.amax(0)).float().view(n, *data.shape)
    space = feature_space(cell.dataset.modality)
    reference = space(data.reference)
    half = torch.randperm(len(reference), generator=chance)
    halves = half[: len(half) // 2], half[len(half) // 2 :]
    distance, from_copies, from_gauss = (frechet(space(x), reference) for x in (drawn, copies, gauss))
    limit = nearest(data.reference, data.members).quantile(0.01)
    digest = store.save("samples", key, {"samples": drawn}, {"spec": cell.spec()})["digest"]
    return UtilityMetrics(
        space=space.name,
        n=n,
        reference=len(reference),
        distance=distance,
        copies=from_copies,
        gauss=from_gauss,
        null=frechet(reference[halves[0]], reference[halves[1]]),
        fraction=(distance - from_copies) / (from_gauss - from_copies),
        copied=(nearest(drawn, data.members) < limit).double().mean().item(),
        members_distance=frechet(space(drawn), space(data.members)),
        samples=digest,
    )
