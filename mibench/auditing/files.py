"""The files of an audit as a dataset: members, non-members and a reference, each a folder or archive."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import PrivateAttr
from torch import Tensor

from mibench.archives import Archive, open_archive
from mibench.auditing.conditions import Conditions
from mibench.auditing.seen import Decode, Seen
from mibench.components import Dataset
from mibench.errors import MibenchError, UsageError
from mibench.file_datasets import FileDataset, FileReader
from mibench.modality import Modality

__all__ = ["FEWEST", "AuditedFiles", "Side", "read_side"]

FEWEST = 50
"""Samples of each side that are evaluated at the least; a fifth of each side is for calibration."""

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Side:
    """The samples of one side, in the order of the names of their files.

    Attributes:
        path: of the folder or archive.
        names: of the N files.
        digests: sha256 of each file.
        x: (N, *item) float32, in the units of the model.
        facts: what describes each file.
        spectrum: (N, F), features of each sample as it was read, for ``blind:features=spectrum``; (N, 0) where there are none.
        there: how many files the folder holds.
    """

    path: Path
    names: tuple[str, ...]
    digests: tuple[str, ...]
    x: Tensor
    facts: tuple[dict[str, float], ...]
    spectrum: Tensor
    there: int

    def part(self, rows: Tensor) -> Side:
        """The samples with these indices, (B,)."""
        index = rows.tolist()
        names, digests, facts = (tuple(row[k] for k in index) for row in (self.names, self.digests, self.facts))
        return replace(self, names=names, digests=digests, x=self.x[rows], facts=facts, spectrum=self.spectrum[rows])

    @property
    def content(self) -> str:
        """sha256 over the digests of all files."""
        return hashlib.sha256("\n".join(self.digests).encode()).hexdigest()


def read_side(path: Path, reader: FileReader, encode: Encode, limit: int | None, say: Callable[[str], None]) -> Side:
    """Read the files of a side, some at a time, so that only what is kept stays in memory.

    Args:
        path: of a folder or archive.
        reader: of single files.
        encode: from samples as they are read, (B, *item), to those that the model is trained on.
        limit: how many files are read at most, spread evenly over their names.
        say: takes a line now and then.

    Raises:
        UsageError: where there is no such folder, or a file cannot be read.
    """
    try:
        archive, dataset = open_archive(path), reader.dataset
    except MibenchError as error:
        raise UsageError(str(error)) from None
    names = [name for name in archive.names if dataset.counted(name) is not None]
    if not names:
        raise UsageError(f"{path} holds no file that {dataset.name} reads ({len(archive.names)} other files)")
    there = len(names)
    if limit:
        names = [names[k] for k in _spread(there, limit).tolist()]
    rows: dict[str, tuple[str, Tensor, dict[str, float], Tensor]] = {}
    for block in _blocks(archive, names, reader):
        samples = torch.stack([sample for _, _, sample, _ in block])
        spectrum = _spectrum(dataset.modality, samples)
        for (name, digest, _, facts), x, seen in zip(block, encode(samples), spectrum, strict=True):
            rows[name] = digest, x, facts, seen
        if len(rows) % 1024 == 0:
            say(f"{len(rows)} of {len(names)} files of {path} read")
    digests, samples_of, facts_of, spectra = zip(*(rows[name] for name in names), strict=True)
    return Side(path, tuple(names), digests, torch.stack(samples_of), facts_of, torch.stack(spectra), there)


def _blocks(
    archive: Archive, names: list[str], reader: FileReader
) -> Iterator[list[tuple[str, str, Tensor, dict[str, float]]]]:
    """Name, digest, sample and facts of each file, up to 64 at a time."""
    block: list[tuple[str, str, Tensor, dict[str, float]]] = []
    for name, data in archive.files(names):
        try:
            sample = reader.read(data)
            block.append((name, hashlib.sha256(data).hexdigest(), sample, reader.describe(data)))
        except ValueError as error:
            raise UsageError(f"{archive.path}: {name} {error}; leave it out") from None
        if block[0][2].shape != sample.shape:
            raise UsageError(f"{archive.path}: {name} gives another shape than {block[0][0]}")
        if len(block) == 64:
            yield block
            block = []
    if block:
        yield block


def _spectrum(modality: Modality, x: Tensor) -> Tensor:
    """The features of samples as they were read, (B, F)."""
    try:
        return modality.spectrum_features(x.double())
    except MibenchError:
        return torch.zeros(len(x), 0)


class AuditedFiles(Dataset):
    """The files of an audit, divided as the auditor did; the seed only shuffles each side."""

    name = "files"

    _sides: tuple[Side, Side, Side | None] = PrivateAttr()
    _reader: FileDataset = PrivateAttr()
    _moved: tuple[float, float] = PrivateAttr((0.0, 1.0))
    _seen: Seen = PrivateAttr()
    _conditions: Conditions | None = PrivateAttr(None)
    _decode: Decode | None = PrivateAttr(None)

    @classmethod
    def of(
        cls,
        members: Side,
        nonmembers: Side,
        reference: Side | None,
        reader: FileDataset,
        move: tuple[float, float] | None = None,
        conditions: Conditions | None = None,
        decode: Decode | None = None,
    ) -> AuditedFiles:
        """The dataset of two or three sides.

        Args:
            members, nonmembers: the sides.
            reference: a third one; without it, half of the non-members take its place.
            reader: the dataset by whose rules they were read.
            move: shift and scale of the model's data; by default those of the reader's dataset.
            conditions: what a conditional model is told of each file.
            decode: from samples as the model takes them to samples as they were read, for pictures; None where they are the same.

        Raises:
            UsageError: where a file is on two sides, or there are too few.
        """
        _check(members, nonmembers, reference)
        sizes = {"members": len(members.names), "nonmembers": len(nonmembers.names)}
        if reference is None:
            sizes["reference"] = len(nonmembers.names) // 2
            sizes["nonmembers"] -= sizes["reference"]
        else:
            sizes["reference"] = len(reference.names)
        made = cls(**sizes)
        made._sides, made._reader = (members, nonmembers, reference), reader
        made._moved = move or reader.normalisation(members.x)
        made._conditions, made._decode = conditions, decode
        parts = [(side.x, side.spectrum) for side in (members, nonmembers, reference) if side]
        made._seen = Seen.of(reader.modality, parts, made._moved, decode)
        return made

    @property
    def modality(self) -> Modality:  # type: ignore[override]
        """That of the files, with the spectra of the samples as they were read."""
        return self._seen

    @property
    def label(self) -> str:
        """Its name."""
        return self.name

    def spec(self) -> dict[str, Any]:
        """What the samples are, by the digests of the files."""
        digests = [side and side.content for side in self._sides]
        reader = self._reader.spec()
        options = self.model_dump(mode="json") | {"content": digests, "read": reader, "normalisation": [*self._moved]}
        if self._conditions is not None:
            options |= self._conditions.spec([digest for side in self._sides if side for digest in side.digests])
        return {"name": self.name, "version": self.version, "options": options}

    def parts_of(self, generator: torch.Generator) -> tuple[Side, Side, Side]:
        """Members, non-members and reference, shuffled."""
        members, nonmembers, reference = (side and _shuffled(side, generator) for side in self._sides)
        assert members and nonmembers
        if reference is None:
            rows = torch.arange(len(nonmembers.names))
            reference = nonmembers.part(rows[self.nonmembers :])
            nonmembers = nonmembers.part(rows[: self.nonmembers])
        return members, nonmembers, reference

    def fixed_split(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """See Dataset."""
        members, nonmembers, reference = self.parts_of(generator)
        return members.x, nonmembers.x, reference.x

    def file_facts(self, generator: torch.Generator) -> list[dict[str, float]]:
        """See Dataset; the generator must be that of the split."""
        return [facts for side in self.parts_of(generator) for facts in side.facts]

    def conditions(self, generator: torch.Generator) -> tuple[Tensor, Tensor] | None:
        """What the model is given of each file, and of those of the reference; the generator must be that of the split."""
        if (known := self._conditions) is None:
            return None
        parts = [known.given(side.digests) for side in self.parts_of(generator)]
        return torch.cat(parts), parts[2]

    def normalisation(self, members: Tensor) -> tuple[float, float]:
        """As given, or that of the reader's dataset."""
        return self._moved

    def limited(self, count: int) -> AuditedFiles:
        """The same with at most so many files of each side, spread evenly over their names."""
        sides = [side and side.part(_spread(len(side.names), count)) for side in self._sides]
        members, nonmembers, reference = sides
        assert members and nonmembers
        return AuditedFiles.of(
            members, nonmembers, reference, self._reader, self._moved, self._conditions, self._decode
        )


