"""``mibench check`` names each fault, and is silent about what is sound."""

import pytest
from wrong import ATTACK, DATASET, DEFENSE, WRONG, plugin


@pytest.mark.parametrize("fault", WRONG)
def test_a_fault_is_named(tmp_path, cli, fault):
    source, kind, words = WRONG[fault]
    file = tmp_path / "wrong.py"
    file.write_text(plugin(source))
    code, out, _ = cli("check", file)
    assert code == 1 and f"{file}: not sound" in out
    lines = [line for line in out.splitlines() if line.startswith("wrong ")]
    assert any(words in line and line.split()[1] == kind for line in lines), out


@pytest.mark.parametrize("source", [ATTACK, DATASET, DEFENSE], ids=["attack", "dataset", "defense"])
def test_what_is_sound_passes(tmp_path, cli, source):
    file = tmp_path / "sound.py"
    file.write_text(plugin(source))
    code, out, _ = cli("check", file)
    assert code == 0 and f"{file}: sound" in out and "wrong " not in out.replace(" wrong ", " "), out


def test_wrong_usage(tmp_path, cli):
    code, _, err = cli("check", "no-such-package")
    assert code == 2 and "no-such-package" in err
    code, _, err = cli("check", tmp_path / "missing.py")
    assert code == 2 and "there is no plugin file" in err and "--plugin" not in err
    code, _, err = cli("check", tmp_path)
    assert code == 2 and "is a folder; install its package with pip" in err
    code, _, err = cli("check", "mibench", "--component", "nothing:path=x")
    assert code == 2 and "no component 'nothing'" in err
