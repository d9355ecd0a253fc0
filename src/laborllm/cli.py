"""The command line: parse, call one function, write files, turn known errors into one line."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from laborllm.commands import analysis, models, results, survey
from laborllm.errors import LaborLLMError

if TYPE_CHECKING:
    from laborllm.study import Progress as StageProgress
    from laborllm.study import Study
    from laborllm.survey.careers import Careers

app = typer.Typer(
    help="Probabilities of the next occupation, given a career: from survey files to a report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(results.app)
app.add_typer(survey.app, name="survey")
app.add_typer(models.app, name="models")
console = Console()
messages = Console(stderr=True)

SPEED_PERIOD = 3600
"""Seconds over which the speed of a stage is averaged: one batch of a large model may take minutes."""

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Options before the command."""
    logging.basicConfig(level=logging.INFO if debug else logging.WARNING, format="%(name)s: %(message)s")


@app.command()
def run(
    study: StudyFile,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME-OF-STUDY by default.")] = None,
) -> None:
    """Run a study: careers, models, probabilities, evaluation, report.

    Stages whose inputs and settings are unchanged are kept; after Ctrl-C or a kill the same command goes on.

    Example: `laborllm run examples/simulated.toml --out runs/first`
    """
    folder = out or run_folder(study)
    _run(study, folder, f"laborllm run {study} --out {folder}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("laborllm-demo"),
) -> None:
    """Run the whole of laborllm on a made-up population whose truth is known. Takes a few minutes.

    Example: `laborllm demo --out /tmp/demo`
    """
    with resources.as_file(resources.files("laborllm") / "demo.toml") as study:
        _run(study, out, f"laborllm demo --out {out}")


@app.command()
def careers(
    study: StudyFile,
    out: Annotated[
        Path, typer.Option(help=".parquet, .csv or .dta; without extension a folder in CAREER's text format.")
    ] = Path("careers.parquet"),
) -> None:
    """Read the survey of a study and write its careers, one row per person and year.

    Example: `laborllm careers examples/simulated.toml --out careers.dta`
    """
    from laborllm.study import input_files, read_study
    from laborllm.survey.exports import export_careers, require_known_extension

    require_known_extension(out)
    content = read_study(study)
    if out.resolve() in [file.resolve() for file in input_files(content)]:
        raise LaborLLMError(f"{out}: is read by the study; choose another file with --out")
    with stage_bars() as progress:
        table = _read_careers(content, progress)
        export_careers(table, out)
    flow = Table("step", "people", "person-years", title="How the sample came about")
    for step in table.flow:
        flow.add_row(escape(step.what), f"{step.people:,}", f"{step.person_years:,}")
    console.print(flow)
    console.print(f"{table.people:,} people, {len(table):,} person-years: {out}", markup=False, soft_wrap=True)


@app.command()
def resumes(
    study: StudyFile,
    people: Annotated[int, typer.Option(min=1, help="How many test people.")] = 3,
    model: Annotated[str | None, typer.Option(help="Word them as this language model of the study does.")] = None,
) -> None:
    """Print the résumés of the first test people, as a language model reads them.

    Example: `laborllm resumes examples/simulated.toml --people 1`
    """
    from laborllm.study import read_study, resume_settings
    from laborllm.text.resume import write_resumes

    content = read_study(study)
    with stage_bars() as progress:
        test = _read_careers(content, progress).part("test")
    written = write_resumes(test.first_people(people), resume_settings(content, model))
    console.print("\n\n".join(resume.text for resume in written), markup=False, highlight=False, soft_wrap=True)


@app.command()
def check(study: StudyFile) -> None:
    """Read everything, tokenize every title, estimate memory and time; run nothing.

    Example: `laborllm check examples/simulated.toml`
    """
    from laborllm.running.check import check_study
    from laborllm.study import read_study

    facts = Table("what", "value", title=escape(f"{study}: everything can be read"))
    with stage_bars() as progress:
        found = check_study(read_study(study), progress)
    for label, value in found:
        facts.add_row(escape(label), escape(value))
    console.print(facts)


app.command()(analysis.experiment)
app.command()(analysis.structure)
app.command()(analysis.simulate)
app.command()(analysis.wages)
app.command()(analysis.gap)
app.command()(analysis.reproduce)


def show_results(out: Path, confidence: float) -> None:
    """The table that a run ends with."""
    import polars as pl

    numbers = pl.read_csv(out / "evaluation.csv", glob=False).filter(
        (pl.col("task") == "occupation") & (pl.col("subset") == "all") & (pl.col("group") == "all")
    )
    numbers = numbers.filter(pl.col("metric").is_in(["perplexity", "perplexity_raw"]))
    interval = f"{confidence * 100:g} % interval"
    table = Table("model", "perplexity", interval, "", title="Test perplexity of the next occupation")
    best = numbers.group_by("model", maintain_order=True).first().sort("estimate")
    for row in best.iter_rows(named=True):
        label = "raw" if row["metric"] == "perplexity_raw" else ""
        table.add_row(row["model"], f"{row['estimate']:.4g}", _interval(row), label)
    console.print(table)
    for row in pl.read_csv(out / "attainable.csv", glob=False).iter_rows(named=True):
        if row["model"] not in (row["baseline"], row["floor"]):
            console.print(
                f"Share of the attainable gain over {row['baseline']} that {row['model']} reaches: "
                f"{row['share']:.2f} ({interval} {_interval(row)})",
                soft_wrap=True,
            )


def _run(study: Path, out: Path, command: str) -> None:
    from laborllm.models.ranks import Ranks
    from laborllm.running.run import run_study
    from laborllm.study import read_study

    with Ranks.of_environment() as ranks:
        content = read_study(study)
        with stage_bars() if ranks.first else nullcontext(_say_nothing) as progress:
            report = run_study(content, out, command=command, progress=progress)
    if not ranks.first:
        return
    show_results(out, content.evaluation.confidence)
    console.print(f"The report: {report}", markup=False, highlight=False, soft_wrap=True)


def _say_nothing(stage: str, done: int, total: int) -> None:
    """The progress of a process that is not the first."""


def _read_careers(study: "Study", progress: "StageProgress") -> "Careers":
    from laborllm.study import read_careers

    progress("careers", 0, 1)
    careers = read_careers(study)
    progress("careers", 1, 1)
    return careers


def _interval(row: dict[str, float | None]) -> str:
    low, high = row["ci_low"], row["ci_high"]
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def run_folder(study: Path) -> Path:
    """Where a study's run goes by default; a study that lies in a run folder is repeated there."""
    if (study.parent / "record.json").is_file():
        return study.parent
    return Path("runs") / (study.resolve().parent.name if study.stem == "study" else study.stem)


@contextmanager
def stage_bars() -> "Iterator[StageProgress]":
    """A bar per stage on the terminal.

    The first call of a stage tells what an earlier run had done: it counts as done, not as speed.
    """
    columns = (TextColumn("{task.description:32}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=messages, speed_estimate_period=SPEED_PERIOD) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, completed=done)
            bars.update(tasks[stage], completed=done, total=total)

        try:
            yield show
        except KeyboardInterrupt:
            messages.print("stopped; the same command goes on where it stopped", highlight=False)
            raise typer.Exit(130) from None


def main() -> None:
    """Run the command line; a known error is one line and exit code 1."""
    try:
        app()
    except LaborLLMError as error:
        if "--debug" in sys.argv:
            raise
        messages.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
