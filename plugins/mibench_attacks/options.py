"""Types of options that attacks share."""

from typing import Annotated

from pydantic import Field

__all__ = ["Time"]

Time = Annotated[float, Field(gt=0, le=1)]
