"""Transition rates that models imply, beside published ones and the test sample's own: a table and a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from laborllm.report.drawing import MUTED, Plot, dot, drawing, log_ticks, settled
from laborllm.report.figures import shown_models
from laborllm.report.folder import SPREAD, RunFolder
from laborllm.report.looks import labels, looks
from laborllm.report.numbers import Estimate, percent, whole
from laborllm.report.tables import Cell, Table, percent_cell

KEY = ("from", "to", "years", "group", "source")
COMPARED = ("observed", "implied", "minus_published", "minus_observed")
TEXT = ("model", "from", "to", "year_from", "year_to", "group", "source")
NUMBERS = (
    *("published", "published_std_error"),
    *(f"{name}{end}" for name in COMPARED for end in ("", *(f"_{spread}" for spread in SPREAD))),
    *("person_years", "people", "reached", "other_gaps", "without_weight"),
)
LOGARITHMIC = 20
"""Ratio of the largest rate to the smallest from which on the figure has logarithmic axes."""


def aggregates_tables(run: RunFolder) -> list[Table]:
    """One row per published rate and model; none where the study names no published rates."""
    frame = _rates(run)
    if not frame.height:
        return []
    weighted = " Both are weighted by survey weights." if frame["without_weight"].count() else ""
    gaps = int(frame.unique(KEY)["other_gaps"].sum())
    lost = f" {whole(gaps)} times a person's next row came later than a year and was left out." if gaps else ""
    return [
        Table(
            name="aggregates",
            title="Transition rates: published, observed and implied by each model",
            caption="From one year to the next. Observed: the share of test person-years in the first group that reach "
            f"the second; implied: the mean probability that a model gives to it.{weighted} Bold: the {run.ci} of a "
            f"difference excludes zero.{lost}",
            brackets=run.ci,
            head=(
                *("From", "To", "Years", "Group", "Source", "Model"),
                *("Published", "Observed", "Implied", "Implied − published", "Implied − observed", "Person-years"),
            ),
            rows=tuple(_row(row) for row in frame.iter_rows(named=True)),
            frame=frame.drop("years"),
            words=6,
        )
    ]


def aggregates_plots(run: RunFolder) -> list[Plot]:
    """Published against implied rates; none where there is nothing to draw."""
    frame = _rates(run).drop_nulls(["published", "implied"])
    models = [model for model in shown_models(run) if model in set(frame["model"])]
    if not models:
        return []
    shown = frame.filter(pl.col("model").is_in(models))
    with drawing():
        return [settled(_plot(run, shown, models, of=frame["model"].n_unique()))]


def aggregates_findings(run: RunFolder) -> list[str]:
    """How far the best model's rates, and the sample's own, are from the published ones."""
    frame = _rates(run).drop_nulls(["published", "implied"])
    best = next((model for model in (*run.rivals, *run.models) if model in set(frame["model"])), None)
    if best is None:
        return []
    rates = frame.filter(pl.col("model") == best)
    known = rates.drop_nulls("minus_published_ci_low")
    inside = known.filter(pl.col("minus_published_ci_low") <= 0, pl.col("minus_published_ci_high") >= 0).height
    worst = rates.sort(pl.col("minus_published").abs(), descending=True).row(0, named=True)
    counted = f"Of {known.height} published rates, {inside} lie within the {run.ci} of the rate that {best} implies. "
    gap = (
        f"The largest gap is from {worst['from']} to {worst['to']}: published {percent(worst['published'])}, "
        f"implied by {best} {percent(worst['implied'])}, observed among test people {percent(worst['observed'])}."
    )
    return [counted + gap if known.height else gap]


def _rates(run: RunFolder) -> pl.DataFrame:
    """aggregates.csv with the years in words."""
    frame = run.other_csv("aggregates", TEXT, NUMBERS)
    first, last = pl.col("year_from").fill_null(""), pl.col("year_to").fill_null("")
    years = pl.when((first == "") & (last == "")).then(pl.lit("all")).when(first == last).then(first)
    return frame.with_columns(years=years.otherwise(first + "–" + last))


def _estimate(row: Mapping[str, Any], name: str) -> Estimate | None:
    if row[name] is None:
        return None
    return Estimate(row[name], *(row[f"{name}_{spread}"] for spread in SPREAD))


def _row(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    published = Estimate(row["published"], row["published_std_error"])
    found = {name: _estimate(row, name) for name in COMPARED}
    gaps = [found["minus_published"], found["minus_observed"]]
    return (
        *(Cell(row[name] or "") for name in ("from", "to", "years", "group", "source", "model")),
        *(percent_cell(estimate, decimals=2) for estimate in (published, found["observed"], found["implied"])),
        *(percent_cell(gap, decimals=2, strong=gap is not None and gap.excludes_zero) for gap in gaps),
        Cell(whole(row["person_years"])),
    )


def _plot(run: RunFolder, frame: pl.DataFrame, models: Sequence[str], *, of: int) -> Plot:
    figure = Figure(figsize=(4.9, 4.9 + 0.17 * -(-len(models) // 2)), layout="constrained")
    axes = figure.add_subplot()
    low, high = _ends(frame)
    axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for row in frame.iter_rows(named=True):
        estimate = _estimate(row, "implied")
        if estimate is not None:
            label = f"{row['model']}, from {row['from']} to {row['to']}"
            dot(axes, row["published"], estimate, looks(run)[row["model"]], upright=True, label=label)
    if low > 0:
        axes.set_xscale("log")
        axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        if low > 0:
            axis.set_major_locator(FixedLocator(log_ticks(low, min(high, 1.0))))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.grid()
    axes.set_aspect("equal")
    axes.set_xlabel("Published rate" + (", log scale" if low > 0 else ""))
    axes.set_ylabel("Rate implied by the model")
    handles = [_handle(run, model) for model in models]
    figure.legend(handles, labels(run, models), loc="outside upper left", ncols=2, columnspacing=1.2, handlelength=1.8)
    some = f" Shown: {len(models)} of {of} models." if len(models) < of else ""
    return Plot(
        name="aggregates",
        title="Published and implied transition rates",
        caption=f"On the dashed line a model's rate is the published one; above it, the model's is higher; bars are "
        f"{run.ci}.{some}",
        alt="Published transition rates against those that models imply. " + " ".join(aggregates_findings(run)),
        frame=frame.drop("years"),
        figure=figure,
    )


def _handle(run: RunFolder, model: str) -> Line2D:
    look = looks(run)[model]
    return Line2D([], [], color=look.colour, marker=look.marker, linewidth=1.6, markersize=5.5)


def _ends(frame: pl.DataFrame) -> tuple[float, float]:
    """Ends of both axes: from zero, or around the rates where they span more than ``LOGARITHMIC``."""
    values = [value for name in ("published", "implied") for value in frame[name]]
    low, high = min(values), max(values)
    if low > 0 and high / low > LOGARITHMIC:
        return low / 1.5, min(high * 1.5, 1.2)
    return 0.0, high * 1.1 or 1.0
