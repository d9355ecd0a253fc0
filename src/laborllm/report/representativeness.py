"""For which groups a model is off, and by how much: one figure and two tables (``evaluation.representativeness``)."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from laborllm.report.drawing import INK, MUTED, PAPER, RULE, SERIES, TIP, Plot, shortened
from laborllm.report.folder import SIZE, SPREAD, RunFolder, covariate_of, group_words, value_of
from laborllm.report.looks import labels
from laborllm.report.numbers import Estimate, fixed, percent
from laborllm.report.tables import Cell, Table, percent_cell, whole_cell
from laborllm.survey.careers import EDUCATION

WORDS = ("model", "weighting", "quantity", "group")
NUMBERS = ("predicted", "observed", "difference", *SPREAD, "p_adjusted", "flagged", *SIZE)
MOST_ROWS, MOST_COLUMNS, MOST_MODELS = 30, 24, 8
"""Quantities, groups and models that stay legible in the figure; the tables hold the rest."""
MOST_FLAGGED = 40
"""Flagged cells in the table of the page."""
FULL = 10.5
"""Side of the largest mark, in points."""
CAPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Differences at which a mark is as large as it gets."""
TOO_MANY, TOO_FEW = SERIES[0], SERIES[1]
FLAGGED = pl.when(pl.col("flagged").is_not_null().any()).then(pl.col("flagged").sum()).alias("flagged")
"""Number of flagged cells, null without bootstrap."""
KINDS = {
    "stay": "Stay in the occupation",
    "leave_labor_force": "Leave the labor force",
    "enter_labor_force": "Enter the labor force",
    "become_unemployed": "From a job to unemployment",
}


def read_gaps(run: RunFolder) -> pl.DataFrame:
    """representativeness.csv, no rows where there is none."""
    return run.other_csv("representativeness", WORDS, NUMBERS)


def read_distances(run: RunFolder) -> pl.DataFrame:
    """representativeness_distance.csv, no rows where there is none."""
    return run.other_csv(
        "representativeness_distance", ("model", "weighting", "group"), ("distance", "noise", "noise_high", *SIZE)
    )


def quantity_label(quantity: str) -> str:
    """A quantity at the head of a row.

    Examples:
        >>> quantity_label("stay"), quantity_label("share: Food"), quantity_label("flow: Food → Unemployed")
        ('Stay in the occupation', 'Share: Food', 'Food → Unemployed')
    """
    kind, colon, name = quantity.partition(": ")
    if not colon:
        return KINDS.get(quantity, quantity.replace("_", " ").capitalize())
    return name if kind == "flow" else f"{kind.capitalize()}: {name}"


def _short_label(quantity: str) -> str:
    """The label with room for the drawing; of a flow both ends stay legible."""
    ends = quantity_label(quantity).split(" → ")
    return " → ".join(shortened(end, 44 if len(ends) == 1 else 22) for end in ends)


def representativeness_plot(run: RunFolder) -> Plot | None:
    """Differences of the best model by quantity and group, and each model's flagged cells; None without numbers."""
    gaps = read_gaps(run).filter(weighting="unweighted")
    best = next((model for model in run.rivals if model in set(gaps["model"])), None)
    if best is None:
        return None
    own = gaps.filter(model=best)
    shown = _shown(own)
    models = [model for model in run.models if model in set(gaps["model"])][:MOST_MODELS]
    left = own["quantity"].n_unique() - shown["quantity"].n_unique()
    fewer = f" Left out here: the {left} quantities with the smallest differences." if left else ""
    return Plot(
        name="representativeness",
        title=f"For which groups {best} is off, and by how much",
        caption="Upward: the model expects more than happened; downward: less; the larger the mark, the larger the "
        f"difference; nothing: too few people or events to compare. {_filled(run, own)}{fewer}",
        alt=_alt(best, own),
        frame=shown.drop("weighting"),
        figure=_draw(run, shown, gaps, models=models),
        wide=True,
    )


