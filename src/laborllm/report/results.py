"""The tables of results: how well each model predicts, for whom, and how sure that is."""

from collections.abc import Iterable, Mapping

import polars as pl

from laborllm.report.folder import RunFolder, value_of
from laborllm.report.numbers import Estimate, difference_decimals, fixed, interval, standard_error, whole
from laborllm.report.tables import Cell, Table, number_cell, percent_cell, perplexity_cell

SUBSETS = {"first": "first year", "stay": "stay", "move": "move"}
TASKS = {"move": "moving", "leave_labor_force": "leaving the labor force"}
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


def model_cell(run: RunFolder, model: str) -> Cell:
    """A model's name, marked as floor, baseline or best."""
    best = run.rivals[0] if len(run.rivals) > 1 else None
    marks = {run.baseline: "baseline", run.floor: "floor"}
    words = ["best"] if model == best else []
    words += [marks[model]] if model in marks else []
    return Cell(model, badge=", ".join(words), strong=model == best)


def result_tables(run: RunFolder) -> list[Table]:
    """Every table of results that this run has numbers for."""
    tables = [main_table(run), attainable_table(run), differences_table(run), transition_table(run)]
    tables += [groups_table(run), *(event_table(run, task) for task in TASKS)]
    return [table for table in tables if table is not None]


def main_table(run: RunFolder) -> Table:
    """Models × metrics over all test person-years."""
    found = {key: run.estimates(key[1], task=key[0]) for key in HEADS}
    found = {key: estimates for key, estimates in found.items() if estimates}
    rows = []
    for model in run.models:
        cells = [_metric_cell(metric, estimates.get(model)) for (_, metric), estimates in found.items()]
        rows.append((model_cell(run, model), *cells))
    columns = {metric if task == "occupation" else f"{task}_{metric}": e for (task, metric), e in found.items()}
    return Table(
        name="main",
        title="How well each model predicts the next occupation",
        caption="One row per model, best first; lower perplexity is better; test people only; "
        "floor: no model can do better; baseline: where gains are counted from.",
        brackets=run.ci,
        head=("Model", *(HEADS[key] for key in found)),
        rows=tuple(rows),
        frame=wide_frame(run.models, columns),
    )


def _metric_cell(metric: str, estimate: Estimate | None) -> Cell:
    if metric.startswith("perplexity"):
        return perplexity_cell(estimate)
    if metric == "log_mass":
        return percent_cell(estimate.as_mass() if estimate else None)
    if metric in ("accuracy", "top5", "top10"):
        return percent_cell(estimate)
    return number_cell(estimate)


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


def pairs_of(run: RunFolder) -> list[tuple[str, str, str, Estimate]]:
    """(a, b, metric, a − b) for every pair, the better model first; raw perplexity where one has nothing else."""
    normalised, raw = run.differences("perplexity"), run.differences("perplexity_raw")
    pairs = []
    for place, a in enumerate(run.models):
        for b in run.models[place + 1 :]:
            for metric, found in (("perplexity", normalised), ("perplexity_raw", raw)):
                if (a, b) in found:
                    pairs.append((a, b, metric, found[a, b]))
                    break
    return pairs


def differences_table(run: RunFolder) -> Table | None:
    """Paired differences in perplexity of all pairs of models."""
    pairs = pairs_of(run)
    if not pairs:
        return None
    frame = [(a, b, metric, e.value, e.std_error, e.low, e.high, e.person_years, e.people) for a, b, metric, e in pairs]
    names = ("model_a", "model_b", "metric", "difference", "std_error", "ci_low", "ci_high", "person_years", "people")
    return Table(
        name="differences",
        title="Paired differences in perplexity between all pairs of models",
        caption="Each row is the first model's perplexity minus the second's on the same people; negative: the first "
        f"is better; bold: the {run.ci} excludes zero.",
        head=("First model", "Second model", "Measure", "Difference", "Std. error", run.ci, "Excludes zero"),
        rows=tuple(_pair_row(*pair) for pair in pairs),
        frame=pl.DataFrame(frame, schema=list(names), orient="row", infer_schema_length=None),
        words=3,
    )


def _pair_row(a: str, b: str, metric: str, difference: Estimate) -> tuple[Cell, ...]:
    decimals = difference_decimals(difference)
    return (
        Cell(a),
        Cell(b),
        Cell("perplexity" if metric == "perplexity" else "raw perplexity"),
        Cell(fixed(difference.value, decimals), strong=difference.excludes_zero),
        Cell(standard_error(difference, decimals) or "–"),
        Cell(interval(difference, decimals) or "–"),
        Cell("–" if difference.interval is None else "yes" if difference.excludes_zero else "no"),
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
            names = Cell(covariate.replace("_", " ")), Cell(value_of(group))
            sizes = Cell(whole(size.people)), Cell(whole(size.person_years))
            rows.append((*names, *sizes, *(perplexity_cell(found.get(model)) for model in models)))
            frame += [(group, model, *_numbers(found[model])) for model in models if model in found]
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


def _numbers(e: Estimate) -> tuple:
    return e.value, e.std_error, e.low, e.high, e.person_years, e.people


def event_table(run: RunFolder, task: str) -> Table | None:
    """Models × metrics of a binary task, None where nothing was evaluated."""
    heads = {
        "auc": "AUC",
        "brier": "Brier score",
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
        (model_cell(run, model), *(_metric_cell(metric, found[metric].get(model)) for metric in found))
        for model in models
    ]
    return Table(
        name=f"event_{task}",
        title=f"How well each model tells who is {TASKS[task]}",
        caption="AUC: chance that a row with the event gets a higher probability than one without (0.5 is a coin "
        "toss); Brier score and calibration error: lower is better.",
        brackets=run.ci,
        head=("Model", *(heads[metric] for metric in found)),
        rows=tuple(rows),
        frame=wide_frame(models, found),
    )
