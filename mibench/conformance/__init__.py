"""What the harness and its users rely on, tested on anyone's components; see ``mibench check``."""

from mibench.conformance.findings import Finding, check, check_plugin, checks_of

__all__ = ["Finding", "check", "check_plugin", "checks_of"]
