"""The plots as Vega-Lite specifications. Their rows are the data set "points", see ``mibench.site.points``."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from mibench.site.libraries import compiled

__all__ = ["plots", "tradeoff"]

Spec = dict[str, Any]

TICKS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
"""Where a logit axis of the AUROC has a tick, and at 1 minus each."""

NEAREST_ONE = 0.9995
"""Larger AUROCs are drawn here on a logit axis, and smaller ones than 1 minus this there."""

CONFIG = {
    "aria": False,
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "gridDash": [2, 3]},
}

END = "datum.end"
COLOUR = {"field": "colour", "type": "nominal", "scale": None}
SHAPE = {"field": "shape", "type": "nominal", "scale": None}
DISTANCE = {"type": "log", "nice": False, "padding": 28}


@cache
def plots() -> dict[str, Spec]:
    """Every plot of a page by name, as specifications of Vega."""
    return {
        "linear": _labelled(compiled(tradeoff())),
        "logit": _labelled(compiled(tradeoff(logit=True))),
        "roc": compiled(_roc()),
        "steps": compiled(_steps()),
    }


def tradeoff(logit: bool = False) -> Spec:
    """The worst known AUROC against the distance of the samples, along each training and at its end.

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
    y = {
        "field": "y_area",
        "type": "quantitative",
        "scale": {"zero": False, "nice": False, "padding": 12},
        "axis": axis,
    }
    x = {
        "field": "fd",
        "type": "quantitative",
        "scale": DISTANCE,
        "title": "distance (FD) of the samples (left is better)",
    }
    band = {"aggregate": [{"op": op, "field": "y_null", "as": op} for op in ("min", "max")]}
    interval = {"y": {**y, "field": "y_low"}, "y2": {"field": "y_high"}, "x": x, "color": COLOUR}
    sides = {"x": {**x, "field": "fd_low"}, "x2": {"field": "fd_high"}, "y": y, "color": COLOUR}
    return _spec(
        340,
        [{"calculate": text, "as": f"y_{name}"} for name, text in shown.items()],
        [
            {
                "transform": [{"filter": f"{END} && datum.null != null"}, band],
                "mark": {"type": "rect", "opacity": 0.15, "color": "#888", "tooltip": None},
                "encoding": {
                    "y": {**y, "field": "min"},
                    "y2": {"field": "max"},
                    "x": {"value": 0},
                    "x2": {"value": "width"},
                },
            },
            {
                "mark": {"type": "rule", "color": "#888", "strokeWidth": 1, "tooltip": None},
                "encoding": {"y": {"datum": 0 if logit else 0.5, "type": "quantitative"}},
            },
            {
                "transform": [{"filter": "datum.few"}],
                "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.45, "tooltip": None},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": COLOUR,
                    "detail": {"field": "cell_of"},
                    "order": {"field": "order", "type": "quantitative"},
                },
            },
            {
                "transform": [{"filter": END}],
                "mark": {"type": "rule", "opacity": 0.8, "tooltip": None},
                "encoding": interval,
            },
            {
                "transform": [{"filter": f"{END} && datum.fd_low != null"}],
                "mark": {"type": "rule", "opacity": 0.8, "tooltip": None},
                "encoding": sides,
            },
            {
                "transform": [{"filter": f"!{END} && datum.few"}],
                "mark": {"type": "point", "filled": True, "opacity": 0.7, "size": 18},
                "encoding": {"x": x, "y": y, "color": COLOUR, "tooltip": {"field": "tip"}},
            },
            {
                "transform": [{"filter": END}],
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 90, "cursor": "pointer"},
                "name": "ends",
                "encoding": {"x": x, "y": y, "color": COLOUR, "shape": SHAPE, "tooltip": {"field": "tip"}},
            },
        ],
    )


def _roc() -> Spec:
    """TPR against FPR, both on log axes, a line for each seed."""

    def rate(field: str, title: str) -> Spec:
        scale = {"type": "log", "domainMax": 1, "nice": False}
        return {"field": field, "type": "quantitative", "scale": scale, "title": title}

    encoding = {
        "x": rate("fpr", "false positive rate"),
        "y": rate("tpr", "true positive rate"),
        "color": COLOUR,
        "detail": {"field": "line"},
        "order": {"field": "order", "type": "quantitative"},
        "tooltip": {"field": "tip"},
    }
    mark = {"type": "line", "interpolate": "step-after", "strokeWidth": 1.3, "opacity": 0.85}
    return _spec(
        320,
        [],
        [
            {"transform": [{"filter": "datum.line != 'guess'"}], "mark": mark, "encoding": encoding},
            {
                "transform": [{"filter": "datum.line == 'guess'"}],
                "mark": {"type": "line", "color": "#888", "strokeWidth": 1, "tooltip": None},
                "encoding": {name: encoding[name] for name in ("x", "y")},
            },
        ],
    )


def _steps() -> Spec:
    """A figure with its interval against the step of training, a line for each defense."""
    x = {"field": "step", "type": "quantitative", "title": "training step", "scale": {"nice": False}}
    y = {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": False}}
    shared = {"x": x, "y": y, "color": COLOUR}
    return _spec(
        240,
        [],
        [
            {"mark": {"type": "line", "strokeWidth": 1.3}, "encoding": {**shared, "detail": {"field": "cell_of"}}},
            {
                "mark": {"type": "rule", "opacity": 0.6},
                "encoding": {**shared, "y": {**y, "field": "lower"}, "y2": {"field": "upper"}},
            },
            {
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 50, "cursor": "pointer"},
                "encoding": {**shared, "shape": SHAPE, "tooltip": {"field": "tip"}},
            },
        ],
    )


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


def _labelled(spec: Spec) -> Spec:
    """A Vega specification whose points have labels as far as they fit beside each other, which Vega-Lite has no word for."""
    label = {
        "name": "labels",
        "type": "text",
        "from": {"data": "ends_marks"},
        "interactive": False,
        "encode": {
            "enter": {
                "text": {"field": "datum.name"},
                "fill": {"field": "datum.colour"},
                "fontSize": {"value": 11},
                "limit": {"value": 170},
            }
        },
        "transform": [
            {
                "type": "label",
                "size": {"signal": "[max(width, 1), max(height, 1)]"},
                "offset": [3],
                "anchor": ["right", "top-right", "bottom-right", "left", "top", "bottom", "top-left", "bottom-left"],
            }
        ],
    }
    return {**spec, "marks": [*spec["marks"], label]}
