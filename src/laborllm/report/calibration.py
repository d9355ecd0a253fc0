"""Reliability diagrams and ROC curves of the yes-or-no tasks."""

from typing import Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from laborllm.report.drawing import MUTED, TIP, Look, Plot, dot
from laborllm.report.folder import RunFolder
from laborllm.report.looks import labels, looks
from laborllm.report.numbers import Estimate, percent
from laborllm.report.results import TASKS

MOST_PANELS, MOST_CURVES = 12, 6
"""Panels of a figure and curves of a panel that stay legible; the tables hold the rest."""


def reliability_plot(run: RunFolder, task: str) -> Plot | None:
    """Predicted against observed share of a binary event, one panel per model; None where nothing was evaluated."""
    data = run.reliability.filter(pl.col("task") == task)
    models = [model for model in run.models if model in set(data["model"].to_list())][:MOST_PANELS]
    if not models:
        return None
    end = _reach(data)
    columns = min(len(models), 2 if len(models) <= 4 else 3)
    lines = -(-len(models) // columns)
    figure = Figure(figsize=(0.4 + 2.25 * columns, 0.5 + 2.35 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, model in zip(panels, models, strict=False):
        _reliability_panel(axes, data.filter(pl.col("model") == model), looks(run)[model], end=end)
        axes.set_title(labels(run, [model])[0])
    for axes in panels[len(models) :]:
        axes.set_visible(False)
    for axes in panels[len(models) - columns : len(models)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("Predicted probability", fontsize=9)
    figure.supylabel("Observed share", fontsize=9)
    worst = {model: _largest_gap(data.filter(pl.col("model") == model)) for model in models}
    listed = ", ".join(f"{model} {100 * gap:.1f} percentage points" for model, gap in worst.items())
    return Plot(
        name=f"reliability_{task}",
        title=f"Reliability: {TASKS[task]}",
        caption="Each dot is a tenth or so of the test person-years; on the diagonal, as many had the event as the "
        f"model said; above it, more did; bars are {run.ci}.",
        alt=f"Reliability diagrams of {TASKS[task]}. Largest gap between predicted and observed: {listed}.",
        frame=data.filter(pl.col("model").is_in(models)),
        figure=figure,
        wide=columns > 2,
    )


def _largest_gap(data: pl.DataFrame) -> float:
    gap = (data["predicted"] - data["observed"]).abs().max()
    return float(gap) if isinstance(gap, float) else float("nan")


def _reach(data: pl.DataFrame) -> float:
    """End of both axes: 1, or less where the event is rare."""
    largest = max(data.select(pl.max("predicted", "observed", "ci_high").fill_null(0)).row(0), default=1.0)
    return next((end for end in (0.08, 0.2, 0.4, 0.6) if largest <= end), 1.0)


def _reliability_panel(axes: Axes, data: pl.DataFrame, look: Look, *, end: float) -> None:
    axes.plot([0, end], [0, end], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for row in data.drop_nulls(["predicted", "observed"]).iter_rows(named=True):
        estimate = Estimate(row["observed"], None, row["ci_low"], row["ci_high"])
        dot(axes, row["predicted"], estimate, look, upright=True)
    axes.grid()
    axes.set_aspect("equal")
    axes.set_xlim(-0.03 * end, 1.03 * end)
    axes.set_ylim(-0.03 * end, 1.03 * end)
    ticks = [end * quarter / 4 for quarter in range(5)]
    names = [f"{tick:g}".removeprefix("0") or "0" for tick in ticks]
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)


def roc_plot(run: RunFolder, task: str) -> Plot | None:
    """Share of events found against share of false alarms, a curve per model; None without roc.csv."""
    data = run.roc.filter(pl.col("task") == task)
    there = set(data["model"].to_list())
    models = [model for model in run.models if model in there][:MOST_CURVES]
    if not models:
        return None
    figure = Figure(figsize=(4.6, 3.9 + 0.17 * -(-len(models) // 2)), layout="constrained")
    axes = figure.add_subplot()
    for model in models:
        _roc_curve(axes, data.filter(pl.col("model") == model), run, model)
    _roc_frame(axes)
    axes.set_xlabel("False alarms: share of those without the event")
    axes.set_ylabel("Found: share of those with the event")
    handles = [_roc_handle(run, model) for model in models]
    figure.legend(handles, labels(run, models), loc="outside upper left", ncols=2, columnspacing=1.2, handlelength=1.8)
    auc = run.estimates("auc", task=task)
    listed = ", ".join(f"{model} {auc[model].value:.3f}" for model in models if model in auc)
    some = f" Shown: {len(models)} of {len(there)} models." if len(models) < len(there) else ""
    return Plot(
        name=f"roc_{task}",
        title=f"ROC curve: {TASKS[task]}",
        caption="The nearer to the upper left corner the better; the dashed diagonal is a coin toss; the area under "
        f"the curve is the AUC.{some}",
        alt=f"ROC curves of {TASKS[task]}. Areas under the curves: {listed or 'not given'}.",
        frame=data.filter(pl.col("model").is_in(models)),
        figure=figure,
    )


def _roc_frame(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.grid()
    axes.set_aspect("equal")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)


def _roc_style(run: RunFolder, model: str) -> Literal["-", "--", ":"]:
    """The floor and the baseline share a grey: their strokes differ."""
    return ":" if model == run.floor else "--" if model == run.baseline else "-"


def _roc_handle(run: RunFolder, model: str) -> Line2D:
    return Line2D([], [], color=looks(run)[model].colour, linewidth=1.6, linestyle=_roc_style(run, model))


def _roc_curve(axes: Axes, data: pl.DataFrame, run: RunFolder, model: str, *, band: bool = False) -> None:
    """One curve, with a point at every tenth that tells its numbers."""
    data = data.drop_nulls(["false_positive_rate", "true_positive_rate"]).sort(
        "false_positive_rate", "true_positive_rate"
    )
    alarms, found = data["false_positive_rate"].to_numpy(), data["true_positive_rate"].to_numpy()
    colour = looks(run)[model].colour
    axes.plot(alarms, found, color=colour, linewidth=1.6, linestyle=_roc_style(run, model), zorder=2)
    if band and data["ci_low"].null_count() < data.height:
        low, high = (data[name].fill_null(data["true_positive_rate"]).to_numpy() for name in ("ci_low", "ci_high"))
        axes.fill_between(alarms, low, high, color=colour, alpha=0.18, linewidth=0)
    for tenth in range(1, 10) if len(alarms) else ():
        at = tenth / 10
        share = float(np.interp(at, alarms, found))
        (point,) = axes.plot(at, share, marker="o", markersize=2.6, color=colour, linestyle="none", zorder=3)
        point.set_gid(f"{TIP}{model}: {percent(share, 0)} found at {percent(at, 0)} false alarms".replace('"', "”"))


def model_calibration_plot(run: RunFolder, model: str) -> Plot | None:
    """Reliability of each yes-or-no task and, under it, its ROC curve; None where nothing was evaluated."""
    reliability = run.reliability.filter(pl.col("model") == model)
    roc = run.roc.filter(pl.col("model") == model)
    tasks = [task for task in TASKS if task in {*reliability["task"].to_list(), *roc["task"].to_list()}]
    if not tasks:
        return None
    lines = 1 + bool(roc.height)
    figure = Figure(figsize=(0.4 + 2.5 * max(len(tasks), 2), 0.45 + 2.6 * lines), layout="constrained")
    panels = figure.subplots(lines, max(len(tasks), 2), squeeze=False)
    for column, task in enumerate(tasks):
        data = reliability.filter(pl.col("task") == task)
        _reliability_panel(panels[0, column], data, looks(run)[model], end=_reach(data))
        panels[0, column].set_title(TASKS[task].capitalize())
        panels[0, column].set_xlabel("Predicted probability")
        if roc.height:
            _roc_curve(panels[1, column], roc.filter(pl.col("task") == task), run, model, band=True)
            _roc_frame(panels[1, column])
            panels[1, column].set_xlabel("False alarms")
    for axes in panels[:, len(tasks) :].ravel():
        axes.set_visible(False)
    for line, name in zip(panels, ("Observed share", "Found"), strict=False):
        line[0].set_ylabel(name)
    gaps = [f"{TASKS[t]} {100 * _largest_gap(reliability.filter(pl.col('task') == t)):.1f}" for t in tasks]
    below = " Below: ROC curves, the nearer to the upper left corner the better." if roc.height else ""
    return Plot(
        name="calibration",
        title="Predicted and observed",
        caption=f"On the diagonal, as many had the event as the model said; above it, more did; bars are {run.ci}."
        + below,
        alt=f"Reliability diagrams of {model}. Largest gap in percentage points: {', '.join(gaps)}.",
        frame=pl.concat([reliability, roc], how="diagonal_relaxed"),
        figure=figure,
        wide=len(tasks) > 2,
    )
