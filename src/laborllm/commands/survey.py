"""The commands `laborllm survey …`: what one does with a survey's files before there is a study."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from laborllm.errors import LaborLLMError

app = typer.Typer(
    help="Survey files: verify them, search codebooks, list the variables to draw, write made-up ones.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
console = Console()

Survey = Literal["nlsy79", "nlsy97", "psid"]
SHOWN = 200
"""Differences that are printed before the rest is only counted; --csv writes them all."""


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Extracts, and codebooks from elsewhere.")],
    csv: Annotated[Path | None, typer.Option(help="Write every figure compared, read and printed, here.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Print every figure, not only those that differ.")] = False,
) -> None:
    """Compare what NLS extracts hold with the frequencies that their codebooks print; exit code 1 on any difference.

    Example: `laborllm survey verify nlsy79/schooling.dct.zip`
    """
    from laborllm.files import whole_file
    from laborllm.survey.nls.verify import files_read
    from laborllm.survey.nls.verify import verify as compare

    if csv is not None and csv.resolve() in [file.resolve() for file in files_read(files)]:
        raise LaborLLMError(f"{csv}: is one of the files to verify; choose another file with --csv")
    found = compare(files)
    if csv is not None:
        with whole_file(csv) as temporary:
            found.lines.write_csv(temporary)
    table = Table("file", "variable", "title", "figures", "differ", "", title="Read against printed")
    for row in found.variables.iter_rows(named=True):
        name = row["reference"] or row["column"]
        numbers = (f"{row['lines']:,}", f"{row['differing']:,}")
        table.add_row(escape(Path(row["file"]).name), escape(name), escape(row["title"]), *numbers, row["outcome"])
    console.print(table)
    figures = found.lines if lines else found.differences.head(SHOWN)
    for row in figures.iter_rows(named=True):
        what = f"{row['file']}, {row['column']}, {row['what']}"
        told = f"printed {_number(row['printed'])}, read {_number(row['read'])}"
        console.print(f"{what}: {told}", markup=False, highlight=False, soft_wrap=True)
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in found.variables["outcome"].value_counts().rows())
    console.print(f"{found.variables.height:,} variables: {outcomes}", markup=False, soft_wrap=True)
    if not found.compares:
        raise LaborLLMError("no figure was compared; name the codebook (.cdb) that describes these variables")
    if found.differences.height:
        raise typer.Exit(1)


def _number(figure: float | None) -> str:
    """A count or a mean with all its digits; "nothing" where there is none."""
    return "nothing" if figure is None else f"{figure:.15g}"


@app.command()
def find(
    codebook: Annotated[Path, typer.Argument(metavar="CODEBOOK", help="A .cdb or .sdf file of the NLS Investigator.")],
    words: Annotated[str, typer.Argument(help="Text to look for.")],
) -> None:
    """List the variables of a codebook that have a text in title, question name, reference number or universe.

    Example: `laborllm survey find nlsy79/schooling.cdb "highest grade"`
    """
    from laborllm.survey.nls.codebook import read_codebook

    rows = read_codebook(codebook).find(words)
    table = Table(*rows.columns, title=escape(f"{codebook}: {words}"))
    for row in rows.iter_rows():
        table.add_row(*map(escape, row))
    console.print(table)


@app.command()
def tagset(
    survey: Annotated[Survey, typer.Argument(help="Which survey.")],
    out: Annotated[Path | None, typer.Option(help="The file; careers.NLSY79, careers.NLSY97, psid_cart.txt.")] = None,
) -> None:
    """Write the list of variables that make careers, as the survey's own web page loads it.

    Example: `laborllm survey tagset nlsy79 --out careers.NLSY79`
    """
    from laborllm.files import whole_file
    from laborllm.survey.sources import TAGSETS

    shipped = TAGSETS[survey]
    path = out or Path(shipped.name)
    if path.exists():
        raise LaborLLMError(f"{path}: is there already; choose another file with --out")
    with whole_file(path) as temporary:
        temporary.write_bytes(shipped.read_bytes())
    console.print(f"{len(shipped.read_text().split()):,} variables: {path}", markup=False, soft_wrap=True)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="The folder to write; new or empty.")],
    like: Annotated[Survey, typer.Option(help="Whose format and rounds.")] = "nlsy79",
    people: Annotated[int, typer.Option(min=1, help="People drawn.")] = 1000,
    occupations: Annotated[int, typer.Option(min=2, help="Jobs on the closed list.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the world and its people.")] = 1,
) -> None:
    """Write a made-up population in the files of a real survey, to try a study before the data are there.

    Example: `laborllm survey simulate --like nlsy79 --people 1000 --out made-up`
    """
    from laborllm.survey.simulated.surveys import write_survey
    from laborllm.survey.simulated.world import SimulatedSettings

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LaborLLMError(f"{out}: is there already; choose a new or empty folder with --out")
    settings = SimulatedSettings.model_validate(
        {"like": like, "people": people, "occupations": occupations, "seed": seed}
    )
    careers = write_survey(settings, out)
    console.print(f"{careers.people:,} people, {len(careers):,} person-years: {out}", markup=False, soft_wrap=True)
