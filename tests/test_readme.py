"""README.md and docs/dynamics.md: figures that they take from the boards are those of the boards."""

import re
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table(suite, dataset, after=""):
    """The first table of a dataset on a board, or the first after some heading: its rows by defense, cells by header."""
    text = (ROOT / "leaderboards" / suite / "README.md").read_text(encoding="utf-8")
    text = text[text.index(f"\n## {dataset}") :]
    lines = text[text.index(after) :].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("| defense"))
    heads, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in takewhile(bool, lines[start:])]
    return {row[0].split("`")[1]: dict(zip(heads, row, strict=True)) for row in rows}


def worst(suite, dataset):
    """The largest worst known AUROC of each defense: that of the strongest attacker."""
    return {
        name: max(float(figure) for cell in row.values() for figure in re.findall(r"^\*\*([\d.]+)\*\*", cell))
        for name, row in table(suite, dataset).items()
    }


def shown(value, digits=3):
    """Such as ".985" or "1.000"."""
    return f"{value:.{digits}f}".removeprefix("0")


def span(values, digits=3):
    """Such as ".56 to .59"."""
    return f"{shown(min(values), digits)} to {shown(max(values), digits)}"


def claims():
    """What README says of each board, with the figures of the board."""
    leaks = worst("quick", "swiss-roll")
    distance = {
        name: float(cell.split()[0])
        for name, row in table("quick", "swiss-roll").items()
        for head, cell in row.items()
        if head.startswith("FD")
    }
    hidden = ["cld", "hold2", "hold3", "hold4"]
    yield "quick", f"the worst known AUROC is {shown(min(worst('quick', 'digits').values()))}."
    yield "quick", f"stay at {span([leaks[name] for name in hidden])} where VP has {shown(leaks['vp'])}"
    yield "quick", f"{span([distance[name] / distance['vp'] for name in hidden], 1)} times as far"

    leaks = worst("parameterisations", "swiss-roll")
    plain, sufficient = ([leaks[f"hold{n}{more}"] for n in (2, 3, 4)] for more in ("", ":parameterisation=sufficient"))
    yield "parameterisations", f"leak {span(plain)} with the former and {span(sufficient)} with the latter"

    rows = table("attacks", "digits", "### digits along the training")
    early = {name: float(row["step 200"].split()[0]) for name, row in rows.items()}
    hold = ["hold2", "hold3", "hold4"]
    yield "attacks", f"leak {span([early[name] for name in hold], 2)} at a tenth"
    yield "attacks", f"where VP leaks {shown(early['vp'], 2)}"
    yield "attacks", f"and {shown(min(worst('attacks', 'digits')[name] for name in hold))} or more at its end"

    leaks = worst("defenses/digits", "digits")
    yield (
        "defenses/digits",
        ", ".join(
            f"{name}{shown(leaks[label])}"
            for name, label in (("VP leaks ", "vp"), ("HOLD(2) ", "hold2"), ("HOLD(3) ", "hold3"))
        ),
    )
    yield (
        "defenses/digits",
        f"VP with weight decay leaks {shown(leaks['vp+weight-decay:rate=1.0'])} at a smaller distance",
    )
    yield "defenses/digits", f"HOLD(3) stopped early leaks {shown(leaks['hold3+early:share=0.25'])} at VP's distance"

    leaks = worst("defenses/swiss-roll", "swiss-roll")
    yield (
        "defenses/swiss-roll",
        f"VP leaks {shown(leaks['vp'])}, HOLD(2) {shown(leaks['hold2'])} and HOLD(3) {shown(leaks['hold3'])}",
    )
    yield "defenses/swiss-roll", f"network leaks {shown(leaks['hold2:parameterisation=sufficient'])} at VP's"

    leaks = worst("images/small", "images")
    yield "images/small", f"leak {span([leaks[name] for name in ('cld', 'hold2', 'hold3')], 2)}"
    yield "images/small", f"VP, which leaks {shown(leaks['vp'])}"
    yield "images/small", f"HOLD leaks {shown(min(leaks[name] for name in leaks if 'sufficient' in name))} and more"

    leaks = worst("speech/small", "speech")
    yield "speech/small", f"leak {span([leaks[name] for name in ('cld', 'hold2', 'hold3')])}, VP {shown(leaks['vp'])}"


def test_the_table_of_boards_says_what_the_boards_say():
    rows = dict(re.findall(r"^\| \[[^]]+\]\(leaderboards/([\w/-]+)/README\.md\) \|(.*)\|$", README, re.MULTILINE))
    assert rows.keys() == {suite for suite, _ in claims()}
    for suite, claim in claims():
        assert claim in rows[suite], f"README.md should say of {suite}: {claim}"


def test_the_table_of_parameterisations_is_that_of_the_board():
    page = (ROOT / "docs" / "dynamics.md").read_text(encoding="utf-8")
    for n in (1, 2, 3, 4):
        cells = []
        for dataset in ("swiss-roll", "digits"):
            rows, leaks = table("parameterisations", dataset), worst("parameterisations", dataset)
            for name in (f"hold{n}", f"hold{n}:parameterisation=sufficient"):
                (distance,) = (cell.split()[0] for head, cell in rows[name].items() if head.startswith("FD"))
                cells.append(f"{shown(leaks[name])} at {distance}")
        assert f"| HOLD({n}) | {' | '.join(cells)} |" in page
