"""What a check raises."""

from mibench.errors import MibenchError

__all__ = ["Fault"]


class Fault(MibenchError):
    """A component is wrong; the message says what is wrong and what to do."""
