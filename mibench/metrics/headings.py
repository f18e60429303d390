"""Names of the distances in a feature space. Commands that print them need no torch, so neither does this file."""

__all__ = ["FID_SPACE", "REHEARSAL_SPACE", "heading", "kernel_heading"]

FID_SPACE = "inception-2048"
"""The space whose distances are called FID and KID."""

REHEARSAL_SPACE = f"{FID_SPACE}-rehearsal"
"""The space of the same network with random weights; its distances are neither."""


def heading(space: str) -> str:
    """The name of the Fréchet distance in a space: FID with Inception features, else FD."""
    return "FID" if space == FID_SPACE else "FD"


def kernel_heading(space: str) -> str:
    """The name of the kernel distance in a space: KID with Inception features, else KD."""
    return "KID" if space == FID_SPACE else "KD"
