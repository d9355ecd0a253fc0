"""Out of time: how well models foresee the years after those they learned from (``evaluation.forecasts``)."""

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from laborllm.report.drawing import MUTED, Plot, dot, drawing, log_ticks, settled, shortened
from laborllm.report.folder import SIZE, SPREAD, RunFolder
from laborllm.report.looks import labels, looks
from laborllm.report.numbers import Estimate, difference_decimals, fixed, interval, perplexity, standard_error, whole
from laborllm.report.tables import Cell, Table, number_cell, perplexity_cell

WORDS = ("way", "horizon", "task", "metric")
WAYS = {"path": "By path", "one_step": "One step"}
EXPLAINED = (
    "By path: from the history up to the last year learned from alone, the years in between averaged over drawn "
    "careers. One step: from the whole history up to the year before, by the same model."
)
MEASURES = {("occupation", "perplexity"): "Perplexity", ("move", "auc"): "AUC of moving"}
MOST_MODELS = 6
"""Models that stay legible in the figure; the tables hold the rest."""

Found = Mapping[tuple[str, str], Mapping[str, Estimate]]
"""(way, horizon) -> model -> estimate."""


def forecasts_tables(run: RunFolder) -> list[Table]:
    """Perplexity and AUC of moving by way, horizon and model, and paired differences; none without forecast.csv."""
    tables = [_by_horizon(run, task, metric) for task, metric in MEASURES]
    return [table for table in (*tables, _differences(run)) if table is not None]


def forecasts_plots(run: RunFolder) -> list[Plot]:
    """Perplexity and AUC of moving by horizon, a panel for each way; none without forecast.csv."""
    found = {measure: _read(run, *measure) for measure in MEASURES}
    found = {measure: each for measure, each in found.items() if each}
    models = _models(run, found)[:MOST_MODELS]
    if not models:
        return []
    with drawing():
        return [settled(_plot(run, found, models))]


def _read(run: RunFolder, task: str, metric: str) -> Found:
    """One measure, in the order of the horizons."""
    table = run.other_csv("forecast", ("model", *WORDS), ("estimate", *SPREAD, *SIZE))
    found: dict[tuple[str, str], dict[str, Estimate]] = {}
    for row in table.filter(task=task, metric=metric).iter_rows(named=True):
        found.setdefault((row["way"], row["horizon"]), {})[row["model"]] = _estimate(row, "estimate")
    return dict(sorted(found.items(), key=lambda item: (list(WAYS).index(item[0][0]), _place(item[0][1]))))


def _estimate(row: Mapping, name: str) -> Estimate:
    value = float("nan") if row[name] is None else row[name]
    sizes = (None if row[size] is None else int(row[size]) for size in SIZE)
    return Estimate(value, *(row[spread] for spread in SPREAD), *sizes)


def _place(horizon: str) -> float:
    """Order of a horizon: those with a number, then the one beyond them, then all together.

    Examples:
        >>> sorted(["all", "11+", "2", "10"], key=_place)
        ['2', '10', '11+', 'all']
    """
    return float("inf") if horizon == "all" else int(horizon.rstrip("+")) + 0.5 * horizon.endswith("+")


def _words(horizon: str) -> str:
    """A horizon at the head of a row.

    Examples:
        >>> _words("1"), _words("11+"), _words("all")
        ('1 year', '11 years or more', 'all')
    """
    if horizon == "all":
        return "all"
    years = horizon.rstrip("+")
    return f"{years} {'year' if years == '1' else 'years'}" + (" or more" if horizon.endswith("+") else "")


def _models(run: RunFolder, found: Mapping[tuple[str, str], Found]) -> list[str]:
    forecast = {model for each in found.values() for estimates in each.values() for model in estimates}
    return [model for model in run.models if model in forecast]


def _by_horizon(run: RunFolder, task: str, metric: str) -> Table | None:
    found = _read(run, task, metric)
    models = _models(run, {(task, metric): found})
    if not models:
        return None
    cell = perplexity_cell if metric == "perplexity" else number_cell
    rows, frame = [], []
    for (way, horizon), estimates in found.items():
        size = next(iter(estimates.values()))
        words = (Cell(WAYS[way]), Cell(_words(horizon)), Cell(whole(size.people)), Cell(whole(size.person_years)))
        rows.append((*words, *(cell(estimates.get(model)) for model in models)))
        for model in models:
            if model in estimates:
                frame.append((model, way, horizon, *_numbers(estimates[model])))
    name = MEASURES[task, metric]
    moving = "" if task == "occupation" else " Moving: away from the last occupation that the prediction knows of."
    return Table(
        name=f"forecast_{task}_{metric}",
        title=f"{name} by years ahead",
        caption=f"{EXPLAINED}{moving} Horizons are different people and years: compare models within a row, and the "
        "two ways at one horizon.",
        brackets=run.ci,
        head=("Way", "Years ahead", "Test people", "Person-years", *models),
        rows=tuple(rows),
        frame=pl.DataFrame(
            frame, schema=["model", "way", "horizon", metric, *SPREAD, *SIZE], orient="row", infer_schema_length=None
        ),
        words=2,
        ordered=True,
    )


def _numbers(estimate: Estimate) -> tuple[float | int | None, ...]:
    return (
        estimate.value,
        estimate.std_error,
        estimate.low,
        estimate.high,
        estimate.person_years,
        estimate.people,
    )


