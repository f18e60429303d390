"""What attacks that compare a sample with a reconstruction share."""

from mibench import Attack

__all__ = ["Reconstruction"]


class Reconstruction(Attack):
    """An attack whose score is −‖residual‖², the residual an image of its own, which a wrapper may filter."""

    def residuals(self, model, x, ctx):
        """For each setting the difference between sample and reconstruction, (B, *item)."""
        raise NotImplementedError(f"{type(self).__name__} must implement residuals()")

    def score(self, model, x, ctx):
        """−‖residual‖² for each setting."""
        return {name: -found.flatten(1).square().sum(1) for name, found in self.residuals(model, x, ctx).items()}

    def __str__(self):
        return self.label
