"""The libraries of the site: jinja2, markdown-it-py, and Vega from vl-convert-python; each is loaded when it is first used."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

__all__ = ["template", "to_html", "to_svg", "to_vega", "vega"]


@cache
def template(name: str) -> Any:
    """A template of this package; what it is given is shown as text, unless it is Markup."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mibench.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


@cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def to_html(markdown: str) -> str:
    """Markdown as HTML; HTML in it is shown as text, and there are no pictures."""
    return str(_markdown().render(markdown))


@cache
def vega() -> str:
    """The JavaScript of Vega, which sets ``window.vega``.

    It comes out of the package, without a network. What compiles Vega-Lite, a third of the bundle, is left out if that works.
    """
    import vl_convert

    module = f"https://cdn.jsdelivr.net/npm/vega@{vl_convert.get_vega_version()}/+esm"
    try:
        code: str = vl_convert.javascript_bundle(
            f'import {{ parse, View }} from "{module}"; window.vega = {{ parse, View }};'
        )
    except ValueError:
        code = vl_convert.javascript_bundle("window.vega = vegaEmbed.vega;")
    return f"(() => {{{code}}})();"  # its names are its own


def to_vega(spec: dict[str, Any]) -> dict[str, Any]:
    """A Vega-Lite specification as one of Vega."""
    import vl_convert

    return dict(vl_convert.vegalite_to_vega(spec))


def to_svg(spec: dict[str, Any]) -> str:
    """The picture of a Vega specification. Text in it stays text; the font is named, not embedded."""
    import vl_convert

    return re.sub(r"<text[^>]*(/>|></text>)", "", vl_convert.vega_to_svg(spec))  # labels that found no place
