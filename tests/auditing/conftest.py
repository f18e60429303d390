"""Folders of digits, and models of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from digit_models import MODEL, save


@pytest.fixture(scope="session")
def pictures():
    """Digits in colour and in grey, shuffled, (1797, 8, 8, 3) and (1797, 8, 8), in [0, 255]."""
    from sklearn.datasets import load_digits

    grey = np.random.default_rng(0).permutation(load_digits().images) / 16 * 255
    warm = np.stack([grey, grey * 0.6 + 40, 255 - grey], -1)
    return SimpleNamespace(grey=grey.round(), colour=warm.round())


@pytest.fixture(scope="session")
def digits(tmp_path_factory, pictures):
    """Folders of 64 members and 160 others, in grey and in colour."""
    root = tmp_path_factory.mktemp("digits")
    for kind in ("grey", "colour"):
        images = getattr(pictures, kind)
        (root / kind).mkdir()
        save(images[:64], root / kind / "members")
        save(images[64:224], root / kind / "others")
        save(images[300:620], root / kind / "elsewhere")
    return root


@pytest.fixture
def optimal(tmp_path, digits):
    """Writes file.py:make with settings; its name."""

    def write(kind="grey", folder="members", **settings):
        shape = (1, 8, 8) if kind == "grey" else (3, 8, 8)
        given = {"folder": str(digits / kind / folder), "shape": shape, "blur": 0.2, **settings}
        path = tmp_path / "model.py"
        path.write_text(MODEL.replace("{settings}", repr(given)))
        return f"{path}:make"

    return write
