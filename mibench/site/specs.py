"""The plots as Vega-Lite specifications. Their rows are the data set "points", see ``mibench.site.points``."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["FONT", "Spec", "roc", "steps", "tradeoff"]

Spec = dict[str, Any]

TICKS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
"""Where a logit axis of the AUROC has a tick, and at 1 minus each."""

NEAREST_ONE = 0.9995
"""Larger AUROCs are drawn here on a logit axis, and smaller ones than 1 minus this there."""

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""Vl-convert has the first of these in itself, and the others are as wide: text takes the same room on every computer."""

CONFIG = {
    "aria": False,
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridDash": [2, 3],
        "domainColor": "#bbb",
        "tickColor": "#bbb",
        "labelColor": "#4d5661",
        "titleColor": "#4d5661",
    },
}

END = "datum.end"
COLOUR = {"field": "colour", "type": "nominal", "scale": None}
SHAPE = {"field": "shape", "type": "nominal", "scale": None}
TIP = {"field": "tip"}
GREY = {"color": "#888", "strokeWidth": 1, "tooltip": None}


def tradeoff(logit: bool = False) -> Spec:
    """The worst known AUROC against the distance of the samples, along each training and at its end, with the Pareto front.

    Args:
        logit: whether the AUROC has a logit axis, which tells .99 from .999.
    """
    names = ("area", "low", "high", "null")
    clipped = {name: f"clamp(datum.{name}, {1 - NEAREST_ONE:g}, {NEAREST_ONE})" for name in names}
    shown = {name: f"log({text} / (1 - {text}))" if logit else f"datum.{name}" for name, text in clipped.items()}
    axis: Spec = {"title": "worst known AUROC (lower is more private)"}
    if logit:
        ticks = sorted({round(math.log(p / (1 - p)), 6) for tick in TICKS for p in (tick, 1 - tick)})
        axis |= {"values": ticks, "labelExpr": "format(1 / (1 + exp(-datum.value)), '.3~f')"}
    scale = {"zero": False, "nice": False, "padding": 12}
    y = {"field": "y_area", "type": "quantitative", "scale": scale, "axis": axis}
    distance = {"type": "log", "nice": False, "padding": 28}
    x = {
        "field": "fd",
        "type": "quantitative",
        "scale": distance,
        "title": "distance (FD) of the samples (left is better)",
    }
    place = {"x": x, "y": y, "color": COLOUR}
    order = {"field": "order", "type": "quantitative"}
    band = {"aggregate": [{"op": op, "field": "y_null", "as": op} for op in ("min", "max")]}
    across = {"y": {**y, "field": "min"}, "y2": {"field": "max"}, "x": {"value": 0}, "x2": {"value": "width"}}
    front = {**GREY, "type": "line", "color": "#999", "opacity": 0.7}
    along = {"x": x, "y": y, "order": {"field": "fd", "type": "quantitative"}}
    return _spec(
        360,
        [{"calculate": text, "as": f"y_{name}"} for name, text in shown.items()],
        [
            _layer(
                {"type": "rect", "opacity": 0.15, "color": "#888", "tooltip": None},
                across,
                {"filter": f"{END} && datum.null != null"},
                band,
            ),
            _layer({**GREY, "type": "rule"}, {"y": {"datum": 0 if logit else 0.5, "type": "quantitative"}}),
            _layer({**front, "strokeDash": [1, 3]}, along, {"filter": "datum.front != null"}),
            _layer(front, along, {"filter": "datum.front"}),
            _layer(
                {"type": "line", "strokeWidth": 1, "opacity": 0.45, "tooltip": None},
                {**place, "detail": {"field": "cell_of"}, "order": order},
                {"filter": "datum.few"},
            ),
            _layer(
                {"type": "rule", "opacity": 0.8, "tooltip": None},
                {**place, "y": {**y, "field": "y_low"}, "y2": {"field": "y_high"}},
                {"filter": END},
            ),
            _layer(
                {"type": "rule", "opacity": 0.8, "tooltip": None},
                {**place, "x": {**x, "field": "fd_low"}, "x2": {"field": "fd_high"}},
                {"filter": f"{END} && datum.fd_low != null"},
            ),
            _layer(
                {"type": "point", "filled": True, "opacity": 0.7, "size": 18},
                {**place, "tooltip": TIP},
                {"filter": f"!{END} && datum.few"},
            ),
            _ends(90, place),
        ],
    )


def roc() -> Spec:
    """TPR against FPR, both on log axes, a line for each seed."""

    def rate(field: str, title: str) -> Spec:
        scale = {"type": "log", "domainMax": 1, "nice": False}
        axis = {"values": [k * 10**-e for e in range(6) for k in (5, 2, 1)][2:], "format": "~g"}
        return {"field": field, "type": "quantitative", "scale": scale, "axis": axis, "title": title}

    encoding = {
        "x": rate("fpr", "false positive rate"),
        "y": rate("tpr", "true positive rate"),
        "color": COLOUR,
        "detail": {"field": "line"},
        "order": {"field": "order", "type": "quantitative"},
        "tooltip": TIP,
    }
    mark = {"type": "line", "interpolate": "step-after", "strokeWidth": 1.3, "opacity": 0.85}
    guess = {name: encoding[name] for name in ("x", "y")}
    return _spec(
        320,
        [],
        [
            _layer(mark, encoding, {"filter": "datum.line != 'guess'"}),
            _layer({**GREY, "type": "line"}, guess, {"filter": "datum.line == 'guess'"}),
        ],
    )


def steps(figure: str, lower: str, upper: str, title: str) -> Spec:
    """A figure with its interval, each the name of a field, against the step of training, a line for each defense."""
    x = {"field": "step", "type": "quantitative", "title": "training step", "axis": {"tickCount": 6}}
    x["scale"] = {"nice": False, "padding": 14}
    y = {"field": figure, "type": "quantitative", "title": title, "scale": {"zero": False}}
    shared = {"x": x, "y": y, "color": COLOUR}
    return _spec(
        260,
        [{"filter": f"datum.few && datum.step && datum.{figure} != null"}],
        [
            _layer({"type": "line", "strokeWidth": 1.3}, {**shared, "detail": {"field": "cell_of"}}),
            _layer(
                {"type": "rule", "opacity": 0.6},
                {**shared, "y": {**y, "field": lower}, "y2": {"field": upper}},
                {"filter": f"datum.{lower} != null"},
            ),
            _layer(
                {"type": "point", "filled": True, "opacity": 1, "size": 30},
                {**shared, "shape": SHAPE, "tooltip": TIP},
                {"filter": f"!{END}"},
            ),
            _ends(50, shared),
        ],
    )


def _ends(size: int, place: Spec) -> Spec:
    """The points at the end of training, which have labels, see ``mibench.site.compiling``."""
    mark = {"type": "point", "filled": True, "opacity": 1, "size": size, "cursor": "pointer"}
    return {"name": "ends", **_layer(mark, {**place, "shape": SHAPE, "tooltip": TIP}, {"filter": END})}


def _layer(mark: Spec, encoding: Spec, *transform: Spec) -> Spec:
    return {"transform": list(transform), "mark": mark, "encoding": encoding}


def _spec(height: int, transform: list[Spec], layer: list[Spec]) -> Spec:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "config": CONFIG,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        "data": {"name": "points"},
        "transform": transform,
        "layer": layer,
    }
