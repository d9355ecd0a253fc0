"""The commands on what a study has found: `laborllm bootstrap`, `laborllm compare`, `laborllm report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    import polars as pl

app = typer.Typer(rich_markup_mode="markdown")
console = Console()

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]


@app.command()
def bootstrap(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    refits: Annotated[int, typer.Option(min=2, help="Times that training people are drawn and models fitted.")] = 12,
    models: Annotated[str, typer.Option(help="Refit these models alone: NAME,NAME,… ; by default all.")] = "",
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME-OF-STUDY by default.")] = None,
) -> None:
    """Refit a study's models on training people drawn anew: standard errors over test and training people.

    What of the run is missing is done first. Each refit of each model is kept: after Ctrl-C or a kill the same command
    goes on, and a larger number of refits adds to those that are there.

    Example: `laborllm bootstrap examples/simulated.toml --refits 12 --models transition,logit`
    """
    from laborllm.cli import run_folder, stage_bars
    from laborllm.running.refits import bootstrap_study
    from laborllm.study import read_study

    content, folder = read_study(study), out or run_folder(study)
    names = [name.strip() for name in models.split(",") if name.strip()]
    command = f"laborllm bootstrap {study} --refits {refits}{f' --models {models}' if models else ''} --out {folder}"
    with stage_bars() as progress:
        found = bootstrap_study(content, folder, refits=refits, models=names, command=command, progress=progress)
    confidence = content.evaluation.confidence
    _show_split(
        found.models, ["model"], "estimate", title="Test perplexity and its standard errors", confidence=confidence
    )
    title = "Paired differences in perplexity; below zero: a is better"
    _show_split(found.comparisons, ["model_a", "model_b"], "difference", title=title, confidence=confidence)
    _say(f"Every number: {folder / 'refits.csv'} and {folder / 'refit_comparisons.csv'}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN1 RUN2...", help="The folders of two or more runs.")],
    out: Annotated[Path | None, typer.Option(help="The folder to write; runs/RUN1-RUN2-… by default.")] = None,
    common: Annotated[bool, typer.Option("--common", help="Compare the person-years that all runs have.")] = False,
) -> None:
    """Evaluate the models of several runs together, on the same test people: paired differences and a report.

    Lists, test people, years and outcomes must be the same in all runs, which is checked.

    Example: `laborllm compare runs/first runs/second --out runs/both`
    """
    from laborllm.report.folder import read_run
    from laborllm.running.compare import compare_runs

    folder = out or Path("runs") / "-".join(path.resolve().name for path in runs)
    given = [*map(str, runs), *(["--common"] if common else [])]
    with console.status("comparing"):
        found = compare_runs(runs, folder, common=common, command=f"laborllm compare {' '.join(given)} --out {folder}")
    heads = ("model_a", "model_b", "a - b", "std. error", _interval_head(read_run(folder).confidence))
    table = Table(*heads, title="Paired differences in test perplexity; below zero: a is better")
    shown = found.comparisons.filter(task="occupation", subset="all", group="all")
    shown = shown.filter(shown["metric"].is_in(["perplexity", "perplexity_raw"]))
    for row in shown.unique(["model_a", "model_b"], keep="first", maintain_order=True).iter_rows(named=True):
        numbers = (_number(row["difference"]), _number(row["std_error"]), _interval(row))
        table.add_row(escape(row["model_a"]), escape(row["model_b"]), *numbers)
    console.print(table)
    for note in found.notes:
        _say(note)
    _say(f"The report: {folder / 'report.html'}")


@app.command()
def report(
    run: RunFolder,
    replication: Annotated[
        bool, typer.Option("--replication", help="Write replication/ too: what a journal's data editor asks for.")
    ] = False,
) -> None:
    """Write the page of a finished run again, with its tables and figures; fit and score nothing.

    With --replication, RUN/replication has a README in the structure of the Social Science Data Editors' template,
    the study with relative paths, and checksums of inputs and outputs; never any data.

    Example: `laborllm report runs/first --replication`
    """
    from laborllm.files import sole_writer
    from laborllm.report.folder import read_run
    from laborllm.report.page import write_report
    from laborllm.report.replication import write_replication

    read_run(run)  # before anything is written there
    with sole_writer(run):
        page = write_report(run)
        package = write_replication(run) if replication else None
    _say(f"The report: {page}")
    if package is not None:
        _say(f"The replication package: {package.readme}")
        _say(f"{package.todos} lines marked TODO are left to you; {len(package.confidential)} files not to deposit")


def _show_split(rows: "pl.DataFrame", names: list[str], value: str, *, title: str, confidence: float) -> None:
    """Perplexities, raw ones where there are no others; standard errors over test people, training people, both."""
    what = "perplexity" if value == "estimate" else "a - b"
    heads = [what, "test", "training", "both", _interval_head(confidence)]
    table = Table(*names, *heads, *(["refits' mean"] if len(names) == 1 else []), title=title)
    shown = rows.filter(rows["metric"].is_in(["perplexity", "perplexity_raw"]))
    for row in shown.unique(names, keep="first", maintain_order=True).iter_rows(named=True):
        errors = (row[f"std_error_{part}"] for part in ("test", "training", "total"))
        cells = [_number(row[value]), *map(_number, errors), _interval(row), _number(row["refit_mean"])]
        table.add_row(*(escape(row[name]) for name in names), *cells[: len(heads) + (len(names) == 1)])
    console.print(table)


def _interval_head(confidence: float) -> str:
    return f"{confidence * 100:g} % interval"


def _interval(row: dict[str, Any]) -> str:
    return "" if row["ci_low"] is None else f"{_number(row['ci_low'])} to {_number(row['ci_high'])}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
