"""Tables as text, byte for byte: another version of tabulate must not change a board."""

from mibench.leaderboard.text import columns, markdown_table

GOLDEN = """\
| defense     |  worst **AUROC**   |  FD ± sd  |
|:------------|:------------------:|:---------:|
| `vp` †      | **.985** [.9, 1.0] |   1.000   |
| `a\\|b`      |         –          |   −.020   |
| `images:漢字` |        007         |  n/a[^1]  |"""


def test_markdown_is_the_same_bytes() -> None:
    """Numbers stay as they are written, a bar is escaped, line breaks and spaces at the ends go.

    Wide characters count as one, whether or not wcwidth is installed.
    """
    rows = [["`vp` †", "**.985** [.9, 1.0]", "1.000"], ["`a|b`", "–", " −.020\n"], ["`images:漢字`", "007", "n/a[^1]"]]
    assert markdown_table(["defense", "worst **AUROC**", "FD ± sd"], rows) == GOLDEN


def test_columns_for_a_terminal() -> None:
    rows = [["models", "3", "1.20 kB", ""], ["scores", "120", "7 B", "none"]]
    assert columns(rows, ["kind", "count", "size", "not needed"], right=(1, 2)) == (
        "kind      count     size  not needed\nmodels        3  1.20 kB\nscores      120      7 B  none"
    )
    assert columns([], ["kind", "count"]) == "kind  count"
