"""The page of numbered tables: every survey's run and experiments side by side, and what was not run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.report.essay import Essay, Section, write_essay
from laborllm.report.folder import RunFolder, read_run
from laborllm.report.numbers import Estimate, difference_decimals, fixed, interval, percent, whole
from laborllm.report.results import SUBSETS
from laborllm.report.tables import Cell, Table, number_cell, perplexity_cell, text_rows

REFERENCE = "career"
"""The model that the others are set against in the paired differences."""
TITLES = {
    "titles": "Do the words of titles matter?",
    "pooling": "Do people of other surveys help?",
    "size": "How much do people, and larger models, add?",
    "history": "How far back must a model look?",
    "covariates": "What is each covariate worth?",
    "pretraining": "What is learned before the survey?",
    "prompt": "What do examples and the list add?",
}


@dataclass(frozen=True)
class Part:
    """One folder of results.

    Attributes:
        survey: whose.
        kind: "run", or the name of an experiment.
        folder: the run folder, or that of the experiment.
    """

    survey: str
    kind: str
    folder: Path


def write_reproduction_page(
    parts: Sequence[Part],
    absent: Sequence[tuple[str, str, str]],
    path: Path,
    *,
    rehearsal: bool,
    facts: Mapping[str, str],
) -> Path:
    """Write the page with its tables.

    Args:
        parts: runs and experiments that were done.
        absent: (what, why, command) of what was not.
        path: of the page.
        rehearsal: whether a few updates and draws were made: the page says that its numbers mean nothing.
        facts: label -> value: how to repeat it.
    """
    runs = {part.survey: read_run(part.folder) for part in parts if part.kind == "run"}
    tables = [_samples(runs), _perplexities(runs), _against(runs), _transitions(runs), _moving(runs), _groups(runs)]
    tables += [_experiment(name, parts) for name in TITLES]
    numbered = [
        replace(table, name=f"table_{place:02d}_{table.name}", title=f"Table {place}. {table.title}")
        for place, table in enumerate((table for table in tables if table is not None), start=1)
    ]
    split = len(numbered) - sum(part.kind != "run" for part in _first_of_each(parts))
    sections = [
        Section("comparison", "The models compared", (), numbered[:split]),
        Section("sources", "Where the gains come from", (), numbered[split:]),
    ]
    if absent:
        sections.append(Section("absent", "Not run", (), [_absent(absent)]))
    names = ", ".join(survey.upper() for survey in runs)
    lead = f"Careers of {names}: every comparison of the paper that was possible here."
    if rehearsal:
        lead = "A rehearsal with a few updates and draws: the way was tried, the numbers mean nothing. " + lead
    essay = Essay("laborllm reproduce", "Language models and their rivals", lead, _findings(runs), sections, facts)
    return write_essay(essay, path)


def _first_of_each(parts: Sequence[Part]) -> list[Part]:
    return list({part.kind: part for part in parts if part.kind != "run"}.values())


def _findings(runs: Mapping[str, RunFolder]) -> list[str]:
    """The best model of each survey, and how far it is from CAREER."""
    written = []
    for survey, run in runs.items():
        if not run.rivals:
            continue
        best = run.rivals[0]
        level = run.estimates("perplexity")[best]
        sentence = f"{survey.upper()}: {best} predicts best, perplexity {perplexity_cell(level).text}"
        difference = run.differences("perplexity").get((best, REFERENCE))
        if difference is not None:
            decimals = difference_decimals(difference)
            sentence += f", {fixed(difference.value, decimals)} {interval(difference, decimals)} from {REFERENCE}"
        written.append(sentence + ".")
    return written


def _samples(runs: Mapping[str, RunFolder]) -> Table:
    rows, frame = [], []
    for survey, run in runs.items():
        careers, test = run.careers, run.careers.part("test")
        later = careers.transition != "first"
        moves = float((careers.transition[later] == "move").mean()) if later.any() else float("nan")
        years = careers.table["year"]
        values = (survey.upper(), careers.people, len(careers), int(years.min()), int(years.max()))  # type: ignore[arg-type]
        values += (len(careers.occupations), moves, test.people, len(test))  # type: ignore[assignment]
        frame.append(values)
        name, people, person_years, first, last, listed, share, test_people, test_rows = values  # type: ignore[misc]
        counts = (whole(people), whole(person_years), f"{first}–{last}", whole(listed), percent(share))
        rows.append((name, *counts, whole(test_people), whole(test_rows)))
    names = ["survey", "people", "person_years", "first_year", "last_year", "occupations", "share_move", "test_people"]
    return Table(
        name="samples",
        title="The samples",
        caption="Share of moves: of person-years with an earlier one.",
        head=("Survey", "People", "Person-years", "Years", "Occupations", "Moves", "Test people", "Test person-years"),
        rows=text_rows(rows),
        frame=pl.DataFrame(frame, schema=[*names, "test_person_years"], orient="row"),
    )


def _models(runs: Mapping[str, RunFolder]) -> list[str]:
    """Every model of any run, in the order of the studies."""
    return list(dict.fromkeys(name for run in runs.values() for name in run.record.get("models", {})))


def _wide(
    runs: Mapping[str, RunFolder], name: str, title: str, *, caption: str, found: Mapping[tuple[str, str], Estimate]
) -> Table | None:
    """Models × columns; what was not run in a column has a dash."""
    columns = list(dict.fromkeys(column for _, column in found))
    models = [model for model in _models(runs) if any((model, column) in found for column in columns)]
    if not models:
        return None
    cell = perplexity_cell if "erplexity" in title else number_cell
    rows = tuple((Cell(model), *(cell(found.get((model, column))) for column in columns)) for model in models)
    frame = [(m, c, e.value, e.std_error, e.low, e.high, e.person_years, e.people) for (m, c), e in found.items()]
    names = ("model", "column", "estimate", "std_error", "ci_low", "ci_high", "person_years", "people")
    return Table(
        name=name,
        title=title,
        caption=caption,
        brackets=next(iter(runs.values())).ci,
        head=("Model", *columns),
        rows=rows,
        frame=pl.DataFrame(frame, schema=list(names), orient="row", infer_schema_length=None),
    )


def _perplexities(runs: Mapping[str, RunFolder]) -> Table | None:
    found = {
        (model, survey.upper()): estimate
        for survey, run in runs.items()
        for model, estimate in run.estimates("perplexity").items()
    }
    caption = "Test perplexity of the next occupation, over the closed list; lower is better."
    return _wide(runs, "perplexity", "Perplexity of every model in every survey", caption=caption, found=found)


def _against(runs: Mapping[str, RunFolder]) -> Table | None:
    found = {
        (model, survey.upper()): estimate
        for survey, run in runs.items()
        for (model, other), estimate in run.differences("perplexity").items()
        if other == REFERENCE
    }
    caption = f"The model's perplexity less that of {REFERENCE} on the same people; negative: the model is better."
    return _wide(runs, "differences", f"Paired differences from {REFERENCE}", caption=caption, found=found)


def _transitions(runs: Mapping[str, RunFolder]) -> Table | None:
    found = {
        (model, f"{survey.upper()}, {words}"): estimate
        for survey, run in runs.items()
        for subset, words in SUBSETS.items()
        for model, estimate in run.estimates("perplexity", subset=subset).items()
    }
    caption = "Columns are different person-years: compare down, not across."
    return _wide(runs, "by_transition", "Perplexity by type of transition", caption=caption, found=found)


def _moving(runs: Mapping[str, RunFolder]) -> Table | None:
    metrics = {"auc": "AUC", "brier": "Brier score", "calibration_error": "calibration error"}
    found = {
        (model, f"{survey.upper()}, {words}"): estimate
        for survey, run in runs.items()
        for metric, words in metrics.items()
        for model, estimate in run.estimates(metric, task="move").items()
    }
    caption = "AUC: higher is better, 0.5 is a coin toss; the others: lower is better."
    return _wide(runs, "moving", "Who moves", caption=caption, found=found)


def _groups(runs: Mapping[str, RunFolder]) -> Table | None:
    """Every group of every survey, the best model and the reference beside it."""
    rows, frame = [], []
    for survey, run in runs.items():
        shown = list(dict.fromkeys([*run.rivals[:1], *(m for m in (REFERENCE,) if m in run.rivals)]))
        for group in (group for groups in run.covariates.values() for group in groups):
            found = run.estimates("perplexity", group=group)
            for model in shown:
                if model in found:
                    cells = (Cell(survey.upper()), Cell(group.replace("_", " ")), Cell(model))
                    rows.append((*cells, perplexity_cell(found[model]), Cell(whole(found[model].people))))
                    frame.append((survey, group, model, found[model].value, found[model].std_error))
    if not rows:
        return None
    return Table(
        name="by_group",
        title="Perplexity by group of people",
        caption=f"The best model of each survey, and {REFERENCE}.",
        brackets=next(iter(runs.values())).ci,
        head=("Survey", "Group", "Model", "Perplexity", "Test people"),
        rows=tuple(rows),
        frame=pl.DataFrame(frame, schema=["survey", "group", "model", "perplexity", "std_error"], orient="row"),
        words=3,
    )


def _experiment(name: str, parts: Sequence[Part]) -> Table | None:
    """The contrasts of an experiment in every survey."""
    frames = []
    for part in parts:
        if part.kind == name:
            path = part.folder / "contrasts.csv"
            try:
                frames.append(pl.read_csv(path, glob=False).with_columns(survey=pl.lit(part.survey.upper())))
            except (OSError, pl.exceptions.PolarsError) as error:
                raise LaborLLMError(f"{path}: cannot be read as CSV; run the experiment again") from error
    if not frames:
        return None
    frame = pl.concat(frames, how="vertical_relaxed")
    rows = []
    for row in frame.iter_rows(named=True):
        estimate = Estimate(row["nats"], row["std_error"], row["ci_low"], row["ci_high"])
        decimals = max(difference_decimals(estimate), 3)
        what = row["what"] if row["subset"] == "all" else f"{row['what']} ({row['subset'].replace('_', ' ')} rows)"
        numbers = (
            Cell(fixed(estimate.value, decimals), strong=estimate.excludes_zero),
            Cell(interval(estimate, decimals)),
        )
        rows.append((Cell(row["survey"]), Cell(row["model"]), Cell(what), *numbers))
    return Table(
        name=name,
        title=TITLES[name],
        caption="Nats a person-year lost by the change, paired by person; above zero: worse with it; bold: the "
        "interval excludes zero.",
        head=("Survey", "Model", "Change", "Nats", "Interval"),
        rows=tuple(rows),
        frame=frame,
        words=3,
    )


def _absent(absent: Sequence[tuple[str, str, str]]) -> Table:
    return Table(
        name="not_run",
        title="What was not run here",
        caption="The command runs it, and keeps everything that is done.",
        head=("What", "Why", "Command"),
        rows=text_rows(list(absent)),
        frame=pl.DataFrame(list(absent), schema=["what", "why", "command"], orient="row"),
        words=3,
    )
