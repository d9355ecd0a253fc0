"""The tables of results: how well each model predicts, for whom, and how sure that is."""

from collections.abc import Iterable, Mapping

import polars as pl

from laborllm.report.differences import differences_table
from laborllm.report.folder import RunFolder, value_of
from laborllm.report.numbers import Estimate, whole
from laborllm.report.tables import Cell, Table, number_cell, percent_cell, perplexity_cell

SUBSETS = {"first": "first year", "stay": "stay", "move": "move"}
TASKS = {
    "move": "moving",
    "leave_labor_force": "leaving the labor force",
    "enter_labor_force": "entering the labor force",
}
"""The yes-or-no tasks."""
TASK_WORDS = {"occupation": "next occupation", "broad_group": "broad group", "destination": "where movers go", **TASKS}
METRICS = {
    "perplexity": "perplexity",
    "perplexity_raw": "raw perplexity",
    "log_mass": "mass on the list",
    "log_score": "log score (nats)",
    "accuracy": "accuracy",
    "top5": "in top 5",
    "top10": "in top 10",
    "auc": "AUC",
    "brier": "Brier score",
    "brier_reliability": "… miscalibration",
    "brier_resolution": "… resolution",
    "brier_uncertainty": "… uncertainty",
    "calibration_error": "calibration error",
}
"""Metric -> words, in the order in which a model's page lists them."""
HEADS = {
    ("occupation", "perplexity"): "Perplexity",
    ("occupation", "perplexity_raw"): "Raw perplexity",
    ("occupation", "log_mass"): "Mass on the list",
    ("occupation", "accuracy"): "Accuracy",
    ("occupation", "top5"): "In top 5",
    ("occupation", "top10"): "In top 10",
    ("move", "auc"): "AUC of moving",
    ("move", "brier"): "Brier of moving",
}
"""(task, metric) -> column head of the main table, in order; columns without a number are left out."""
BRIER = (
    " Brier score = miscalibration − resolution + uncertainty, up to the spread inside bins: miscalibration is to be "
    "low, resolution high, uncertainty is the same for all."
)
SCORES = {
    ("occupation", "log_score"): "Log score (nats)",
    ("occupation", "brier"): "Brier score",
    ("occupation", "calibration_error"): "Calibration error",
}
OTHER_TASKS = {
    ("move", "auc"): "Moving: AUC",
    ("leave_labor_force", "auc"): "Leaving the labor force: AUC",
    ("enter_labor_force", "auc"): "Entering it: AUC",
    ("broad_group", "perplexity"): "Broad group: perplexity",
    ("broad_group", "accuracy"): "Broad group: accuracy",
    ("destination", "perplexity"): "Where movers go: perplexity",
    ("destination", "top5"): "Where movers go: in top 5",
}


def model_cell(run: RunFolder, model: str) -> Cell:
    """A model's name, marked as floor, baseline or best."""
    best = run.rivals[0] if len(run.rivals) > 1 else None
    marks = {run.baseline: "baseline", run.floor: "floor"}
    words = ["best"] if model == best else []
    words += [marks[model]] if model in marks else []
    link = page_of(model) if run.settings.model_pages else ""
    return Cell(model, badge=", ".join(words), strong=model == best, link=link)


def file_of(model: str) -> str:
    """A model's name as the name of a file; names of a study are such names already.

    Examples:
        >>> file_of("llm_2"), file_of("no change")
        ('llm_2', 'no_change')
    """
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in model)


def page_of(model: str) -> str:
    """Where a model's page lies in the run folder."""
    return f"pages/{file_of(model)}.html"


def task_words(task: str) -> str:
    """A task in words."""
    return TASK_WORDS.get(task, task.replace("_", " "))


def metric_words(metric: str) -> str:
    """A metric in words."""
    return METRICS.get(metric, metric.replace("_", " "))


def result_tables(run: RunFolder) -> list[Table]:
    """Every table of results that this run has numbers for."""
    tables = [main_table(run), attainable_table(run), scores_table(run), weighted_table(run), differences_table(run)]
    tables += [transition_table(run), groups_table(run), tasks_table(run), *(event_table(run, task) for task in TASKS)]
    return [table for table in tables if table is not None]


def main_table(run: RunFolder) -> Table:
    """Models × metrics over all test person-years."""
    table = _models_by_metrics(
        run,
        HEADS,
        name="main",
        title="How well each model predicts the next occupation",
        caption="One row per model, best first; lower perplexity is better; test people only; "
        "floor: no model can do better; baseline: where gains are counted from.",
    )
    return table if table is not None else Table("main", "No metric", "", ("Model",), (), wide_frame(run.models, {}))


