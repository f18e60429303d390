"""What the tests of jobs share."""

import pytest
from commands import Result


@pytest.fixture
def mibench(cli):
    """Run the command line in this process; its jobs are processes of their own."""
    return lambda *argv: Result(*cli(*argv))
