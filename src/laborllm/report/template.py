"""Fills a page's template: one file with its own style and script, which asks nothing from outside."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from laborllm.report.drawing import SERIES, SERIES_DARK, Plot, as_svg
from laborllm.report.numbers import percent, whole
from laborllm.report.tables import Table

TEMPLATES = Path(__file__).with_name("templates")


def fill(
    template: str,
    words: Mapping[str, Any],
    *,
    tables: Mapping[str, Table] | None = None,
    plots: Mapping[str, Plot] | None = None,
    scripts: Sequence[str] = ("page.js",),
) -> str:
    """A page as HTML; every word that came from a user's file is escaped.

    The page's policy allows its own script by its hash and nothing else: no request, no other script.

    Args:
        template: its file in this folder.
        words: what the template asks for.
        tables: name -> table.
        plots: name -> plot.
        scripts: files of this folder that make up the page's script.
    """
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    page = _environment().get_template(template)
    return page.render(
        **words,
        tables=tables or {},
        plots=plots or {},
        svg={name: Markup(as_svg(plot)) for name, plot in (plots or {}).items()},
        colours=list(zip(SERIES, SERIES_DARK, strict=True)),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "whole": whole, "shown": shown, "js_number": js_number}
    return environment


def shown(value: Any) -> str:
    """A fact of a model as words: counts with thousands separators, lists with commas.

    Examples:
        >>> shown(1234567), shown(0.25), shown([1, "a"]), shown(True)
        ('1,234,567', '0.25', '1, a', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, list):
        return ", ".join(shown(one) for one in value)
    return str(value)


def js_number(value: float) -> str:
    """A number as a script reads it.

    Examples:
        >>> js_number(12.5), js_number(float("inf"))
        ('12.5', 'Infinity')
    """
    return repr(float(value)) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
