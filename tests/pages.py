"""The code of the documents, for the tests that run it."""

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
BLOCKS = re.compile(
    r"(?:^\*\*`(?P<file>[^`]+)`\*\*\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks(name):
    """The blocks of code of a page: each with ``kind``, ``text`` and, if it is the content of a file, ``file``."""
    return BLOCKS.finditer((DOCS / name).read_text(encoding="utf-8"))
