"""The page of one model: what it is, every number of its, its place among the others, where it is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import tomli_w
from matplotlib.figure import Figure

from laborllm.report.calibration import model_calibration_plot
from laborllm.report.differences import difference_cell, difference_cells
from laborllm.report.drawing import INK, Plot, dot, drawing, rows, settled
from laborllm.report.findings import ahead, survey_title
from laborllm.report.folder import RunFolder, covariate_of, value_of
from laborllm.report.looks import labels, looks
from laborllm.report.mistakes import confusions_table, expected_table, losses_table
from laborllm.report.numbers import Estimate, fixed, seconds
from laborllm.report.readings import Reading
from laborllm.report.results import (
    METRICS,
    SUBSETS,
    file_of,
    metric_cell,
    metric_words,
    page_of,
    task_words,
)
from laborllm.report.sample import mapping, mappings
from laborllm.report.tables import Cell, Table, whole_cell


@dataclass(frozen=True)
class ModelPage:
    """What one model's page is filled with.

    Attributes:
        folder: of its tables and figures, below tables/ and figures/, with a slash at its end.
        tables: name -> table.
        plots: name -> figure.
        words: everything else that the template asks for.
    """

    folder: str
    tables: Mapping[str, Table]
    plots: Mapping[str, Plot]
    words: Mapping[str, Any]


def find_model_page(run: RunFolder, model: str, reading: Reading | None) -> ModelPage:
    """Everything that the page of a model shows.

    Args:
        run: the run folder.
        model: a model of its evaluation.
        reading: what was taken from its probabilities; None where they are not kept or only of what happened.
    """
    tables = [metrics_table(run, model), rivals_table(run, model), cells_table(run, model)]
    if reading is not None and reading.mistakes is not None:
        tables += [make(reading.mistakes) for make in (confusions_table, losses_table, expected_table)]
    with drawing():
        plots = [rivals_plot(run, model), model_calibration_plot(run, model)]
        kept = {plot.name: settled(plot) for plot in plots if plot is not None}
    found = {table.name: table for table in tables if table is not None}
    folder = f"{file_of(model)}/"
    words = {
        "title": survey_title(run),
        "model": model_card(run, model),
        "findings": model_findings(run, model),
        "others": [(other, page_of(other).removeprefix("pages/")) for other in run.models if other != model],
        "links": _links(found, kept),
        "root": "../",
        "folder": folder,
    }
    return ModelPage(folder, found, kept, words)


def _links(tables: Mapping[str, Table], plots: Mapping[str, Plot]) -> list[tuple[str, str]]:
    there = {*tables, *plots}
    sections = (
        ("metrics", "Every metric", {"metrics"}),
        ("rivals", "Among the models", {"rivals"}),
        ("cells", "Transitions, groups", {"cells"}),
        ("calibration", "Calibration", {"calibration", "occupations"}),
        ("mistakes", "Where it is wrong", {"confusions", "losses"}),
        ("made", "How it was made", there),
    )
    return [(id, words) for id, words, needs in sections if needs & there]


def model_card(run: RunFolder, name: str) -> dict[str, Any]:
    """Name, page, description, marks, facts, cost and settings of a model, as far as record and study tell them."""
    model = mapping(mapping(run.record.get("models")).get(name))
    marks = {run.floor: "floor", run.baseline: "baseline"}
    kind = {"kind": str(model["kind"])} if model.get("kind") else {}
    settings = mapping(mapping(run.sections.get("models")).get(name))
    return {
        "name": name,
        "page": page_of(name) if run.settings.model_pages and name in run.models else "",
        "description": str(model.get("description") or "The record does not describe this model."),
        "facts": kind | dict(mapping(model.get("facts"))),
        "mark": marks.get(name, ""),
        "cost": _cost(run, name),
        "settings": tomli_w.dumps({"models": {name: dict(settings)}}) if settings else "",
    }


def _cost(run: RunFolder, name: str) -> dict[str, str]:
    """Time and memory of fitting and scoring a model."""
    found = [stage for stage in mappings(run.record.get("stages")) if stage.get("stage") == f"models/{name}"]
    if not found:
        return {}
    memory = found[0].get("peak_memory_mib")
    cost = {"time to fit and score": seconds(found[0].get("seconds"))}
    return cost if memory is None else cost | {"highest memory in use": f"{fixed(memory, 0)} MiB"}


def model_findings(run: RunFolder, model: str) -> list[str]:
    """Its place, and how far it is from the best and the baseline, in sentences."""
    if model not in run.rivals:
        if model == run.floor:
            return ["It is no competitor: it knows the true probabilities, and its perplexity is the floor."]
        return ["It scores only the realised titles, so only raw perplexities can be read here."]
    place, best = run.rivals.index(model) + 1, run.rivals[0]
    sentences = [f"By test perplexity it is number {place} of {len(run.rivals)} models that compete."]
    others = run.rivals[1:2] if model == best else (best,)
    name = "the runner-up" if model == best else "the best model"
    sentences += [ahead(run, model, other, f"{name} {other}") for other in others]
    if run.baseline not in (None, model, *others):
        sentences.append(ahead(run, model, str(run.baseline), f"the baseline {run.baseline}"))
    return [sentence for sentence in sentences if sentence]


def metrics_table(run: RunFolder, model: str) -> Table:
    """Every task and metric of a model over all its test person-years."""
    found = [
        (task, metric, estimates[model])
        for (task, metric, subset, group), estimates in run.cells.items()
        if subset == group == "all" and model in estimates
    ]
    order = list(METRICS)
    found.sort(key=lambda one: (one[0] != "occupation", one[0], order.index(one[1]) if one[1] in order else len(order)))
    banded = any(estimate.band.interval for _, _, estimate in found)
    delta = any(estimate.delta is not None for _, _, estimate in found)
    table_rows = []
    for task, metric, estimate in found:
        cell = metric_cell(metric, estimate)
        more = [Cell(cell.error or "–")]
        more += [Cell(metric_cell(metric, replace(estimate, std_error=estimate.delta)).error or "–")] if delta else []
        more += [Cell(metric_cell(metric, estimate.band).interval or "–")] if banded else []
        sizes = whole_cell(estimate.person_years), whole_cell(estimate.people)
        table_rows.append((Cell(task_words(task)), Cell(metric_words(metric)), cell, *more, *sizes))
    names = ("task", "metric", "estimate", "std_error", "std_error_delta", "ci_low", "ci_high", "band_low", "band_high")
    values = [
        (task, metric, e.value, e.std_error, e.delta, e.low, e.high, e.band_low, e.band_high, e.person_years, e.people)
        for task, metric, e in found
    ]
    band_head = [f"Simultaneous {run.ci}"] if banded else []
    delta_head = ["By delta method"] if delta else []
    return Table(
        name="metrics",
        title="Every metric, over all its test person-years",
        caption="Standard errors and intervals from resampling test people with all their years."
        + (" Simultaneous: all models' intervals of this metric hold at once." if banded else ""),
        brackets=run.ci,
        head=("Task", "Metric", "Estimate", "Std. error", *delta_head, *band_head, "Person-years", "People"),
        rows=tuple(table_rows),
        frame=pl.DataFrame(values, schema=[*names, "person_years", "people"], orient="row", infer_schema_length=None),
        words=2,
    )


def _against(run: RunFolder, model: str) -> dict[str, Estimate]:
    """Other model -> this model's perplexity minus its, best first."""
    found = run.differences("perplexity")
    return {other: found[model, other] for other in run.models if (model, other) in found}


