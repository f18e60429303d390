"""Members, non-members and reference: one pool, split by seed, with a fingerprint."""

from __future__ import annotations

import functools
import hashlib
import warnings
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mibench.components import Dataset
from mibench.errors import NotApplicable, UsageError
from mibench.seeds import generator

__all__ = ["CALIBRATION", "FileFacts", "Split", "completed", "completed_split", "nearest", "on_one_scale", "split"]

CALIBRATION = 0.2


@dataclass(frozen=True)
class Split:
    """The samples of one dataset and seed, float32; all three parts are drawn from one pool.

    Attributes:
        members: (M, *item), the training data. The first fifth is for calibration, the rest for evaluation.
        nonmembers: (N, *item), not trained on, divided likewise.
        reference: (R, *item), neither trained on nor attacked; samples are compared with it.
        normalisation: shift and scale, fitted on the members; each part is (x − shift) / scale of the pool's samples x.
        notes: the dataset's warnings, such as files that were left out.
        canaries: (C, *item), outliers for an audit; (0,) without.
        included: (C,) bool, which of them are trained on beside the members.
        conditions: what a network is given beside members, non-members and reference, (M + N + R, *item), or (M + N + R, F) of
            vectors; (0,) without.
        prompts: conditions under which samples are generated, (P, *item) or (P, F); (0,) without.
    """

    members: Tensor
    nonmembers: Tensor
    reference: Tensor
    normalisation: tuple[float, float] = (0.0, 1.0)
    notes: tuple[str, ...] = ()
    canaries: Tensor = field(default_factory=lambda: torch.empty(0))
    included: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))
    conditions: Tensor = field(default_factory=lambda: torch.empty(0))
    prompts: Tensor = field(default_factory=lambda: torch.empty(0))

    def raw(self, x: Tensor) -> Tensor:
        """Samples (B, *item) without the normalisation, in the units of the pool."""
        shift, scale = self.normalisation
        return x * scale + shift

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one item."""
        return tuple(self.members.shape[1:])

    @property
    def data_variance(self) -> float:
        """Mean square of the members."""
        return self.members.double().square().mean().item()

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 over the three parts, in order, and the canaries and conditions where there are any."""
        digest = hashlib.sha256()
        audit = (self.canaries, self.included) if len(self.canaries) else ()
        given = (self.conditions, self.prompts) if len(self.conditions) else ()
        for part in (self.members, self.nonmembers, self.reference, *audit, *given):
            digest.update(repr(tuple(part.shape)).encode())
            digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def condition_of(self, x: Tensor) -> Tensor | None:
        """The conditions of (B, *item) samples, on their device; None where one of them is no sample of this split.

        Of samples with the same values, all get the condition of the last one.
        """
        rows = [self._places.get(item) for item in _items(x.detach().cpu().float())]
        known = [row for row in rows if row is not None]
        return self.conditions[known].to(x.device) if len(known) == len(rows) else None

    @functools.cached_property
    def _places(self) -> dict[bytes, int]:
        samples = _items(torch.cat([self.members, self.nonmembers, self.reference])) if len(self.conditions) else []
        return {item: row for row, item in enumerate(samples)}

    def draw_prompts(self, count: int, chance: torch.Generator) -> Tensor:
        """Conditions for ``count`` generated samples, drawn with replacement, (count, *item)."""
        return self.prompts[torch.randint(len(self.prompts), (count,), generator=chance)]

    @functools.cached_property
    def near_duplicates(self) -> int:
        """How many non-members equal a member, or are closer to one than a tenth of the median distance between neighbours."""
        known = set(_items(self.members))
        others = torch.tensor([item not in known for item in _items(self.reference)])
        copies = torch.tensor([item in known for item in _items(self.nonmembers)])
        if not others.any():
            return int(copies.sum())
        typical = nearest(self.reference[others], self.members).median()
        return int((copies | (nearest(self.nonmembers, self.members) < typical / 10)).sum())


def calibration_size(part: Tensor) -> int:
    """How many samples of a part are for calibration."""
    return max(1, round(CALIBRATION * len(part)))


def _items(x: Tensor) -> list[bytes]:
    """The bytes of each of (B, *item)."""
    return [item.tobytes() for item in x.contiguous().numpy()]


def nearest(x: Tensor, points: Tensor) -> Tensor:
    """The Euclidean distance of each of (B, *item) to the nearest of (M, *item), (B,) float64; computed in blocks."""
    distances = []
    for part in torch.split(x.flatten(1), 1024):
        blocks = torch.split(points.flatten(1), 4096)
        distances.append(torch.stack([torch.cdist(part.double(), block.double()).amin(1) for block in blocks]).amin(0))
    return torch.cat(distances)


