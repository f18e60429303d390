"""The registry: bundled methods load, a broken plugin is a row and costs nobody else."""

import textwrap
from importlib.metadata import version

import pytest
from benches import cell, judged, made

from mibench.components import Attack
from mibench.errors import UsageError
from mibench.names import build
from mibench.plugins import load, source_of
from mibench.results.store import Store

SOUND = """
    from mibench import Attack, hookimpl

    class Mine(Attack):
        "A loose attack."
        name = "mine"
        published = "x"

        def score(self, model, x, ctx):
            return {"x": x.flatten(1).sum(1)}

    @hookimpl
    def mibench_attacks():
        return [Mine]
"""

BROKEN = {
    "import": ("import nothing_of_this_name", "cannot be imported"),
    "exit": ("raise SystemExit(0)", "cannot be imported"),
    "syntax": ("def f(:", "cannot be imported"),
    "misspelt": (SOUND.replace("def mibench_attacks", "def mibench_atacks"), "unknown hook 'mibench_atacks'"),
    "arguments": (SOUND.replace("mibench_attacks()", "mibench_attacks(what)"), "hooks are refused"),
    "raises": (SOUND.replace("return [Mine]", "raise RuntimeError('oh no')"), "raised RuntimeError: oh no"),
    "not-a-list": (SOUND.replace("return [Mine]", "return Mine"), "return a list"),
    "not-a-class": (SOUND.replace("return [Mine]", "return [3]"), "subclasses of mibench.Attack"),
    "taken": (SOUND.replace('"mine"', '"pia"'), "name 'pia' is taken by plugin 'attacks'"),
    "nameless": (SOUND.replace('name = "mine"', ""), "no valid `name`"),
    "silent": (SOUND.replace('"A loose attack."', ""), "no docstring"),
    "access": (
        SOUND.replace('published = "x"', 'published = "x"; access = "gradient"'),
        "one of data, samples, network",
    ),
    "unknown-variable": (
        SOUND.replace('published = "x"', 'published = "x"; acces = "network"'),
        "no class variable `acces`; did you mean `access`?",
    ),
    "typed-variable": (
        SOUND.replace('published = "x"', 'published: str = "x"'),
        "gives the class variable `published` a type",
    ),
    "hookless": ("x = 1", "implements no hook"),
    "defaults": (
        SOUND.replace('published = "x"', 'published = "x"\n        p: float = Field(0, gt=0)').replace(
            "from mibench import", "from pydantic import Field\n    from mibench import"
        ),
        "its defaults are refused",
    ),
}


def write(tmp_path, name, source):
    path = tmp_path / f"{name.replace('-', '_')}.py"
    path.write_text(textwrap.dedent(source))
    return str(path)


def test_bundled_methods_come_through_entry_points():
    registry = load()
    assert set(registry.components["defense"]) >= {"vp", "ve", "cld", "hold"}
    assert set(registry.components["attack"]) >= {"loss", "secmi", "pia", "likelihood"}
    assert set(registry.components["dataset"]) >= {"swiss-roll", "digits"}
    assert not [p.problems for p in registry.plugins if p.source.startswith("mibench ") and p.problems]


def test_a_loose_file_is_a_plugin(tmp_path):
    registry = load((write(tmp_path, "sound", SOUND),))
    assert issubclass(registry.components["attack"]["mine"], Attack)
    assert build(registry, "attack", "mine").label == "mine"


def test_a_record_names_the_packages_of_its_methods(tmp_path):
    attack = build(load((write(tmp_path, "mine", SOUND),)), "attack", "mine")
    store, one = Store(tmp_path / "store"), cell(attack)
    made([one], store)
    packages = judged([one], store).records["mine"].packages
    bundled = f"mibench {version('mibench')}"
    assert packages.pop("attack").startswith("mine.py sha256:")
    assert packages == {"dataset": bundled, "defense": bundled}
    assert source_of(build(load(), "attack", "secmi+filter")) == bundled


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_a_row_and_costs_nobody_else(tmp_path, cli, kind):
    source, expected = BROKEN[kind]
    broken, sound = write(tmp_path, kind, source), write(tmp_path, "fine", SOUND.replace('"mine"', '"fine"'))
    code, out, _ = cli("plugins", "--plugin", broken, "--plugin", sound)
    assert code == 1
    rows = [line for line in out.splitlines() if "BROKEN" in line]
    assert len(rows) == 1 and expected in rows[0] and ";" in rows[0] and "uninstall" not in rows[0]
    assert "attack fine" in out and "defense hold" in out


def test_a_missing_plugin_file_is_wrong_usage():
    with pytest.raises(UsageError, match="there is no plugin file"):
        load(("/nowhere/at_all.py",))


def test_a_file_that_is_given_twice_is_loaded_once(tmp_path):
    path = write(tmp_path, "mine", SOUND)
    plugins = load((path, str(tmp_path / "." / ".." / tmp_path.name / "mine.py"))).plugins
    assert [plugin.problems for plugin in plugins if plugin.name == "mine"] == [[]]


@pytest.mark.parametrize("argv", [("ls",), ("ls", "mine"), ("run", "--defense", "vp", "--attack", "mine")])
def test_the_problem_of_a_broken_file_is_told_where_its_component_is_missed(tmp_path, cli, argv):
    path = write(tmp_path, "mine", "import nothing_of_this_name")
    _, _, err = cli(*argv, "--plugin", path)
    assert "No module named 'nothing_of_this_name'" in err and f"`mibench plugins --plugin {path}`" in err
    assert err.count("\n") == 1
