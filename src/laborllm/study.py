"""A study is one TOML file: read it, check it, write it back, build what it names."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tomli_w
from pydantic import Field, ValidationError

from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.files import whole_file
from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.language_model_settings import LanguageModelSettings
from laborllm.models.oracle import Oracle, OracleSettings
from laborllm.models.probabilities import Model
from laborllm.settings import Settings
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.nlsy79 import NLSY79Settings, read_nlsy79
from laborllm.survey.simulated import simulate
from laborllm.survey.tabular import TableSettings, read_table
from laborllm.survey.world import SimulatedSettings
from laborllm.text.resume import ResumeSettings

SurveySettings = Annotated[NLSY79Settings | TableSettings | SimulatedSettings, Field(discriminator="source")]
ModelSettings = Annotated[TransitionSettings | OracleSettings | LanguageModelSettings, Field(discriminator="kind")]
Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


class SplitSettings(Settings):
    """Who is learned from and who is predicted.

    Attributes:
        shares: shares of people in train, validation and test.
        seed: seed of the draw. A survey table with its own column ``split`` keeps that split.
    """

    shares: tuple[float, float, float] = (0.7, 0.1, 0.2)
    seed: int = 1


class Study(Settings):
    """A whole study file."""

    survey: SurveySettings
    split: SplitSettings = SplitSettings()
    models: dict[str, ModelSettings] = Field(min_length=1)
    evaluation: EvaluationSettings = EvaluationSettings()


def read_study(path: Path) -> Study:
    """Read and check a study file; its relative paths are taken from its own folder.

    Raises:
        LaborLLMError: the file is missing, no TOML, or has an unknown or wrong key; the message names the key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LaborLLMError(f"{path}: cannot read ({error.strerror}); give the path of a study file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LaborLLMError(f"{path}: is no valid TOML ({error})") from error
    try:
        study = Study.model_validate(_from_folder(content, path.resolve().parent))
    except ValidationError as error:
        raise LaborLLMError(f"{path}: {_first_problem(error)}") from error
    _require_sound(study, path)
    return study


def write_study(study: Study, path: Path) -> None:
    """Write a study with every default filled in."""
    content = study.model_dump(mode="json", exclude_none=True)
    with whole_file(path) as temporary:
        temporary.write_text(tomli_w.dumps(content), encoding="utf-8")


def read_careers(study: Study) -> Careers:
    """The careers of a study, split by person."""
    match study.survey:
        case NLSY79Settings():
            careers = read_nlsy79(study.survey)
        case TableSettings():
            careers = read_table(study.survey)
        case SimulatedSettings():
            careers = simulate(study.survey)
    if "split" in careers.table.columns:
        return careers
    return split_by_person(careers, study.split.shares, np.random.default_rng(study.split.seed))


def build_model(name: str, study: Study, folder: Path, progress: Progress) -> Model:
    """The model of that name, not yet fitted.

    Raises:
        LaborLLMError: a language model is asked for and torch is not installed.
    """
    settings = study.models[name]
    match settings:
        case TransitionSettings():
            return TransitionFrequencies(settings)
        case OracleSettings():
            if not isinstance(study.survey, SimulatedSettings):
                raise LaborLLMError(f'models.{name}: only survey.source = "simulated" has an oracle; remove the model')
            return Oracle(study.survey)
        case LanguageModelSettings():
            try:
                from laborllm.models.language_model import LanguageModel
            except ModuleNotFoundError as error:
                raise LaborLLMError(
                    f"models.{name}: {error.name} is not installed; run `pip install laborllm[llm]`"
                ) from error

            def report(phase: str, done: int, total: int) -> None:
                progress(f"models/{name}: {phase}", done, total)

            return LanguageModel(settings, folder, report)


def resume_settings(study: Study, model: str | None) -> ResumeSettings:
    """How a language model of the study words careers; the template as it is, if no model is named.

    Raises:
        LaborLLMError: the study has no language model of that name.
    """
    if model is None:
        return ResumeSettings()
    settings = study.models.get(model)
    if not isinstance(settings, LanguageModelSettings):
        names = [name for name, other in study.models.items() if isinstance(other, LanguageModelSettings)]
        raise LaborLLMError(f"{model!r} is no language model of this study; its language models are {names}")
    return settings.text


def describe_survey(study: Study) -> dict[str, str]:
    """Source, title and one sentence on the population, for the report."""
    survey = study.survey
    match survey:
        case NLSY79Settings():
            kept = "coded jobs and states outside employment" if survey.states else "coded jobs alone"
            sentence = f"National Longitudinal Survey of Youth 1979 (US Bureau of Labor Statistics): {kept}."
            return {"source": survey.source, "title": "NLSY79", "description": sentence}
        case TableSettings():
            files = ", ".join(file.name for file in survey.files)
            return {"source": survey.source, "title": survey.survey, "description": f"A person-year table: {files}."}
        case SimulatedSettings():
            sentence = (
                f"A made-up population of {survey.people:,} people over {survey.occupations} jobs of the real list of "
                "occupations and three states outside employment, interviewed from "
                f"{survey.first_year} to {survey.last_year}. Its true transition probabilities are known, so the "
                "Oracle shows the lowest perplexity that any model could reach. The size was chosen so that the "
                "whole run takes minutes on two processor cores; it says nothing about any real labor market."
            )
            return {"source": survey.source, "title": "Simulated population", "description": sentence}


def input_files(study: Study) -> list[Path]:
    """The survey files a study reads."""
    match study.survey:
        case SimulatedSettings():
            return []
        case NLSY79Settings():
            return list(study.survey.files)
        case TableSettings():
            return [*study.survey.files, *([study.survey.occupations] if study.survey.occupations else [])]


def _from_folder(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The content of a study file with relative paths made absolute."""
    survey = dict(content.get("survey", {}))
    if isinstance(survey.get("files"), list):
        survey["files"] = [str(folder / file) for file in survey["files"]]
    if isinstance(survey.get("occupations"), str):
        survey["occupations"] = str(folder / survey["occupations"])
    models = {}
    for name, model in dict(content.get("models", {})).items():
        models[name] = dict(model) if isinstance(model, dict) else model
        if isinstance(model, dict) and isinstance(model.get("checkpoint"), str):
            models[name]["checkpoint"] = str(folder / model["checkpoint"])
    return {**content, "survey": survey, "models": models}


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"]]
    tag = {"survey": 1, "models": 2}.get(place[0])  # pydantic names the chosen kind there, the file does not
    key = ".".join(part for position, part in enumerate(place) if position != tag)
    given = problem.get("input")
    value = f", not {given!r}" if isinstance(given, str | int | float | bool) else ""
    more = f" ({error.error_count() - 1} more such problems)" if error.error_count() > 1 else ""
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}{value}{more}"


def _require_sound(study: Study, path: Path) -> None:
    for name in study.models:
        if not name.replace("_", "").replace("-", "").isalnum():
            raise LaborLLMError(
                f"{path}: models.{name}: use letters, digits, - and _ only; the name becomes a file name"
            )
    for file in input_files(study):
        if not file.is_file():
            raise LaborLLMError(
                f"{path}: survey.files names {file}, which does not exist; paths are relative to the study file"
            )
