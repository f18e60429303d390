"""The pictures of the Markdown boards: the same bytes each time, with every name, whatever it is, as text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from made_records import attacked, board_of, sampled
from test_page import HOSTILE, suite

from mibench.leaderboard.markdown import TRADEOFF, TRAINING
from mibench.site.pictures import picture

pytestmark = pytest.mark.slow


def texts(svg: str) -> set[str]:
    return {one.text or "" for one in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}


def test_a_picture_names_each_defense_and_is_the_same_bytes_each_time(tmp_path):
    names = ["vp", "ve", HOSTILE[:50]]
    suite(tmp_path, defenses=names, checkpoints=[0.5])
    for k, name in enumerate(names):
        for step in (5, 0):
            attacked(tmp_path, name, "loss", 0.7 + k / 20, 0.72 + k / 20, checkpoint=step)
            sampled(tmp_path, name, 0.1, 0.2, distances=(8 + 9 * k, 9 + 9 * k), checkpoint=step)
    for name in (TRADEOFF, TRAINING):
        svg = picture(board_of(tmp_path), name)
        assert svg == picture(board_of(tmp_path), name)
        assert {"vp", "ve", "digits"} <= texts(svg) and any(text.startswith("</script>") for text in texts(svg))
        assert 'font-family="Liberation Sans, Arial' in svg and "<script" not in svg and "e+308" not in svg


def test_many_defenses_share_a_legend(tmp_path):
    measures = ["", *(f"+early:share=0.{k}" for k in range(1, 7))]
    names = [base + measure for base in ("vp", "hold2") for measure in measures]
    suite(tmp_path, defenses=names)
    for k, name in enumerate(names):
        attacked(tmp_path, name, "loss", 0.6 + k / 50, 0.61 + k / 50)
        sampled(tmp_path, name, 0.1, 0.2, distances=(8 + k, 9 + k))
    assert {"vp", "hold2", "no measure", "early"} <= texts(picture(board_of(tmp_path), TRADEOFF))
