"""The figures: dots with intervals, and reliability diagrams."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from laborllm.report.calibration import reliability_plot, roc_plot
from laborllm.report.drawing import (
    INK,
    MUTED,
    RULE,
    Plot,
    dot,
    drawing,
    log_axis,
    rows,
    settled,
    shortened,
)
from laborllm.report.folder import PAIR, RunFolder, value_of
from laborllm.report.looks import labels, looks
from laborllm.report.numbers import Estimate, decimals_of, fixed, percent, perplexity
from laborllm.report.results import SUBSETS, TASKS

MOST_MODELS, MOST_GROUPS = 6, 12
"""Models per group and groups per covariate that stay legible; the tables hold the rest."""


Key = TypeVar("Key", bound=tuple[str, ...])


def find_plots(run: RunFolder) -> list[Plot]:
    """Every figure that this run has numbers for."""
    with drawing():
        plots = [perplexity_plot(run), attainable_plot(run), differences_plot(run), transition_plot(run)]
        plots += [group_plot(run, covariate) for covariate in run.covariates if PAIR not in covariate]
        plots += [plot(run, task) for task in TASKS for plot in (reliability_plot, roc_plot)]
        return [settled(plot) for plot in plots if plot is not None]


def _frame(found: Mapping[Key, Estimate], names: Sequence[str]) -> pl.DataFrame:
    """Plotted estimates as a frame: the key's columns, then the numbers."""
    columns = [*names, "estimate", "ci_low", "ci_high"]
    values = [(*key, e.value, e.low, e.high) for key, e in found.items()]
    schema = dict.fromkeys(names, pl.String) | dict.fromkeys(columns[len(names) :], pl.Float64)
    return pl.DataFrame(values, schema=schema, orient="row")


def _listed(estimates: Mapping[str, Estimate], models: Sequence[str]) -> str:
    return ", ".join(f"{model} {perplexity(estimates[model].value)}" for model in models if model in estimates)


