"""What distances in a feature space are called; it loads no torch."""

__all__ = ["FID_SPACE", "heading", "kernel_heading"]

FID_SPACE = "inception-2048"
"""The name of the space whose distances are called FID and KID."""


def heading(space: str) -> str:
    """What the Fréchet distance in the space of this name is called: FID with Inception features, else FD."""
    return "FID" if space == FID_SPACE else "FD"


def kernel_heading(space: str) -> str:
    """What the kernel distance in the space of this name is called: KID with Inception features, else KD."""
    return "KID" if space == FID_SPACE else "KD"
