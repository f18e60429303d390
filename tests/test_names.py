"""Names and options, and the lines that mistakes get."""

import pytest

from mibench.errors import UsageError
from mibench.names import build
from mibench.plugins import load


@pytest.fixture(scope="module")
def registry():
    return load()


def test_short_and_long_names_are_the_same_component(registry):
    short, long = build(registry, "defense", "hold3"), build(registry, "defense", "hold:order=3")
    assert short == long and short.label == "hold3" and short.spec() == long.spec()


def test_a_display_name_is_read_by_people(registry):
    shown = {
        "defense": {
            "hold3:parameterisation=sufficient": "HOLD(3), sufficient",
            "hold2+dropout:p=0.3": "HOLD(2) + dropout, p 0.3",
        },
        "attack": {"secmi+filter": "SecMI + filter", "lira:mode=offline,shadows=4": "LiRA, offline, shadows 4"},
        "dataset": {"swiss-roll": "swiss roll"},
    }
    found = {kind: {text: build(registry, kind, text).display_name for text in names} for kind, names in shown.items()}
    assert found == shown


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("defense", "hold3:aux_variance=2.0,epsilon_num=0.001"),
        ("defense", "vp:parameterisation=sufficient"),
        ("attack", "pia:p=2.0,times=[0.1,0.25]"),
        ("dataset", "digits:members=200"),
        ("attack", "secmi+filter"),
        ("attack", "secmi:steps=10+filter:radius=3.0"),
        ("attack", "rediffuse:times=[0.1,0.2]+filter:radius=3.0,scale=0.5"),
    ],
)
def test_a_label_names_its_component(registry, kind, text):
    component = build(registry, kind, text)
    assert build(registry, kind, component.label) == component
    assert component.label == text


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("defense", "hodl3", "unknown defense 'hodl3'; did you mean"),
        ("attack", "secm", "did you mean 'secmi'"),
        ("defense", "hold0", "order"),
        ("defense", "hold-1", "order"),
        ("defense", "hold1000", "order"),
        ("defense", "hold3:order=2", "given twice"),
        ("defense", "hold:ordre=3", "unknown option 'ordre'; did you mean 'order'"),
        ("defense", "hold:order", "option=value"),
        ("defense", "hold:order=x", "order"),
        ("defense", "hold2:aux_variance=nan", "finite"),
        ("defense", "hold2:aux_variance=-1", "aux_variance"),
        ("defense", "ve:sigma_max=0.001", "sigma_max must be above sigma_min"),
        ("attack", "pia:p=0", "p: "),
        ("attack", "pia:times=[0.1", "list"),
        ("attack", "pia:times=[2]", "times"),
        ("attack", "secmi:steps=200", "steps × stride"),
        ("dataset", "digits:members=-5", "members"),
        ("attack", "loss7", "unknown attack 'loss7'"),
        ("attack", "secmi+fliter", "wrapper 'fliter' is unknown; did you mean 'filter'?"),
        ("defense", "vp,ve", "no comma and no space; give one defense"),
        ("attack", "pia loss", "no comma and no space; give one attack"),
        ("attack", "utility", "samples are measured beside every attack"),
        ("attack", "loss:p=1", "unknown option 'p'"),
        ("attack", "secmi+", "attack 'secmi+': a + without a wrapper behind it"),
        ("attack", "+filter", "attack '+filter': a + without an attack before it"),
        ("measure", "dropout+early", "measures come after a defense: vp+dropout+early"),
        ("attack", "scmi+filter", "unknown attack 'scmi'; did you mean 'secmi'"),
        ("attack", "secmi+loss", "wrapper 'loss' is no wrapper"),
        ("attack", "pia+filter", "'filter' cannot wrap 'pia'; it wraps rediffuse, secmi"),
        ("attack", "secmi+filter+filter", "'filter' cannot wrap 'filter'"),
        ("attack", "secmi+filter:radius=-1", "radius"),
        ("attack", "secmi+filter:base=pia", "before the +"),
        ("dataset", "digits+filter", "only a defense and an attack can be followed by +"),
        ("defense", "hold3+filter", "unknown measure 'filter'"),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(registry, kind, text, message):
    with pytest.raises(UsageError) as caught:
        build(registry, kind, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_wrapper_without_an_attack_wraps_its_default_one(registry):
    assert build(registry, "attack", "filter") == build(registry, "attack", " secmi + filter ")


def test_a_wrapper_is_known_by_what_it_wraps(registry):
    specs = [build(registry, "attack", f"{base}+filter").spec() for base in ("secmi", "secmi:steps=10", "rediffuse")]
    assert all(spec["name"] == "filter" for spec in specs)
    assert specs[0] != specs[1] != specs[2]


def test_a_plus_in_a_number_is_no_wrapper(registry):
    assert build(registry, "defense", "ve:sigma_max=1e+1") == build(registry, "defense", "ve:sigma_max=10")
