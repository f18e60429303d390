"""Early stopping by a fixed share of the steps."""

from pydantic import Field

from mibench import Measure, Recipe


class Early(Measure):
    """Early stopping: a fixed share of the steps, chosen without a look at the data."""

    name = "early"
    paper = "folklore; Prechelt, Early stopping – but when?, 1998"
    stage = "step"
    adaptive = ("lira",)

    share: float = Field(0.5, gt=0, le=1, description="of the recipe's steps that are taken")

    def adapt_recipe(self, recipe: Recipe) -> Recipe:
        """Fewer steps; warm-up and decay of the learning rate shrink with them."""
        return recipe.model_copy(update={"steps": max(1, round(self.share * recipe.steps))})