def scores_table(run: RunFolder) -> Table | None:
    """Models × proper scores of the whole distribution; None where an older run has none."""
    return _models_by_metrics(
        run,
        SCORES,
        name="scores",
        title="Scores of the whole distribution over occupations",
        caption="Log score: mean log probability of what happened, higher is better (perplexity is exp of its "
        "negative); Brier score: squared distance between the probabilities and what happened, lower is better.",
    )


def tasks_table(run: RunFolder) -> Table | None:
    """Models × the tasks that are read off the same probabilities; None where only moves were evaluated."""
    heads = {key: head for key, head in OTHER_TASKS.items() if run.estimates(key[1], task=key[0])}
    if len(heads) < 2:
        return None
    return _models_by_metrics(
        run,
        heads,
        name="tasks",
        title="Other questions to the same probabilities",
        caption="AUC: 0.5 is a coin toss, 1 perfect; perplexity: lower is better. Where movers go: among those who "
        "move, given that they do.",
    )


def _models_by_metrics(
    run: RunFolder, heads: Mapping[tuple[str, str], str], *, name: str, title: str, caption: str
) -> Table | None:
    """One row per model, one column per (task, metric) that has numbers; None without any."""
    found = {key: run.estimates(key[1], task=key[0]) for key in heads}
    found = {key: estimates for key, estimates in found.items() if estimates}
    models = [model for model in run.models if any(model in estimates for estimates in found.values())]
    rows = []
    for model in models:
        cells = [metric_cell(metric, estimates.get(model)) for (_, metric), estimates in found.items()]
        rows.append((model_cell(run, model), *cells))
    columns = {metric if task == "occupation" else f"{task}_{metric}": e for (task, metric), e in found.items()}
    if not columns:
        return None
    head = ("Model", *(heads[key] for key in found))
    frame = wide_frame(models, columns)
    return Table(name, title, caption, head=head, rows=tuple(rows), frame=frame, brackets=run.ci)


def weighted_table(run: RunFolder) -> Table | None:
    """Perplexity with and without survey weights, and the places of the models; None where nothing was weighted."""
    weighted = run.weighted_cells.get(("occupation", "perplexity", "all", "all"), {})
    plain = run.estimates("perplexity")
    models = [model for model in run.models if model in weighted and model in plain]
    if not models:
        return None
    order = sorted(models, key=lambda model: weighted[model].value)
    rows = [
        (
            model_cell(run, model),
            perplexity_cell(plain[model]),
            Cell(str(place)),
            perplexity_cell(weighted[model]),
            Cell(str(order.index(model) + 1)),
        )
        for place, model in enumerate(models, start=1)
    ]
    return Table(
        name="weighted",
        title="With and without survey weights",
        caption="Weighted: every test person-year counts by its survey weight, as in the population that the survey "
        "stands for; unweighted: all count alike.",
        brackets=run.ci,
        head=("Model", "Unweighted perplexity", "Place", "Weighted perplexity", "Place when weighted"),
        rows=tuple(rows),
        frame=wide_frame(models, {"perplexity": plain, "perplexity_weighted": weighted}),
    )


def metric_cell(metric: str, estimate: Estimate | None) -> Cell:
    """An estimate written as its metric is."""
    if metric.startswith("perplexity"):
        return perplexity_cell(estimate)
    if metric == "log_mass":
        return percent_cell(estimate.as_mass() if estimate else None)
    if metric in ("accuracy", "top5", "top10"):
        return percent_cell(estimate)
    return number_cell(estimate, decimals=4 if metric.startswith("brier_") else 3)


def wide_frame(models: Iterable[str], columns: Mapping[str, Mapping[str, Estimate]]) -> pl.DataFrame:
    """One row per model; each column with its std_error, ci_low and ci_high, every digit kept."""
    frame: dict[str, list] = {"model": list(models)}
    for name, estimates in columns.items():
        found = [estimates.get(model) for model in frame["model"]]
        frame[name] = [e.value if e else None for e in found]
        frame[f"{name}_std_error"] = [e.std_error if e else None for e in found]
        frame[f"{name}_ci_low"] = [e.low if e else None for e in found]
        frame[f"{name}_ci_high"] = [e.high if e else None for e in found]
    return pl.DataFrame({name: pl.Series(name, values, strict=False) for name, values in frame.items()})


