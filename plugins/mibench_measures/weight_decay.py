"""Weight decay."""

from pydantic import Field

from mibench import Measure, Recipe


class WeightDecay(Measure):
    """Decoupled weight decay, which keeps the weights small."""

    name = "weight-decay"
    paper = "arXiv 1711.05101"
    stage = "step"
    adaptive = ("lira",)

    rate: float = Field(0.1, ge=0, le=1000, description="each step takes learning rate × this × weight away")

    def adapt_recipe(self, recipe: Recipe) -> Recipe:
        """AdamW's decay (1711.05101, algorithm 2)."""
        return recipe.model_copy(update={"weight_decay": self.rate})
