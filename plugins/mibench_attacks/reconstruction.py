"""What attacks that compare a sample with a reconstruction share."""

from torch import Tensor

from mibench import Attack, Context, Model

__all__ = ["Reconstruction"]


class Reconstruction(Attack):
    """An attack whose score is −‖residual‖², where the residual has the shape of a sample, so that a wrapper may filter it."""

    def residuals(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """For each setting the difference between sample and reconstruction, (B, *item)."""
        raise NotImplementedError(f"{type(self).__name__} must implement residuals()")

    def score(self, model: Model, x: Tensor, ctx: Context) -> dict[str, Tensor]:
        """−‖residual‖² for each setting."""
        residuals = self.residuals(model, x, ctx)
        return {setting: -residual.flatten(1).square().sum(1) for setting, residual in residuals.items()}

    def __str__(self) -> str:
        return self.label
