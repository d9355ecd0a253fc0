"""Commands for what the probabilities are used for: experiments and what follows them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]


def experiment(
    name: Annotated[
        str, typer.Argument(help="titles, pooling, size, history, covariates, pretraining or prompt.", metavar="NAME")
    ],
    study: StudyFile,
    out: Annotated[Path | None, typer.Option(help="The folder; experiments/NAME-OF-STUDY/NAME by default.")] = None,
) -> None:
    """Find out where a model's gains come from: take one thing from it at a time, on the same test people.

    What is tried stands in the study's section [experiments.NAME]. Cells that are done are kept; after Ctrl-C or a
    kill the same command goes on.

    Example: `laborllm experiment history examples/simulated.toml --out runs/history`
    """
    from laborllm.cli import stage_bars
    from laborllm.running.experiment import run_experiment
    from laborllm.study import read_study

    folder = out or Path("experiments") / study.resolve().stem / name
    command = f"laborllm experiment {name} {study} --out {folder}"
    content = read_study(study)
    with stage_bars() as progress:
        page = run_experiment(name, content, folder, command=command, progress=progress)
    console.print(f"The experiment: {page}", markup=False, highlight=False, soft_wrap=True)


def structure(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    out: Annotated[Path | None, typer.Option(help="The folder; RUN/structure by default.")] = None,
) -> None:
    """See what the models of a run take occupations to be: neighbours, maps, and what broad groups explain.

    Example: `laborllm structure runs/nlsy79`
    """
    from laborllm.running.structure import find_structure

    folder = out or run / "structure"
    page = find_structure(run, folder, command=f"laborllm structure {run} --out {folder}")
    console.print(f"The structure: {page}", markup=False, highlight=False, soft_wrap=True)


def reproduce(
    nlsy79: Annotated[list[Path] | None, typer.Option(help="Files of the NLSY79; repeat the option for each.")] = None,
    nlsy97: Annotated[list[Path] | None, typer.Option(help="Files of the NLSY97.")] = None,
    psid: Annotated[list[Path] | None, typer.Option(help="Files of the PSID, or a folder that holds them.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Folder of a language model's checkpoint.")] = None,
    resumes: Annotated[
        list[Path] | None, typer.Option(help="Parquet files of résumés to pre-train on, as `laborllm careers` writes.")
    ] = None,
    rehearsal: Annotated[bool, typer.Option("--rehearsal", help="A few updates and draws: try the way first.")] = False,
    out: Annotated[Path, typer.Option(help="The folder.")] = Path("reproduction"),
) -> None:
    """Run every comparison of the LABOR-LLM paper that your files allow; write its tables, numbered, on one page.

    What your files or this machine do not allow is listed with the command that would run it. What is done is kept:
    after Ctrl-C or a kill the same command goes on.

    Example: `laborllm reproduce --nlsy79 a.csv --nlsy79 b.dct.zip --nlsy97 c.zip --psid psid/`
    """
    from laborllm.cli import stage_bars
    from laborllm.running.reproduce import Materials
    from laborllm.running.reproduce import reproduce as carry_out

    given = {"nlsy79": nlsy79, "nlsy97": nlsy97, "psid": psid}
    surveys = {name: tuple(files) for name, files in given.items() if files}
    options = [f"--{name} {file}" for name, files in surveys.items() for file in files]
    options += [f"--checkpoint {checkpoint}"] * (checkpoint is not None) + [
        f"--resumes {file}" for file in resumes or ()
    ]
    command = " ".join(["laborllm reproduce", *options, *["--rehearsal"] * rehearsal, f"--out {out}"])
    materials = Materials(surveys, checkpoint, tuple(resumes or ()), rehearsal)
    with stage_bars() as progress:
        page = carry_out(materials, out, command=command, progress=progress)
    console.print(f"The tables: {page}", markup=False, highlight=False, soft_wrap=True)


def simulate(
    study: StudyFile,
    model: Annotated[str | None, typer.Option(help="Draw from this model alone.", metavar="NAME")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME-OF-STUDY by default.")] = None,
) -> None:
    """Draw whole careers of the test people from a study's models, beside the survey's own; and counterfactuals.

    What is drawn stands in the study's section [simulate]. What of the run is missing is done first; paths that are
    drawn are kept.

    Example: `laborllm simulate examples/simulated.toml --model transition`
    """
    from laborllm.cli import run_folder, stage_bars
    from laborllm.running.simulation import simulate_study
    from laborllm.study import read_study

    content, folder = read_study(study), out or run_folder(study)
    settings = content.simulate if model is None else content.simulate.model_copy(update={"models": (model,)})
    command = f"laborllm simulate {study}{'' if model is None else f' --model {model}'} --out {folder}"
    with stage_bars() as progress:
        page = simulate_study(content, settings, folder, command=command, progress=progress)
    console.print(f"The simulated careers: {page}", markup=False, highlight=False, soft_wrap=True)


def wages(
    study: StudyFile,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME-OF-STUDY by default.")] = None,
) -> None:
    """See how much of log wages the representations of a study's models explain, beside Mincer's equation.

    The survey needs wages (wage = true); what is tried stands in the study's section [wages]. What of the run is
    missing is done first.

    Example: `laborllm wages nlsy79.toml --out runs/nlsy79`
    """
    from laborllm.cli import run_folder, stage_bars
    from laborllm.running.wages import study_wages
    from laborllm.study import read_study

    content, folder = read_study(study), out or run_folder(study)
    command = f"laborllm wages {study} --out {folder}"
    with stage_bars() as progress:
        page = study_wages(content, content.wages, folder, command=command, progress=progress)
    console.print(f"The wage equations: {page}", markup=False, highlight=False, soft_wrap=True)


def gap(
    study: StudyFile,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME-OF-STUDY by default.")] = None,
) -> None:
    """Split a gap in log wages between two groups into what histories explain and what they do not.

    The survey needs wages (wage = true); which groups, and how histories are read, stands in the study's section [gap].
    What is found is descriptive. What of the run is missing is done first.

    Example: `laborllm gap nlsy79.toml --out runs/nlsy79`
    """
    from laborllm.cli import run_folder, stage_bars
    from laborllm.running.wages import study_gap
    from laborllm.study import read_study

    content, folder = read_study(study), out or run_folder(study)
    command = f"laborllm gap {study} --out {folder}"
    with stage_bars() as progress:
        page = study_gap(
            content,
            content.gap,
            folder,
            command=command,
            schooling=content.wages.schooling,
            progress=progress,
        )
    console.print(f"The decomposition: {page}", markup=False, highlight=False, soft_wrap=True)