def split(dataset: Dataset, seed: int) -> Split:
    """The split of a dataset for a seed: its fixed split where it has one, else a draw from its pool.

    Raises:
        UsageError: where the pool is smaller than the sizes asked for, or holds values that are not finite.
    """
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", UserWarning)
        if (own := dataset.fixed_split(generator(seed, "split"))) is not None:
            pool, sizes = torch.cat(own), [len(part) for part in own]
        else:
            pool = dataset.pool(generator(seed, "pool"))
            sizes = [dataset.members, dataset.nonmembers, dataset.reference]
        given = dataset.conditions(generator(seed, "split" if own is not None else "pool"))
    notes = tuple(str(one.message) for one in noted if one.category is UserWarning)
    if len(pool) < sum(sizes):
        raise UsageError(
            f"dataset {dataset.label}: members + nonmembers + reference = {sum(sizes)}, but it holds {len(pool)} samples; "
            "lower one of them, such as reference"
        )
    if not torch.isfinite(pool).all():
        raise UsageError(f"dataset {dataset.label}: the pool holds values that are not finite")
    conditions, prompts = given or (torch.empty(0), torch.empty(0))
    if own is None:
        order = torch.randperm(len(pool), generator=generator(seed, "split"))[: sum(sizes)]
        pool, conditions = pool[order], conditions[order] if given else conditions
    members, nonmembers, reference = torch.split(pool.float(), sizes)
    shift, scale = dataset.normalisation(members)
    members, nonmembers, reference = ((part - shift) / scale for part in (members, nonmembers, reference))
    canaries, included = _canaries(dataset, reference, seed) or (torch.empty(0), torch.empty(0, dtype=torch.bool))
    return Split(
        members, nonmembers, reference, (shift, scale), notes, canaries, included, conditions.float(), prompts.float()
    )


def completed(dataset: Dataset, data: Split, x: Tensor, conditions: Tensor) -> Tensor:
    """What samples (B, *item) of a split stand for under their conditions (``Dataset.complete``), in the split's units."""
    if not len(conditions):
        return x
    shift, scale = data.normalisation
    return (dataset.complete(data.raw(x), conditions.to(x)) - shift) / scale


def completed_split(dataset: Dataset, data: Split) -> Split:
    """The split with what its samples stand for in their place; itself without conditions."""
    if not len(data.conditions):
        return data
    parts = (data.members, data.nonmembers, data.reference)
    given = torch.split(data.conditions, [len(part) for part in parts])
    whole = [completed(dataset, data, part, condition) for part, condition in zip(parts, given, strict=True)]
    return replace(data, members=whole[0], nonmembers=whole[1], reference=whole[2])


def on_one_scale(dataset: Dataset, data: Split, x: Tensor) -> tuple[Split, Tensor]:
    """A completed split and completed samples, scaled by ``Dataset.normalisation`` of the completed members.

    ``completed`` leaves the scale of what a network is given, such as residuals; feature spaces take samples at the scale of
    samples. Without conditions nothing changes.
    """
    if not len(data.conditions):
        return data, x
    shift, scale = dataset.normalisation(data.members)
    members, nonmembers, reference, x = (
        (part - shift) / scale for part in (data.members, data.nonmembers, data.reference, x)
    )
    return replace(data, members=members, nonmembers=nonmembers, reference=reference), x


def _canaries(dataset: Dataset, reference: Tensor, seed: int) -> tuple[Tensor, ...]:
    """The canaries, and which of them are included: each with probability 1/2, whatever the others; nothing without."""
    if not dataset.canaries:
        return ()
    chance = generator(seed, "canaries")
    drawn = dataset.modality.canaries(reference, dataset.canaries, chance)
    return drawn, torch.rand(len(drawn), generator=chance) < 0.5


class FileFacts:
    """Facts of the files behind the members and non-members of a split, read when they are first asked for.

    Of samples with the same values in several files, all get the facts of the last one.

    Args:
        dataset, seed: as given to ``split``.
        data: the split.
    """

    def __init__(self, dataset: Dataset, seed: int, data: Split) -> None:
        self._dataset, self._seed, self._data = dataset, seed, data

    def __call__(self, x: Tensor) -> Tensor:
        """A row for each of (B, *item) samples and a column for each fact that some file has, (B, F) float64.

        Raises:
            NotApplicable: where the dataset knows no files.
        """
        return torch.stack([self._rows[item] for item in _items(x.detach().cpu().float())]).double()

    @functools.cached_property
    def _rows(self) -> dict[bytes, Tensor]:
        facts = self._dataset.file_facts(generator(self._seed, "pool"))
        if facts is None:
            raise NotApplicable("the samples come from no files")
        order = torch.randperm(len(facts), generator=generator(self._seed, "split")).tolist()
        if self._dataset.fixed_split(generator(self._seed, "split")) is not None:
            order = list(range(len(facts)))
        samples = _items(torch.cat([self._data.members, self._data.nonmembers]))
        drawn = [facts[k] for k in order[: len(samples)]]
        names = sorted({name for row in drawn for name in row})
        rows = torch.tensor([[row.get(name, 0.0) for name in names] for row in drawn], dtype=torch.float64)
        return dict(zip(samples, rows, strict=True))
