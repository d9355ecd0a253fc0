"""What every figure shares: colours that survive colour blindness and dark pages, dots with intervals, saving.

Colours and line colours are written into the SVG as CSS variables, so that the page decides how they look on light
and on dark ground; PDF and PNG are drawn for white paper.
"""

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from laborllm.files import whole_file
from laborllm.report.numbers import Estimate, decimals_of, fixed, interval

INK, MUTED, RULE, PAPER = "#1c1d20", "#6b6f76", "#dcdde1", "#fefefe"
SERIES = ("#0b62a4", "#c8500a", "#00805e", "#a3458b", "#8a6d00", "#7a4a3a")
"""On white: dark Okabe-Ito hues; markers differ as well."""
SERIES_DARK = ("#6cb2f0", "#ff9a66", "#4fd1a5", "#e5a3d4", "#e0c552", "#d3a795")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
TIP = "tip "
"""Marks a drawn thing whose group id is what the page says of it to whoever points at it."""
VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"} | {
    colour: f"series-{place}" for place, colour in enumerate(SERIES)
}
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.8,
    "ytick.major.size": 0,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "laborllm",
}


@dataclass(frozen=True)
class Plot:
    """A figure of the report.

    Attributes:
        name: of its files, figures/NAME.pdf, .png and .csv.
        title: what it shows.
        caption: one line that tells how to read it.
        alt: what a reader who cannot see it must know.
        frame: the plotted data.
        figure: the drawing.
        wide: whether it needs more than the width of a telephone and scrolls there.
    """

    name: str
    title: str
    caption: str
    alt: str
    frame: pl.DataFrame
    figure: Figure
    wide: bool = False


@dataclass(frozen=True)
class Look:
    """How one model is drawn everywhere.

    Attributes:
        colour: of marker and interval.
        marker: its shape.
    """

    colour: str
    marker: str


def looks_of(models: Sequence[str], plain: Sequence[str | None]) -> dict[str, Look]:
    """Colour and marker of each model; the plain ones (floor, baseline) are grey, with a marker of their own."""
    looks = {name: Look(MUTED, marker) for name, marker in zip(plain, ("d", "*"), strict=False) if name}
    rivals = [name for name in models if name not in looks]
    for place, name in enumerate(rivals):
        looks[name] = Look(SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)])
    return looks


@contextmanager
def drawing() -> Iterator[None]:
    """The style, for everything drawn or saved inside."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcParams.update(STYLE)
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def dot(
    axes: Axes,
    place: float,
    estimate: Estimate,
    look: Look,
    *,
    hollow: bool = False,
    upright: bool = False,
    label: str = "",
) -> None:
    """A marker with its interval at height ``place`` (at abscissa ``place`` if upright); infinite ones are left out.

    The page shows the number, after ``label``, to whoever points at the marker.
    """
    if not math.isfinite(estimate.value):
        return
    if estimate.interval is not None:
        line = axes.vlines if upright else axes.hlines
        line(place, *estimate.interval, color=look.colour, linewidth=1.6, zorder=2)
    at = (place, estimate.value) if upright else (estimate.value, place)
    size = {"d": 7.0, "*": 8.0}.get(look.marker, 5.5)
    (marker,) = axes.plot(
        *([value] for value in at),
        marker=look.marker,
        markersize=size,
        markerfacecolor=PAPER if hollow else look.colour,
        markeredgecolor=look.colour,
        markeredgewidth=1.3 if hollow else 0.6,
        linestyle="none",
        zorder=3,
    )
    marker.set_gid(TIP + told(estimate, label).replace('"', "”"))


def told(estimate: Estimate, label: str = "") -> str:
    """A number and its interval for whoever points at it.

    Examples:
        >>> told(Estimate(8.1234, 0.1, 7.9, 8.3), "llm")
        'llm: 8.12 [7.90, 8.30]'
    """
    decimals = min(decimals_of(estimate.value), 4)
    number = " ".join(part for part in (fixed(estimate.value, decimals), interval(estimate, decimals)) if part)
    return f"{label}: {number}" if label else number


def rows(axes: Axes, labels: Sequence[str]) -> None:
    """Name the rows of a dot plot, first on top, with light rules."""
    axes.set_yticks(range(len(labels)), [shortened(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="x")


def shortened(label: str, length: int = 30) -> str:
    """A label that leaves room for the drawing."""
    return label if len(label) <= length else label[: length - 1] + "…"


def log_axis(axes: Axes, estimates: Sequence[Estimate], *, most: int = 6) -> None:
    """A logarithmic abscissa around the estimates, ticked at round numbers."""
    ends = [end for estimate in estimates for end in (estimate.value, *(estimate.interval or ()))]
    ends = [end for end in ends if math.isfinite(end) and end > 0] or [1.0]
    room = max((max(ends) / min(ends)) ** 0.06, 1.02)
    low, high = min(ends) / room, max(ends) * room
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(low, high, most)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers within the bounds, at most ``most``.

    Examples:
        >>> log_ticks(3, 800)
        [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
        >>> log_ticks(7.9, 10.2)
        [8.0, 8.5, 9.0, 9.5, 10.0]
    """
    if high / low < 6:
        ticks = MaxNLocator(nbins=most - 1, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        return [float(tick) for tick in ticks if low <= tick <= high]
    for steps in ((1, 2, 5), (1, 3), (1,)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [float(step * 10.0**power) for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(found) <= most + 1:
            break
    return found


def settled(plot: Plot) -> Plot:
    """The same plot with its layout computed once instead of at every saving."""
    plot.figure.draw_without_rendering()
    plot.figure.set_layout_engine("none")
    return plot


def as_svg(plot: Plot) -> str:
    """The drawing as an SVG element for the page: its ids are its own, its colours are the page's."""
    buffer = io.BytesIO()
    with drawing():
        plot.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue().decode("utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (xmlns:xlink|xmlns|version)="[^"]*"', "", svg)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(rf'<g id="{TIP}([^"]*)">', r'<g class="tip"><title>\1</title>', svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{plot.name}-", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg.replace("<svg ", '<svg role="presentation" aria-hidden="true" focusable="false" ', 1)


def write_plot(plot: Plot, folder: Path) -> None:
    """Write figures/NAME.pdf, .png and .csv under a run folder."""
    with drawing():
        with whole_file(folder / f"{plot.name}.pdf") as temporary:
            plot.figure.savefig(
                temporary, format="pdf", facecolor="white", metadata={"CreationDate": None, "Creator": None}
            )
        with whole_file(folder / f"{plot.name}.png") as temporary:
            plot.figure.savefig(temporary, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    with whole_file(folder / f"{plot.name}.csv") as temporary:
        plot.frame.write_csv(temporary)
