"""Dropout."""

from pydantic import Field
from torch import nn

from mibench import Measure, UsageError


class Dropout(Measure):
    """Dropout: a step leaves out a random share of the hidden units."""

    name = "dropout"
    paper = "Srivastava et al., JMLR 15, 2014"
    stage = "network"
    adaptive = ("lira",)

    p: float = Field(0.1, ge=0, lt=1, description="share of the hidden units that a step leaves out")

    def network(self, network: nn.Module) -> nn.Module:
        """Every dropout layer of the network leaves out this share; the bundled networks have one after each activation."""
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Dropout)]
        if not layers:
            raise UsageError(f"dropout: the network {type(network).__name__} has no nn.Dropout layer; give it some")
        for layer in layers:
            layer.p = self.p
        return network