def _differences(run: RunFolder) -> Table | None:
    """Paired differences in perplexity over all years ahead."""
    pairs = ("model_a", "model_b")
    table = run.other_csv("forecast_comparisons", (*pairs, *WORDS), ("difference", *SPREAD, *SIZE))
    table = table.filter(task="occupation", metric="perplexity", horizon="all")
    if not table.height:
        return None
    rows = []
    for row in table.iter_rows(named=True):
        difference = _estimate(row, "difference")
        decimals = difference_decimals(difference)
        shown = Cell(
            fixed(difference.value, decimals),
            interval(difference, decimals),
            standard_error(difference, decimals),
            strong=difference.excludes_zero,
        )
        rows.append((Cell(row["model_a"]), Cell(row["model_b"]), Cell(WAYS[row["way"]]), shown))
    return Table(
        name="forecast_differences",
        title="Paired differences in perplexity over all years ahead",
        caption="The first model's perplexity minus the second's on the same people; negative: the first is better; "
        f"bold: the {run.ci} excludes zero.",
        brackets=run.ci,
        head=("First model", "Second model", "Way", "Difference"),
        rows=tuple(rows),
        frame=table,
        words=3,
    )


def _plot(run: RunFolder, found: Mapping[tuple[str, str], Found], models: Sequence[str]) -> Plot:
    horizons = [h for h in dict.fromkeys(horizon for each in found.values() for _, horizon in each) if h != "all"]
    horizons.sort(key=_place)
    figure = Figure(figsize=(7.6, 0.9 + 2.2 * len(found)), layout="constrained")
    grid = figure.subplots(len(found), len(WAYS), squeeze=False, sharex=True, sharey="row")
    for line, (measure, each) in zip(grid, found.items(), strict=True):
        for axes, way in zip(line, WAYS, strict=True):
            own = {horizon: each[way, horizon] for horizon in horizons if (way, horizon) in each}
            _panel(run, axes, own, models, horizons)
            axes.set_title(f"{MEASURES[measure]}, {WAYS[way].lower()}")
        if measure[1] == "perplexity":
            _log_ordinate(line[0], [e for by in each.values() for model, e in by.items() if model in models])
    figure.supxlabel("Calendar years since each person's last row in the years learned from", fontsize=9)
    handles = [
        Line2D([], [], color=looks(run)[m].colour, marker=looks(run)[m].marker, linewidth=1.2, markersize=5)
        for m in models
    ]
    figure.legend(handles, labels(run, models), loc="outside upper left", ncols=3, columnspacing=1.2)
    return Plot(
        name="forecast",
        title="How well models foresee the years after those they learned from",
        caption=f"{EXPLAINED} Bars are {run.ci}.",
        alt=_alt(found, models),
        frame=_frame(found, models),
        figure=figure,
        wide=True,
    )


def _panel(
    run: RunFolder,
    axes: Axes,
    found: Mapping[str, Mapping[str, Estimate]],
    models: Sequence[str],
    horizons: Sequence[str],
) -> None:
    """One way: a line for each model, its dots side by side at every horizon."""
    for nth, model in enumerate(models):
        aside = (nth - (len(models) - 1) / 2) * 0.5 / len(models)
        own = {horizons.index(horizon): by[model] for horizon, by in found.items() if model in by}
        look = looks(run)[model]
        axes.plot([x + aside for x in own], [e.value for e in own.values()], color=look.colour, linewidth=0.9, zorder=1)
        for x, estimate in own.items():
            dot(axes, x + aside, estimate, look, upright=True, label=f"{shortened(model)}, {_words(horizons[x])}")
    axes.set_xticks(range(len(horizons)), horizons)
    axes.grid(axis="y")
    axes.tick_params(axis="x", color=MUTED)


def _log_ordinate(axes: Axes, estimates: Sequence[Estimate]) -> None:
    ends = [end for e in estimates for end in (e.value, *(e.interval or ())) if 0 < end < float("inf")] or [1.0]
    low, high = min(ends) / 1.05, max(ends) * 1.05
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.set_yticks(log_ticks(low, high), [f"{tick:g}" for tick in log_ticks(low, high)])
    axes.minorticks_off()


def _alt(found: Mapping[tuple[str, str], Found], models: Sequence[str]) -> str:
    each = found.get(("occupation", "perplexity"), {})
    ends = []
    for model in models:
        own = {h: by[model] for (way, h), by in each.items() if way == "path" and h != "all" and model in by}
        if own:
            horizons = list(own)
            first, last = horizons[0], horizons[-1]
            ends.append(
                f"{model} from {perplexity(own[first].value)} ({_words(first)}) to {perplexity(own[last].value)} "
                f"({_words(last)})"
            )
    return f"Lines by years ahead. Perplexity by path: {'; '.join(ends)}."


def _frame(found: Mapping[tuple[str, str], Found], models: Sequence[str]) -> pl.DataFrame:
    """The plotted numbers."""
    rows = [
        (task, metric, way, horizon, model, by[model].value, by[model].low, by[model].high)
        for (task, metric), each in found.items()
        for (way, horizon), by in each.items()
        for model in models
        if model in by and horizon != "all"
    ]
    columns = ["task", "metric", "way", "horizon", "model", "estimate", "ci_low", "ci_high"]
    return pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None)
