"""The tables of LABOR-LLM (arXiv 2406.17972) from one's own survey files: studies, experiments, one page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laborllm.errors import LaborLLMError
from laborllm.files import file_hash
from laborllm.report.reproduction import Part, write_reproduction_page
from laborllm.running.experiment import run_experiment
from laborllm.running.run import run_study
from laborllm.study import Progress, Study, read_study, study_of, write_study

SURVEYS = ("nlsy79", "nlsy97", "psid")
EXPERIMENTS = ("titles", "pooling", "size", "history", "covariates", "pretraining", "prompt")
CPU_BYTES = 2**30
"""Size of a checkpoint's weights above which fine-tuning it is left to a machine with a GPU."""
REHEARSAL: dict[str, dict[str, Any]] = {
    "career": {"training": {"updates": 20, "evaluations": 2}, "pretraining": {"updates": 20, "evaluations": 2}},
    "bag_of_jobs": {"width": 32, "training": {"updates": 20, "evaluations": 2}},
    "language_model": {"training": {"epochs": 0.2}, "pretraining": {"epochs": 0.2, "evaluations": 1}},
}
"""Keys of models in a rehearsal, by kind."""


@dataclass(frozen=True)
class Materials:
    """What the user has.

    Attributes:
        surveys: survey -> its files; one survey at least.
        checkpoint: folder of a language model's checkpoint.
        resumes: Parquet files of careers of other people, as `laborllm careers` writes them, to pre-train on.
        rehearsal: everything is done with a few updates and draws: the way is tried, the numbers mean nothing.
    """

    surveys: Mapping[str, tuple[Path, ...]]
    checkpoint: Path | None = None
    resumes: tuple[Path, ...] = ()
    rehearsal: bool = False


def reproduce(
    materials: Materials, out: Path, *, command: str, progress: Progress = lambda stage, done, total: None
) -> Path:
    """Run the studies and experiments that the materials allow, and write the page of numbered tables.

    The folder: studies/SURVEY.toml; runs/SURVEY; experiments/SURVEY/NAME; tables, figures, reproduction.html. What
    is there and unchanged is kept, so that a killed command goes on. What cannot be run here is said on the page, with
    the command that would run it.

    Args:
        materials: survey files and, if there are any, a checkpoint and résumés.
        out: the folder.
        command: the command line, for the page.
        progress: called with (stage, done, total).

    Returns:
        The page's path.

    Raises:
        LaborLLMError: no survey is given, a file or the disk stands in the way.
    """
    _require(materials)
    device = _has_gpu()
    parts: list[Part] = []
    studies = {survey: _write(survey, materials, out, gpu=device) for survey in materials.surveys}
    for survey, study in studies.items():
        folder = out / "runs" / survey
        run_study(study, folder, command=f"laborllm run {out}/studies/{survey}.toml --out {folder}", progress=progress)
        parts.append(Part(survey, "run", folder))
    for survey in studies:
        others = [out / "runs" / other / "careers.parquet" for other in studies if other != survey]
        parts += _experiments(survey, others, out, progress)
    absent = list(_absent(materials, gpu=device, command=command))
    return write_reproduction_page(
        parts, absent, out / "reproduction.html", rehearsal=materials.rehearsal, facts={"Command": command}
    )


def _require(materials: Materials) -> None:
    if not materials.surveys:
        raise LaborLLMError(f"no survey is given; give the files of at least one of {', '.join(SURVEYS)}")
    for survey in materials.surveys:
        if survey not in SURVEYS:
            raise LaborLLMError(f"{survey!r} is none of the surveys of the paper; they are {', '.join(SURVEYS)}")
    for file in materials.resumes:
        file_hash(file)  # a file that is not there is said before anything runs


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def _write(survey: str, materials: Materials, out: Path, *, gpu: bool) -> Study:
    """Write the study of a survey and read it back as a user would."""
    file = out / "studies" / f"{survey}.toml"
    models = dict(_models(materials, gpu=gpu))
    looked_into = [name for name in ("career", "small_lm", "fine_tuned") if name in models]
    readers = [name for name in looked_into if models[name]["kind"] == "language_model"]
    pretrained = [name for name in ("career_resumes", "small_lm_resumes") if name in models]
    given: dict[str, Any] = {
        "survey": {"source": survey, "files": [str(path.resolve()) for path in materials.surveys[survey]]},
        "models": models,
        "evaluation": {"bootstrap": 20} if materials.rehearsal else {},
        "experiments": {
            "titles": {"models": readers},
            "pooling": {"models": looked_into},
            "size": {"models": ["transitions", *looked_into, *pretrained]},
            "history": {"models": looked_into},
            "covariates": {"models": looked_into},
            "prompt": {"models": ["off_the_shelf"] if "off_the_shelf" in models else []},
        },
    }
    write_study(study_of(given, file), file)
    return read_study(file)


