"""The libraries of the site: jinja2, and what the extra "site" brings: markdown-it-py, and Vega from vl-convert-python."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from mibench.errors import MibenchError

__all__ = ["check_installed", "compiled", "png", "template", "to_html", "vega"]


def _library(name: str) -> Any:
    """One of the libraries.

    Raises:
        MibenchError: where it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MibenchError(f"the site needs more ({error}): pip install 'mibench[site]'") from None


def check_installed() -> None:
    """Import the libraries of the extra.

    Raises:
        MibenchError: where one is not installed.
    """
    for name in ("markdown_it", "vl_convert"):
        _library(name)


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
    return _library("markdown_it").MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def to_html(markdown: str) -> str:
    """Markdown as HTML; HTML in it is shown as text, and there are no pictures."""
    return str(_markdown().render(markdown))


@cache
def vega() -> str:
    """The JavaScript of Vega, which sets ``window.vega``; nothing in it ends a script element.

    It comes out of the package, without a network. What compiles Vega-Lite, a third of the bundle, is left out if that works.
    """
    library = _library("vl_convert")
    module = f"https://cdn.jsdelivr.net/npm/vega@{library.get_vega_version()}/+esm"
    try:
        code: str = library.javascript_bundle(
            f'import {{ parse, View }} from "{module}"; window.vega = {{ parse, View }};'
        )
    except ValueError:
        code = library.javascript_bundle("window.vega = vegaEmbed.vega;")
    code = code.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    return f"(() => {{{code}}})();"  # its names are its own


def compiled(spec: dict[str, Any]) -> dict[str, Any]:
    """A Vega-Lite specification as one of Vega."""
    result: dict[str, Any] = _library("vl_convert").vegalite_to_vega(spec)
    return result


def png(spec: dict[str, Any], scale: float = 1.5) -> bytes:
    """The picture of a Vega specification."""
    result: bytes = _library("vl_convert").vega_to_png(spec, scale=scale)
    return result