def _filled(run: RunFolder, own: pl.DataFrame) -> str:
    if own["flagged"].is_null().all():
        return "There was no bootstrap, so nobody knows which differences are beyond chance."
    return (
        f"Filled: beyond chance at {percent(1 - run.confidence, 0)} when all {own.height:,} comparisons of the model "
        "are taken together. Below: how many comparisons of each model are."
    )


def _alt(best: str, own: pl.DataFrame) -> str:
    flagged = own.filter(flagged=1)
    largest = flagged.sort(pl.col("difference").abs(), descending=True).head(3)
    listed = "; ".join(
        f"{quantity_label(row['quantity'])} of {group_words(row['group'])} {_points(row['difference'])}"
        for row in largest.iter_rows(named=True)
    )
    most = f" The largest: {listed}." if listed else ""
    many = f"{flagged.height} of {own.height} comparisons differ beyond chance."
    counted = "There was no bootstrap." if own["flagged"].is_null().all() else many
    what = f"Matrix of predicted minus observed shares and rates of {best}, by group of people."
    return f"{what} {counted}{most}"


def _points(difference: float) -> str:
    text = fixed(100 * difference, 1)
    return f"{text if text.startswith('−') else f'+{text}'} percentage points"


def _shown(own: pl.DataFrame) -> pl.DataFrame:
    """Single groups and the quantities with the largest differences, in the order of the file."""
    single = own.filter(~pl.col("group").str.contains(r" & \w+="))
    groups = single["group"].unique(maintain_order=True).head(MOST_COLUMNS)
    single = single.filter(pl.col("group").is_in(groups.implode()))
    size = single.group_by("quantity").agg(pl.col("difference").abs().max()).sort("difference", "quantity")
    return single.filter(pl.col("quantity").is_in(size["quantity"].tail(MOST_ROWS).implode()))


FEWEST_LINES, NARROWEST = 5, 5.6
"""Lines, and inches, for which the figure has room at the least: its legend and the groups' names take their own."""


def _draw(run: RunFolder, shown: pl.DataFrame, gaps: pl.DataFrame, *, models: Sequence[str]) -> Figure:
    groups = _in_level_order(shown["group"].unique(maintain_order=True).to_list())
    quantities = _in_order(shown["quantity"].unique(maintain_order=True).to_list())
    heights = 0.215 * max(len(quantities), FEWEST_LINES), 0.215 * max(len(models), 2)
    width = max(3.6 + 0.27 * len(groups), NARROWEST)
    figure = Figure(figsize=(width, 2.8 + sum(heights)), layout="constrained")
    matrix, strip = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    cap = _cap(shown["difference"])
    for row in shown.iter_rows(named=True):
        _mark(matrix, groups.index(row["group"]), quantities.index(row["quantity"]), row, cap=cap)
    _lines(matrix, [_short_label(quantity) for quantity in quantities], groups)
    for before, (one, two) in enumerate(pairwise(quantities)):
        if _kind(one) != _kind(two):
            matrix.axhline(before + 0.5, color=RULE, linewidth=2)
    matrix.tick_params(axis="x", top=False, labeltop=True, bottom=False, labelbottom=False)
    matrix.set_xticks(range(len(groups)), [shortened(_value(group), 26) for group in groups], rotation=90)
    _draw_strip(strip, gaps, groups=groups, models=models)
    _lines(strip, labels(run, models), groups)
    strip.tick_params(axis="x", bottom=False, labelbottom=False)
    strip.set_title("Comparisons that differ beyond chance")
    figure.legend(handles=_handles(cap), loc="outside lower left", ncols=4, columnspacing=1.4, handletextpad=0.4)
    return figure


def _kind(quantity: str) -> int:
    return ("rate", "share", "flow").index(quantity.partition(": ")[0] if ": " in quantity else "rate")


def _in_order(quantities: Sequence[str]) -> list[str]:
    """Rates, then shares, then flows."""
    return sorted(quantities, key=_kind)


def _in_level_order(groups: Sequence[str]) -> list[str]:
    """Education from low to high, everything else in the order of the file."""
    levels = sorted(
        (group for group in groups if value_of(group) in EDUCATION), key=lambda group: EDUCATION.index(value_of(group))
    )
    return [levels.pop(0) if value_of(group) in EDUCATION else group for group in groups]