def _models(materials: Materials, *, gpu: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of the paper's comparison that these materials allow."""
    yield "transitions", {"kind": "transition"}
    yield "second_order", {"kind": "transition", "order": 2}
    yield "logit", {"kind": "logit", "stages": 2}
    yield "bag_of_jobs", _sized({"kind": "bag_of_jobs"}, materials)
    yield "career", _sized({"kind": "career"}, materials)
    resumes = [str(path.resolve()) for path in materials.resumes]
    if resumes:
        yield "career_resumes", _sized({"kind": "career", "pretrain": resumes}, materials)
        yield "small_lm_resumes", _sized({"kind": "language_model", "scratch": "tiny", "pretrain": resumes}, materials)
    yield "small_lm", _sized({"kind": "language_model", "scratch": "tiny"}, materials)
    if materials.checkpoint is None:
        return
    model = {"kind": "language_model", "checkpoint": str(materials.checkpoint.resolve())}
    yield "off_the_shelf", model | {"use": "off_the_shelf"}
    yield "in_context", model | {"use": "in_context"}
    yield "embeddings", {"kind": "embedding_logit", "checkpoint": model["checkpoint"]}
    if _can_be_tuned(materials.checkpoint, gpu=gpu):
        yield "fine_tuned", _sized(model | {"training": {"preset": "labor_llm_3_epochs"}}, materials)


def _sized(settings: dict[str, Any], materials: Materials) -> dict[str, Any]:
    return settings | (REHEARSAL[settings["kind"]] if materials.rehearsal else {})


def _can_be_tuned(checkpoint: Path, *, gpu: bool) -> bool:
    weights = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    return gpu or weights <= CPU_BYTES


def _experiments(survey: str, others: Sequence[Path], out: Path, progress: Progress) -> list[Part]:
    """The experiments that the study's models allow."""
    file = out / "studies" / f"{survey}.toml"
    study = read_study(file)
    pooling = study.experiments.pooling.model_copy(update={"files": tuple(others)})
    study = study.model_copy(update={"experiments": study.experiments.model_copy(update={"pooling": pooling})})
    able = {
        "pooling": bool(others),
        "pretraining": "career_resumes" in study.models,
        "prompt": "off_the_shelf" in study.models,
    }
    done = []
    for name in EXPERIMENTS:
        if able.get(name, True):
            folder = out / "experiments" / survey / name
            command = f"laborllm experiment {name} {file} --out {folder}"
            run_experiment(name, study, folder, command=command, progress=progress)
            done.append(Part(survey, name, folder))
    return done


def _absent(materials: Materials, *, gpu: bool, command: str) -> Iterator[tuple[str, str, str]]:
    """(what, why, command) of what these materials or this machine do not allow."""
    if materials.checkpoint is None:
        yield (
            "Off the shelf, in context, embeddings with a logit, fine-tuned",
            "no checkpoint of a language model was given",
            f"{command} --checkpoint FOLDER",
        )
    elif not _can_be_tuned(materials.checkpoint, gpu=gpu):
        yield "Fine-tuned", "the checkpoint is too large to be tuned without a GPU", f"{command}   (on a GPU)"
    if not materials.resumes:
        yield "Pre-trained on résumés", "no résumés were given", f"{command} --resumes FILE.parquet"
    for survey in SURVEYS:
        if survey not in materials.surveys:
            yield f"Everything on {survey.upper()}", "its files were not given", f"{command} --{survey} FILES"
    if len(materials.surveys) < 2:
        yield "Pooling", "one survey alone was given", f"{command} with the files of a second survey"
