"""What an audit is asked to do: plain values, as the command line and ``mibench.audit`` give them to the process that does it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mibench.kinds import Device

__all__ = ["AuditSettings"]


class AuditSettings(BaseModel):
    """The options of ``mibench audit``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(min_length=1, description="folder of a diffusers model, or file.py:function")
    members: Path = Field(description="folder, zip or tar of the files that it was trained on")
    nonmembers: Path = Field(description="folder, zip or tar of files that it was not trained on")
    reference: Path | None = Field(None, description="further files that it was not trained on")
    data: str = Field("images", description="how files are read: images, or speech and its options")
    attacks: tuple[str, ...] = Field((), description="attacks; none for all that need no training")
    labels: str | None = Field(None, description="classes of files: folders, or a CSV")
    captions: str | None = Field(None, description="captions of files: empty, or a CSV")
    empty_label: int | None = Field(None, ge=0, description="the class that stands for none")
    size: int | None = Field(None, ge=1, le=4096, description="height and width of a sample")
    range: tuple[float, float] | None = Field(
        None, description="values of black and white that the model was trained on"
    )
    normalisation: tuple[float, float] | None = Field(None, description="shift and scale of the model's data")
    weights: str | None = Field(None, description="folder of the network in the model's folder")
    scheduler: Path | None = Field(None, description="folder of another scheduler")
    trust_pickle: bool = Field(False, description="whether weights that are pickles are read")
    limit: int | None = Field(None, ge=1, description="files of each side at most")
    batch: int = Field(128, ge=1, le=65536, description="samples that are scored at a time")
    seed: int = Field(0, ge=0, description="of shuffling and noise")
    samples: int = Field(200, ge=0, le=100_000, description="samples of the model that files are compared with")
    guidance: float = Field(1.0, ge=0, le=100, description="scale of classifier-free guidance of those samples")
    device: Device = Field("auto", description="where to compute")
    threads: int | None = Field(None, ge=1, le=1024, description="threads of the CPU")
    controls: bool = Field(True, description="whether the exact and the fresh model are attacked too")
    out: Path = Field(Path("audit"), description="folder of the report")
    store: Path | None = Field(None, description="folder of scores")
    plugins: tuple[Path, ...] = Field((), description="loose plugin files")

    @field_validator("members", "nonmembers", "reference", "scheduler", "out", "store")
    @classmethod
    def _at_home(cls, given: Path | None) -> Path | None:
        try:
            return given and given.expanduser()
        except RuntimeError as error:
            raise ValueError(str(error)) from None

    @field_validator("range")
    @classmethod
    def _rises(cls, given: tuple[float, float] | None) -> tuple[float, float] | None:
        if given and not given[0] < given[1]:
            raise ValueError("the value of black must be below that of white")
        return given

    @field_validator("normalisation")
    @classmethod
    def _scales(cls, given: tuple[float, float] | None) -> tuple[float, float] | None:
        if given and not given[1] > 0:
            raise ValueError("the scale must be above 0")
        return given

    @model_validator(mode="after")
    def _one_of_two(self) -> AuditSettings:
        if self.range and self.normalisation:
            raise ValueError("--range and --normalisation say the same; give one of the two")
        return self

    @property
    def moved(self) -> tuple[float, float] | None:
        """Shift and scale of samples in [−1, 1], or as they are read; None for those of the dataset."""
        if self.normalisation:
            return self.normalisation
        if self.range:
            low, high = self.range
            scale = 2 / (high - low)
            return -1 - low * scale, scale
        return None