def _value(group: str) -> str:
    """The value, and its covariate where that does not tell it."""
    value = value_of(group)
    if group == "all":
        return "everybody"
    return f"{covariate_of(group)} missing" if value == "missing" else value


def _cap(differences: pl.Series) -> float:
    """A round difference that nearly all stay below."""
    high = float(np.quantile(differences.abs().to_numpy(), 0.98))
    return next((cap for cap in CAPS if cap >= high), CAPS[-1])


def _mark(axes: Axes, x: float, y: float, row: dict, *, cap: float) -> None:
    """One comparison: its area tells the difference, its direction the sign, its filling whether it is flagged."""
    difference, flagged = row["difference"], row["flagged"] == 1
    colour = TOO_MANY if difference > 0 else TOO_FEW
    (mark,) = axes.plot(
        [x],
        [y],
        marker="^" if difference > 0 else "v",
        markersize=_side(difference, cap),
        markerfacecolor=colour if flagged else PAPER,
        markeredgecolor=colour,
        markeredgewidth=0.8,
        alpha=1 if flagged else 0.55,
        linestyle="none",
        zorder=3 if flagged else 2,
    )
    told = f"{quantity_label(row['quantity'])}, {group_words(row['group'])}: predicted {percent(row['predicted'])}"
    mark.set_gid(f"{TIP}{told}, observed {percent(row['observed'])}".replace('"', "”"))


def _side(difference: float, cap: float) -> float:
    return max(FULL * min(abs(difference) / cap, 1) ** 0.5, 1.5)