def perplexity_plot(run: RunFolder) -> Plot:
    """Perplexity of each model, normalised filled and raw hollow."""
    normalised, raw = run.estimates("perplexity"), run.estimates("perplexity_raw")
    figure = Figure(figsize=(4.9, 0.75 + 0.36 * len(run.models)), layout="constrained")
    axes = figure.add_subplot()
    log_axis(axes, [*normalised.values(), *raw.values()])
    rows(axes, labels(run, run.models))
    for place, model in enumerate(run.models):
        if model in normalised:
            dot(axes, place - 0.12 * (model in raw), normalised[model], looks(run)[model], label=model)
        if model in raw:
            at = place + 0.18 * (model in normalised)
            dot(axes, at, raw[model], looks(run)[model], hollow=True, label=f"{model}, raw")
    if run.floor in normalised:
        axes.axvline(normalised[run.floor].value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlabel("Test perplexity, log scale (lower is better)")
    found = {("perplexity", model): normalised[model] for model in run.models if model in normalised}
    found |= {("perplexity_raw", model): raw[model] for model in run.models if model in raw}
    hollow = " Hollow: raw perplexity, which also charges for probability spent off the list." if raw else ""
    floor = " Dashed: the floor, the best that any model can do." if run.floor in normalised else ""
    shown = {model: normalised.get(model) or raw[model] for model in run.models if model in normalised or model in raw}
    return Plot(
        name="perplexity",
        title="Perplexity of each model",
        caption=f"Further left is better; bars are {run.ci}.{hollow}{floor}",
        alt=f"Dot plot of test perplexity with intervals, best first: {_listed(shown, run.models)}.",
        frame=_frame(found, ("metric", "model")),
        figure=figure,
    )


def attainable_plot(run: RunFolder) -> Plot | None:
    """Share of the attainable gain; None without a floor."""
    models = [model for model in run.models if model in run.shares]
    if not models:
        return None
    figure = Figure(figsize=(4.9, 0.75 + 0.34 * len(models)), layout="constrained")
    axes = figure.add_subplot()
    rows(axes, labels(run, models))
    for place, model in enumerate(models):
        dot(axes, place, run.shares[model], looks(run)[model], label=model)
    for end in (0, 1):
        axes.axvline(end, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.xaxis.set_major_formatter(lambda value, _: percent(value, 0))
    axes.set_xlabel("Share of the attainable gain")
    listed = ", ".join(f"{model} {100 * run.shares[model].value:.0f} per cent" for model in models)
    return Plot(
        name="attainable",
        title="Share of the attainable gain",
        caption=f"Dashed lines: 0% is the baseline, 100% the floor; bars are {run.ci}.",
        alt=f"Dot plot of the share of the attainable gain with intervals: {listed}.",
        frame=_frame({(model,): run.shares[model] for model in models}, ("model",)),
        figure=figure,
    )


def references(run: RunFolder) -> tuple[str, ...]:
    """The models that others are set against in the figure: the baseline and the best rival."""
    names = [run.baseline, *run.rivals[:1]]
    return tuple(dict.fromkeys(name for name in names if name is not None))


def differences_plot(run: RunFolder) -> Plot | None:
    """Paired differences from the baseline and from the best model; None where nothing can be compared."""
    found = run.differences("perplexity")
    panels = {b: [a for a in run.models if (a, b) in found] for b in references(run)}
    panels = {b: models for b, models in panels.items() if models}
    if not panels:
        return None
    height = 0.75 * len(panels) + 0.3 * sum(map(len, panels.values()))
    figure = Figure(figsize=(4.9, 0.4 + height), layout="constrained")
    _layout(figure, h_pad=0.09)
    ratios = [len(models) + 1 for models in panels.values()]
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, (reference, models) in zip(grid, panels.items(), strict=True):
        _difference_panel(run, axes, {model: found[model, reference] for model in models})
        axes.set_title(f"Perplexity minus that of {shortened(reference)}")
    kept = {(model, reference): found[model, reference] for reference, models in panels.items() for model in models}
    wins = sum(estimate.excludes_zero for estimate in kept.values())
    return Plot(
        name="differences",
        title="Paired differences in perplexity",
        caption=f"Left of zero: better than the model named above the panel, on the same people; bars are {run.ci}; "
        "hollow: the interval includes zero. All pairs are in the table.",
        alt=f"Dot plots of paired differences in perplexity from {' and from '.join(panels)}; "
        f"{wins} of {len(kept)} intervals exclude zero.",
        frame=_frame(kept, ("model_a", "model_b")),
        figure=figure,
    )


def _layout(figure: Figure, **pads: float) -> None:
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(**pads)


def _difference_panel(run: RunFolder, axes: Axes, found: Mapping[str, Estimate]) -> None:
    rows(axes, labels(run, list(found)))
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    for place, (model, estimate) in enumerate(found.items()):
        dot(axes, place, estimate, looks(run)[model], hollow=not estimate.excludes_zero, label=model)
    sizes = sorted(abs(e.value) for e in found.values() if e.value and math.isfinite(e.value))
    if sizes and sizes[-1] > 15 * sizes[len(sizes) // 2]:
        axes.set_xscale("symlog", linthresh=10.0 ** math.floor(math.log10(sizes[len(sizes) // 2])))
        axes.xaxis.set_major_formatter(lambda value, _: fixed(value, decimals_of(value, 1)))
        axes.set_xlabel("Symmetric log scale")


def transition_plot(run: RunFolder) -> Plot | None:
    """Perplexity in first years, stays and moves, one panel each."""
    found = {subset: run.estimates("perplexity", subset=subset) for subset in SUBSETS}
    found = {subset: estimates for subset, estimates in found.items() if estimates}
    models = [model for model in run.models if any(model in estimates for estimates in found.values())]
    if not models:
        return None
    figure = Figure(figsize=(7.6, 0.95 + 0.33 * len(models)), layout="constrained")
    for axes, (subset, estimates) in zip(
        figure.subplots(1, len(found), squeeze=False, sharey=True)[0], found.items(), strict=True
    ):
        log_axis(axes, list(estimates.values()), most=4)
        rows(axes, labels(run, models))
        for place, model in enumerate(models):
            if model in estimates:
                dot(axes, place, estimates[model], looks(run)[model], label=f"{model}, {SUBSETS[subset]}")
        axes.set_title(SUBSETS[subset].capitalize())
    figure.supxlabel("Test perplexity, log scale (scales differ)", fontsize=9)
    listed = "; ".join(f"{SUBSETS[subset]}: {_listed(estimates, models)}" for subset, estimates in found.items())
    flat = {(subset, model): e for subset, estimates in found.items() for model, e in estimates.items()}
    return Plot(
        name="by_transition",
        title="Perplexity by type of transition",
        caption=f"One panel per type, each with a scale of its own; further left is better; bars are {run.ci}.",
        alt=f"Dot plots of perplexity by type of transition. {listed}.",
        frame=_frame(flat, ("subset", "model")),
        figure=figure,
        wide=True,
    )


def shown_models(run: RunFolder) -> list[str]:
    """At most ``MOST_MODELS`` models: the floor, the baseline, and the best of the others."""
    fixed = [name for name in (run.floor, run.baseline) if name]
    others = [name for name in run.rivals if name not in fixed][: MOST_MODELS - len(fixed)]
    return [name for name in run.models if name in fixed or name in others]


def group_plot(run: RunFolder, covariate: str) -> Plot | None:
    """Perplexity in each value of one covariate, models side by side."""
    groups = run.covariates[covariate]
    found = {group: run.estimates("perplexity", group=group) for group in groups}
    size = {group: max((e.person_years or 0 for e in found[group].values()), default=0) for group in groups}
    kept = sorted((group for group in groups if found[group]), key=lambda group: -size[group])[:MOST_GROUPS]
    kept = [group for group in groups if group in kept]
    models = [model for model in shown_models(run) if any(model in found[group] for group in kept)]
    if not kept or not models:
        return None
    shown = {(group, model): found[group][model] for group in kept for model in models if model in found[group]}
    left_out = len(groups) - len(kept)
    many = f" The {len(kept)} largest of {len(groups)} groups; the table has all." if left_out else ""
    some = (
        f" Shown: the {len(models)} of {len(found[kept[0]])} models that matter most (floor, baseline, best others)."
        if len(models) < len(found[kept[0]])
        else ""
    )
    name = covariate
    listed = "; ".join(f"{value_of(group)}: {_listed(found[group], models)}" for group in kept)
    return Plot(
        name="by_group_" + "".join(letter if letter.isalnum() else "_" for letter in covariate),
        title=f"Perplexity by {name}",
        caption=f"Compare models within a group; bars are {run.ci}.{many}{some}",
        alt=f"Dot plot of perplexity by {name}. {listed}.",
        frame=_frame(shown, ("group", "model")),
        figure=_draw_groups(run, kept, models, shown),
    )


def _draw_groups(
    run: RunFolder, groups: Sequence[str], models: Sequence[str], shown: Mapping[tuple[str, str], Estimate]
) -> Figure:
    step = 0.8 / len(models)
    height = 0.9 + 0.17 * -(-len(models) // 2) + len(groups) * (0.16 + 0.115 * len(models))
    figure = Figure(figsize=(4.6, height), layout="constrained")
    axes = figure.add_subplot()
    log_axis(axes, list(shown.values()))
    rows(axes, [value_of(group) for group in groups])
    for place, group in enumerate(groups):
        for nth, model in enumerate(models):
            if (group, model) in shown:
                at = place + (nth - (len(models) - 1) / 2) * step
                dot(axes, at, shown[group, model], looks(run)[model], label=f"{model}, {value_of(group)}")
    for place in range(len(groups) - 1):
        axes.axhline(place + 0.5, color=RULE, linewidth=0.7)
    axes.set_xlabel("Test perplexity, log scale")
    handles = [
        Line2D([], [], color=looks(run)[m].colour, marker=looks(run)[m].marker, linewidth=1.6, markersize=5.5)
        for m in models
    ]
    figure.legend(handles, labels(run, models), loc="outside upper left", ncols=2, columnspacing=1.2, handlelength=1.8)
    return figure