def rivals_table(run: RunFolder, model: str) -> Table | None:
    """Paired differences of this model from every other; None where nothing can be compared."""
    found = _against(run, model)
    if not found:
        return None
    banded = any(estimate.band.interval for estimate in found.values())
    values = [(o, e.value, e.std_error, e.low, e.high, e.band_low, e.band_high) for o, e in found.items()]
    band_head = [f"Simultaneous {run.ci}"] * banded
    names = ("other", "difference", "std_error", "ci_low", "ci_high", "band_low", "band_high")
    return Table(
        name="rivals",
        title="Its perplexity minus that of every other model",
        caption="On the same people; negative: this model is better.",
        head=(
            "Other model",
            "Difference",
            "Std. error",
            run.ci,
            "Excludes zero",
            *band_head,
        ),
        rows=tuple((Cell(other), *difference_cells(estimate, banded=banded)) for other, estimate in found.items()),
        frame=pl.DataFrame(values, schema=list(names), orient="row", infer_schema_length=None),
    )


def rivals_plot(run: RunFolder, model: str) -> Plot | None:
    """The same as a figure."""
    found = {other: e for other, e in _against(run, model).items() if e.interval is not None}
    if not found:
        return None
    figure = Figure(figsize=(4.9, 0.7 + 0.3 * len(found)), layout="constrained")
    axes = figure.add_subplot()
    rows(axes, labels(run, list(found)))
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    for place, (other, estimate) in enumerate(found.items()):
        dot(axes, place, estimate, looks(run)[other], hollow=not estimate.excludes_zero, label=f"minus {other}")
    axes.set_xlabel("Difference in test perplexity")
    better = sum(e.excludes_zero and e.value < 0 for e in found.values())
    worse = sum(e.excludes_zero and e.value > 0 for e in found.values())
    return Plot(
        name="rivals",
        title="Its perplexity minus that of every other model",
        caption=f"Left of zero: this model is better; bars are {run.ci}; hollow: the interval includes zero.",
        alt=f"Dot plot of paired differences: {model} is better than {better} and worse than {worse} of {len(found)} "
        "models by more than its interval.",
        frame=pl.DataFrame(
            [(other, e.value, e.low, e.high) for other, e in found.items()],
            schema=["other", "difference", "ci_low", "ci_high"],
            orient="row",
        ),
        figure=figure,
    )