def _spread(there: int, count: int) -> Tensor:
    """The indices of at most ``count`` of so many files, (count,)."""
    return torch.arange(min(there, count)) * there // min(there, count)


def _shuffled(side: Side, generator: torch.Generator) -> Side:
    return side.part(torch.randperm(len(side.names), generator=generator))


def _check(members: Side, nonmembers: Side, reference: Side | None) -> None:
    """Refuse sides that overlap or are too small."""
    sides = {"members": members, "nonmembers": nonmembers} | ({"reference": reference} if reference else {})
    known: dict[str, tuple[str, str]] = {}
    for what, side in sides.items():
        own = dict(zip(side.digests, side.names, strict=True))
        for digest, name in own.items():
            if digest in known:
                other, twin = known[digest]
                raise UsageError(f"{name} of --{what} is the same file as {twin} of --{other}; take one of them out")
        known |= {digest: (what, name) for digest, name in own.items()}
    halved = 1 if reference else 2
    for what, side, share in (("members", members, 1), ("nonmembers", nonmembers, halved)):
        kept = len(side.names) // share
        if kept - max(1, round(0.2 * kept)) < FEWEST:
            more = ", half of which is the reference" if share == 2 else ""
            limited = side.there > len(side.names)
            holds = f"--limit takes {len(side.names)} of {side.there}" if limited else f"holds {len(side.names)}"
            raise UsageError(
                f"--{what} {side.path} {holds} files{more}; {FEWEST} must be left to evaluate on beside a "
                f"fifth for calibration: give {'--limit ' if limited else ''}{63 * share} or more"
            )
