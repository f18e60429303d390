"""The weights of the last step."""

from pydantic import Field

from mibench import Measure, Recipe


class RawWeights(Measure):
    """Release of the weights after the last step, without their moving average."""

    name = "raw-weights"
    paper = "folklore"
    stage = "step"
    adaptive = ("lira",)

    ema: float = Field(0.0, ge=0, lt=1, description="decay of the moving average that is released; 0 for none")

    def adapt_recipe(self, recipe: Recipe) -> Recipe:
        """Another decay of the moving average."""
        return recipe.model_copy(update={"ema": self.ema})