def cells_table(run: RunFolder, model: str) -> Table | None:
    """Perplexity by transition and group, beside the paired difference from the model it is set against."""
    metric = "perplexity" if model in run.estimates("perplexity") else "perplexity_raw"
    cells = [(subset, "all") for subset in SUBSETS]
    cells += [("all", group) for groups in run.covariates.values() for group in groups]
    found = {cell: run.estimates(metric, subset=cell[0], group=cell[1]).get(model) for cell in cells}
    kept = {cell: estimate for cell, estimate in found.items() if estimate is not None}
    if not kept:
        return None
    other = next((name for name in (run.baseline, *run.rivals) if name not in (None, model)), None)
    pairs = {cell: run.differences(metric, subset=cell[0], group=cell[1]).get((model, other or "")) for cell in kept}
    paired = any(difference is not None for difference in pairs.values())
    table_rows, values = [], []
    for (subset, group), estimate in kept.items():
        difference = pairs[subset, group]
        words = ("transition", SUBSETS[subset]) if group == "all" else (covariate_of(group), value_of(group))
        row = [Cell(words[0]), Cell(words[1]), metric_cell(metric, estimate)]
        row += [difference_cell(difference)] if paired else []
        table_rows.append((*row, whole_cell(estimate.person_years), whole_cell(estimate.people)))
        d = difference or Estimate(float("nan"))
        values.append((subset, group, estimate.value, estimate.low, estimate.high, d.value, d.low, d.high))
    names = ("subset", "group", metric, "ci_low", "ci_high", "difference", "difference_ci_low", "difference_ci_high")
    return Table(
        name="cells",
        title="Perplexity by type of transition and by group of people",
        caption="Groups differ in how predictable their careers are: the paired difference, not the level, tells "
        "whether the model does well there." + (" Bold: the interval excludes zero." if paired else ""),
        brackets=run.ci,
        head=("Covariate", "Value", "Perplexity", *([f"Minus {other}"] * paired), "Person-years", "Test people"),
        rows=tuple(table_rows),
        frame=pl.DataFrame(values, schema=list(names), orient="row", infer_schema_length=None),
        words=2,
    )
