"""Vega-Lite specifications as those of Vega, with labels and a legend, which Vega-Lite has no words for."""

from __future__ import annotations

from functools import cache
from typing import Any

from mibench.site.libraries import to_vega
from mibench.site.specs import FONT, Spec, roc, steps, tradeoff

__all__ = ["PLOTS", "compiled", "filled", "plots"]

PLOTS: dict[str, Spec] = {
    "linear": tradeoff(),
    "logit": tradeoff(logit=True),
    "roc": roc(),
    "area": steps("area", "low", "high", "worst known AUROC"),
    "fd": steps("fd", "fd_low", "fd_high", "distance (FD) of the samples"),
}
"""Every plot by name, as a specification of Vega-Lite."""

SHADE = "#4d5661"

RIM = 5
"""Pixels from the middle of a mark to its rim, and from there to its label where there is room."""

ANCHORS = ["top-right", "bottom-right", "top-left", "bottom-left", "right", "left", "top", "bottom"]


@cache
def plots() -> dict[str, Spec]:
    """Every plot by name, as a specification of Vega."""
    return {name: compiled(spec) for name, spec in PLOTS.items()}


def compiled(spec: Spec) -> Spec:
    """A specification of Vega-Lite as one of Vega; where it has marks "ends", with their labels and a legend."""
    found = to_vega(spec)
    ends = next((mark for mark in found["marks"] if mark["name"] == "ends_marks"), None)
    return _with_legend(_with_labels(found, ends)) if ends else found


def filled(spec: Spec, rows: list[dict[str, Any]]) -> Spec:
    """A specification of Vega with its rows; without a legend where they have nothing for it."""
    data = [{**one, "values": rows} if one["name"] == "points" else one for one in spec["data"]]
    return {**spec, "data": data, "legends": spec.get("legends", []) if any("base" in row for row in rows) else []}


def _with_labels(spec: Spec, ends: Spec) -> Spec:
    """A name at the marks of the defenses that stand out, as far as names fit beside each other and beside all marks.

    Vega needs a canvas to lay labels out around marks, but none around the places of labels. So each mark has further
    labels without text at its rim.
    """
    rim = [[0, 0], *([RIM * x, RIM * y] for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)))]
    spots = {
        "name": "spots",
        "source": ends["from"]["data"],
        "transform": [
            {"type": "formula", "as": "spot", "expr": str(rim)},
            {"type": "flatten", "fields": ["spot"]},
            {
                "type": "formula",
                "as": "text",
                "expr": "datum.few && !datum.spot[0] && !datum.spot[1] ? datum.name : ''",
            },
        ],
    }
    place = {
        axis: {**ends["encode"]["update"][axis], "offset": {"field": f"spot[{k}]"}} for k, axis in enumerate(("x", "y"))
    }
    style = {name: {"value": value} for name, value in (("font", FONT), ("fontSize", 11), ("limit", 200))}
    label = {
        "type": "label",
        "size": {"signal": "[max(width, 1), max(height, 1)]"},
        "offset": [distance for distance in (RIM, 3 * RIM, 6 * RIM) for _ in ANCHORS],
        "anchor": 3 * ANCHORS,
        "sort": {
            "field": "datum.front",
            "order": "descending",
        },  # those on the front that generate have the first choice
    }
    labels = {
        "name": "labels",
        "type": "text",
        "from": {"data": "spots"},
        "interactive": False,
        "encode": {"enter": {**place, **style, "fill": {"field": "colour"}, "text": {"field": "text"}}},
        "transform": [label],
    }
    return {**spec, "data": [*spec["data"], spots], "marks": [*spec["marks"], labels]}


def _with_legend(spec: Spec) -> Spec:
    """What colours and shapes mean where there are too many defenses for a colour each, in as many columns as the signal says."""
    crowd = {"name": "crowd", "source": "points", "transform": [{"type": "filter", "expr": "datum.base"}]}
    scales, legends = [], []
    for channel, field, style in (("fill", "base", "colour"), ("shape", "measures", "shape")):
        domain, drawn = ({"data": "crowd", "field": name} for name in (field, style))
        scales.append({"name": field, "type": "ordinal", "domain": domain, "range": drawn})
        look = {"symbolType": "circle"} if channel == "fill" else {"symbolFillColor": SHADE, "symbolStrokeWidth": 0}
        room = {"orient": "bottom", "direction": "horizontal", "columns": {"signal": "columns"}, "labelLimit": 105}
        legends.append({channel: field, **room, **look, "labelColor": SHADE, "symbolSize": 70})
    below = {"bottom": {"direction": "vertical", "anchor": "start", "margin": 6}}
    return {
        **spec,
        "config": {**spec["config"], "legend": {"layout": below}},
        "signals": [*spec.get("signals", []), {"name": "columns", "value": 4}],
        "data": [*spec["data"], crowd],
        "scales": [*spec["scales"], *scales],
        "legends": legends,
    }
