"""What attacks share that wrap any other one."""

from typing import Any

from pydantic import Field, SerializeAsAny

from mibench import Attack
from mibench_attacks.loss import Loss

__all__ = ["Wrapper"]


class _OfBase:
    """A class variable of the base; of the class, that of its default base."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, wrapper: "Wrapper | None", owner: type) -> Any:
        return getattr(Loss if wrapper is None else wrapper.base, self.name)


class Wrapper(Attack):
    """An attack that wraps another one, written attack+wrapper."""

    access = _OfBase()  # type: ignore[assignment]
    published = _OfBase()  # type: ignore[assignment]
    adaptive = _OfBase()  # type: ignore[assignment]
    wraps = Attack

    base: SerializeAsAny[Attack] = Field(Loss(), exclude=True, description="what stands before the +")

    @property
    def label(self) -> str:
        """The base's label, with the wrapper's behind a +."""
        return f"{self.base.label}+{super().label}"

    def spec(self) -> dict[str, Any]:
        """Both specs."""
        return super().spec() | {"base": self.base.spec()}