def _lines(axes: Axes, names: Sequence[str], groups: Sequence[str]) -> None:
    """Name the rows, rule the lines and part the covariates."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.grid(axis="y", color=RULE)
    for place, (one, two) in enumerate(pairwise(groups)):
        if covariate_of(one) != covariate_of(two):
            axes.axvline(place + 0.5, color=RULE, linewidth=2)


def _draw_strip(axes: Axes, gaps: pl.DataFrame, *, groups: Sequence[str], models: Sequence[str]) -> None:
    """Flagged comparisons of each model in each group, as numbers."""
    counts = gaps.group_by("model", "group").agg(FLAGGED).drop_nulls()
    found = {(row["model"], row["group"]): int(row["flagged"]) for row in counts.iter_rows(named=True)}
    for y, model in enumerate(models):
        for x, group in enumerate(groups):
            count = found.get((model, group))
            if count is not None:
                style: dict[str, Any] = {"color": INK if count else MUTED, "weight": "bold" if count else "normal"}
                axes.text(x, y, str(count), ha="center", va="center", fontsize=7.5, **style)


def _handles(cap: float) -> list[Line2D]:
    """What direction, filling and size mean."""
    style: dict[str, Any] = {"linestyle": "none", "markeredgewidth": 0.8}
    many, few = (
        Line2D([], [], marker=marker, color=colour, markersize=FULL * 0.7, label=label, **style)
        for marker, colour, label in (("^", TOO_MANY, "expects too many"), ("v", TOO_FEW, "expects too few"))
    )
    sizes = [
        Line2D(
            [], [], marker="^", color=MUTED, markerfacecolor=PAPER, markersize=_side(size, cap), label=label, **style
        )
        for size, label in (
            (cap / 5, f"{20 * cap:g} points"),
            (cap, f"{100 * cap:g} points or more"),
        )
    ]
    return [many, few, *sizes]


def representativeness_tables(run: RunFolder) -> list[Table]:
    """How far each model is off on the whole, and every comparison that differs beyond chance."""
    gaps = read_gaps(run)
    if not gaps.height:
        return []
    found = [_summary(run, gaps, read_distances(run)), _flagged(run, gaps)]
    return [table for table in found if table is not None]


def _summary(run: RunFolder, gaps: pl.DataFrame, distances: pl.DataFrame) -> Table:
    """One row per model and weighting."""
    by = ["model", "weighting"]
    frame = gaps.group_by(by, maintain_order=True).agg(
        pl.len().alias("compared"),
        FLAGGED,
        pl.col("difference").filter(pl.col("quantity").str.starts_with("share: ")).abs().mean().alias("mean_absolute"),
    )
    whole = distances.filter(group="all").select(*by, "distance", "noise", "noise_high")
    beyond = distances.group_by(by).agg(
        (pl.col("distance") > pl.col("noise_high")).sum().alias("groups_beyond"), pl.len().alias("groups")
    )
    frame = frame.join(whole, on=by, how="left").join(beyond, on=by, how="left")
    place = {model: number for number, model in enumerate(run.models)}
    order = frame["model"].replace_strict(place, default=len(place), return_dtype=pl.Int64)
    frame = frame.with_columns(order=order).sort("order", maintain_order=True).drop("order")
    return Table(
        name="representativeness_models",
        title="How far each model is off in groups of people",
        caption=f"Beyond chance: at {percent(1 - run.confidence, 0)} for all comparisons of a row taken together. "
        "Distance: the share of person-years that would have to change occupation to turn the predicted shares of "
        "all occupations into those observed; by chance: what it would be on average if the model were right; "
        "groups: whose distance a right model would exceed one time in twenty.",
        head=(
            "Model",
            "Comparisons",
            "Beyond chance",
            "Mean difference in shares, points",
            "Distance",
            "By chance",
            "Groups beyond 1 in 20",
        ),
        rows=tuple(_summary_row(run, row) for row in frame.iter_rows(named=True)),
        frame=frame,
    )


def _summary_row(run: RunFolder, row: dict) -> tuple[Cell, ...]:
    marks = {run.floor: "floor", run.baseline: "baseline"}
    badge = "weighted" if row["weighting"] == "weighted" else marks.get(row["model"], "")
    flagged, distance = row["flagged"], row["distance"]
    strong = distance is not None and distance > row["noise_high"]
    groups = Cell("–") if row["groups"] is None else Cell(f"{row['groups_beyond']} of {row['groups']}")
    return (
        Cell(row["model"], badge=badge),
        whole_cell(row["compared"]),
        replace(whole_cell(flagged), strong=bool(flagged)),
        Cell(fixed(None if row["mean_absolute"] is None else 100 * row["mean_absolute"], 2)),
        Cell(percent(distance), strong=strong),
        Cell(percent(row["noise"])),
        groups,
    )


def _flagged(run: RunFolder, gaps: pl.DataFrame) -> Table | None:
    """Comparisons that differ beyond chance, largest first."""
    flagged = gaps.filter(flagged=1).sort(pl.col("difference").abs(), descending=True, maintain_order=True)
    if not flagged.height:
        return None
    more = flagged.height - MOST_FLAGGED
    rest = f" The {MOST_FLAGGED} largest; {more:,} more stand in representativeness.csv." if more > 0 else ""
    return Table(
        name="representativeness",
        title="Groups in which a model is off beyond chance",
        caption="Predicted and observed averages over the person-years at risk; difference: predicted minus observed, "
        f"in percentage points, with its own {run.ci}; p: for all comparisons of the model taken together.{rest}",
        head=("Model", "Quantity", "Group", "Predicted", "Observed", "Difference, points", "p", "Person-years"),
        rows=tuple(_flagged_row(row) for row in flagged.head(MOST_FLAGGED).iter_rows(named=True)),
        frame=flagged,
        brackets=run.ci,
        words=3,
    )


def _flagged_row(row: dict) -> tuple[Cell, ...]:
    gap = Estimate(row["difference"], row["std_error"], row["ci_low"], row["ci_high"])
    points = percent_cell(gap)
    weighted = "weighted" if row["weighting"] == "weighted" else ""
    return (
        Cell(row["model"], badge=weighted),
        Cell(quantity_label(row["quantity"])),
        Cell(group_words(row["group"])),
        Cell(percent(row["predicted"])),
        Cell(percent(row["observed"])),
        Cell(fixed(100 * gap.value, 1), points.interval, points.error, value=gap.value),
        Cell(fixed(row["p_adjusted"], 3)),
        whole_cell(int(row["person_years"])),
    )