def attainable_table(run: RunFolder) -> Table | None:
    """Share of the attainable gain of each model, None without a floor."""
    if not run.attainable.height:
        return None
    models = [model for model in run.models if model in run.shares]
    baseline, floor = run.attainable["baseline"][0], run.attainable["floor"][0]
    return Table(
        name="attainable",
        title="Share of the attainable gain",
        caption=f"0% is no better than {baseline}, 100% is as good as {floor}, which knows the true probabilities; "
        "computed on log perplexities.",
        brackets=run.ci,
        head=("Model", "Share of the attainable gain"),
        rows=tuple((model_cell(run, model), percent_cell(run.shares[model])) for model in models),
        frame=wide_frame(models, {"share": run.shares}),
    )


def transition_table(run: RunFolder) -> Table | None:
    """Models × first, stay, move."""
    found = {subset: run.estimates("perplexity", subset=subset) for subset in SUBSETS}
    found = {subset: estimates for subset, estimates in found.items() if estimates}
    if not found:
        return None
    models = [model for model in run.models if any(model in estimates for estimates in found.values())]
    rows = [(model_cell(run, model), *(perplexity_cell(found[s].get(model)) for s in found)) for model in models]
    counts = {subset: max(e.person_years or 0 for e in found[subset].values()) for subset in found}
    return Table(
        name="by_transition",
        title="Perplexity by type of transition",
        caption="A stay repeats the last observed occupation and is easy, a move is hard, a first year has no history; "
        "columns are different person-years: compare down, not across.",
        brackets=run.ci,
        head=("Model", *(_head_with_count(SUBSETS[subset].capitalize(), counts[subset]) for subset in found)),
        rows=tuple(rows),
        frame=wide_frame(models, found),
    )


def _head_with_count(words: str, person_years: int) -> str:
    return f"{words} ({whole(person_years)} person-years)" if person_years else words


def groups_table(run: RunFolder) -> Table | None:
    """Values of each covariate × models."""
    if not run.covariates:
        return None
    models = [model for model in run.models if model in run.estimates("perplexity")]
    rows, frame = [], []
    for covariate, groups in run.covariates.items():
        for group in groups:
            found = run.estimates("perplexity", group=group)
            size = next(iter(found.values()), Estimate(float("nan")))
            names = Cell(covariate), Cell(value_of(group))
            sizes = Cell(whole(size.people)), Cell(whole(size.person_years))
            rows.append((*names, *sizes, *(perplexity_cell(found.get(model)) for model in models)))
            frame += [(group, model, *found[model].numbers) for model in models if model in found]
    schema = ("group", "model", "perplexity", "std_error", "ci_low", "ci_high", "person_years", "people")
    return Table(
        name="by_group",
        title="Perplexity by group of people",
        caption="Compare models within a row; groups differ in how predictable their careers are, so a higher number "
        "down a column is not by itself a fault of the model.",
        brackets=run.ci,
        head=("Covariate", "Value", "Test people", "Person-years", *models),
        rows=tuple(rows),
        frame=pl.DataFrame(frame, schema=list(schema), orient="row", infer_schema_length=None),
        words=2,
    )


def event_table(run: RunFolder, task: str) -> Table | None:
    """Models × metrics of a binary task, None where nothing was evaluated."""
    heads = {
        "auc": "AUC",
        "brier": "Brier score",
        "brier_reliability": "Its miscalibration",
        "brier_resolution": "Its resolution",
        "brier_uncertainty": "Its uncertainty",
        "calibration_error": "Calibration error",
        "perplexity": "Perplexity",
        "accuracy": "Accuracy",
    }
    found = {metric: run.estimates(metric, task=task) for metric in heads}
    found = {metric: estimates for metric, estimates in found.items() if estimates}
    if not found:
        return None
    models = [model for model in run.models if any(model in estimates for estimates in found.values())]
    rows = [
        (model_cell(run, model), *(metric_cell(metric, found[metric].get(model)) for metric in found))
        for model in models
    ]
    return Table(
        name=f"event_{task}",
        title=f"How well each model tells who is {TASKS[task]}",
        caption="AUC: chance that a row with the event gets a higher probability than one without (0.5 is a coin "
        "toss); Brier score and calibration error: lower is better." + BRIER * ("brier_resolution" in found),
        brackets=run.ci,
        head=("Model", *(heads[metric] for metric in found)),
        rows=tuple(rows),
        frame=wide_frame(models, found),
    )
