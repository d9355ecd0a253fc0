"""A study is one TOML file: read it, check it, write it back, build what it names."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tomli_w
from pydantic import Field, ValidationError, field_validator

from laborllm.analysis.experiments.experiments import Experiments
from laborllm.analysis.simulation.simulation_settings import SimulateSettings
from laborllm.analysis.wages.gap_settings import GapSettings
from laborllm.analysis.wages.wage_terms import WageSettings
from laborllm.errors import LaborLLMError
from laborllm.evaluation.cells import GROUPINGS
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.evaluation.forecasts import ForecastSettings
from laborllm.files import whole_file
from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.ensemble import Ensemble, EnsembleSettings
from laborllm.models.language.embedding_settings import EmbeddingLogitSettings
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.networks.sequence_settings import BagOfJobsSettings, CareerSettings, LSTMSettings, SequenceSettings
from laborllm.models.no_change import NoChange, NoChangeSettings
from laborllm.models.oracle import Oracle, OracleSettings
from laborllm.models.probabilities import Model
from laborllm.models.ranks import ALONE, Ranks
from laborllm.models.regression.boosting import GradientBoosting
from laborllm.models.regression.boosting_settings import BoostingSettings
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.models.regression.logit_settings import LogitSettings
from laborllm.models.temperature import Tempered
from laborllm.report.settings import ReportSettings
from laborllm.settings import Settings
from laborllm.survey.careers import PARTS, Careers, split_by_person
from laborllm.survey.simulated.world import SimulatedSettings
from laborllm.survey.sources import SOURCES, SurveySettings, describe, files_of, paths_in, read_survey
from laborllm.text.resume import ResumeSettings

ModelSettings = Annotated[
    NoChangeSettings
    | TransitionSettings
    | LogitSettings
    | BoostingSettings
    | BagOfJobsSettings
    | LSTMSettings
    | CareerSettings
    | LanguageModelSettings
    | EmbeddingLogitSettings
    | EnsembleSettings
    | OracleSettings,
    Field(discriminator="kind"),
]
Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


KINDS = (
    "no_change",
    "transition",
    "logit",
    "boosting",
    "bag_of_jobs",
    "lstm",
    "career",
    "language_model",
    "embedding_logit",
    "ensemble",
    "oracle",
)
CHOICES = {"source": SOURCES, "kind": KINDS}
"""What a section of a study may be, for messages."""


class SplitSettings(Settings):
    """Who is learned from and who is predicted.

    Attributes:
        shares: shares of people in train, validation and test.
        seed: seed of the draw. A survey table with its own column ``split`` keeps that split.
    """

    shares: tuple[float, float, float] = (0.7, 0.1, 0.2)
    seed: int = Field(default=1, ge=0)

    @field_validator("shares")
    @classmethod
    def _sum_to_one(cls, shares: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(f"give three positive shares that sum to 1, not {list(shares)}")
        return shares


class Study(Settings):
    """A whole study file.

    Attributes:
        description: a sentence on the sample, for the report; one is made from the survey if it is empty.
    """

    description: str = ""
    survey: SurveySettings
    split: SplitSettings = SplitSettings()
    models: dict[str, ModelSettings] = Field(min_length=1)
    evaluation: EvaluationSettings = EvaluationSettings()
    forecast: ForecastSettings | None = None
    report: ReportSettings = ReportSettings()
    experiments: Experiments = Experiments()
    simulate: SimulateSettings = SimulateSettings()
    wages: WageSettings = WageSettings()
    gap: GapSettings = GapSettings()


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
    return study_of(content, path)


def study_of(content: Mapping[str, Any], path: Path) -> Study:
    """Check what a study file holds; its relative paths are taken from the folder of ``path``.

    Raises:
        LaborLLMError: a key is unknown or wrong; the message names it and the path.
    """
    try:
        study = _from_folder(Study.model_validate(content), path.resolve().parent)
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
    careers = read_survey(study.survey)
    if "split" in careers.table.columns:
        for name in PARTS:
            if len(careers.part(name)) == 0:
                raise LaborLLMError(f"the survey's own split: nobody is in {name}; give every part people")
        return careers
    return split_by_person(careers, study.split.shares, np.random.default_rng(study.split.seed))


def build_model(name: str, study: Study, *, folder: Path, progress: Progress, ranks: Ranks = ALONE) -> Model:
    """The model of that name, not yet fitted; ``ranks`` fit and score language models together.

    Raises:
        LaborLLMError: a language model is asked for and torch is not installed, or an oracle for a real survey.
    """
    model = _untempered(name, study, folder=folder, progress=progress, ranks=ranks)
    return Tempered(model) if study.models[name].temperature else model


def _untempered(name: str, study: Study, *, folder: Path, progress: Progress, ranks: Ranks) -> Model:
    settings = study.models[name]
    match settings:
        case NoChangeSettings():
            return NoChange(settings)
        case TransitionSettings():
            return TransitionFrequencies(settings)
        case LogitSettings():
            return MultinomialLogit(settings)
        case BoostingSettings():
            return GradientBoosting(settings)
        case OracleSettings():
            if not isinstance(study.survey, SimulatedSettings):
                raise LaborLLMError(f'models.{name}: only survey.source = "simulated" has an oracle; remove the model')
            return Oracle(study.survey)
        case EnsembleSettings():
            members = {
                member: build_model(member, study, folder=folder.parent / member, progress=progress, ranks=ranks)
                for member in settings.of
            }
            return Ensemble(members)
        case CareerSettings() | BagOfJobsSettings() | LSTMSettings():
            with needs_torch(name):
                from laborllm.models.networks.sequence_model import SequenceModel
            return SequenceModel(settings, folder, _phases(name, progress))
        case EmbeddingLogitSettings():
            with needs_torch(name):
                from laborllm.models.language.embedding_logit import EmbeddingLogit
            return EmbeddingLogit(settings, folder, _phases(name, progress), folder.parent.parent / "embeddings")
        case LanguageModelSettings():
            with needs_torch(name):
                from laborllm.models.language.language_model import LanguageModel
            return LanguageModel(settings, folder, _phases(name, progress), ranks=ranks)


@contextmanager
def needs_torch(name: str) -> Iterator[None]:
    """What a model imports may not be installed; then one line says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise LaborLLMError(f"models.{name}: {error.name} is not installed; run `pip install laborllm[llm]`") from error


def _phases(name: str, progress: Progress) -> Progress:
    """Progress of a model's phases as stages of the study."""
    return lambda phase, done, total: progress(f"models/{name}: {phase}", done, total)


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
    title, sentence = describe(study.survey)
    return {"source": study.survey.source, "title": title, "description": study.description or sentence}


def checkpoints(study: Study) -> list[Path]:
    """The folders of checkpoints that a study's language models start from."""
    models = [
        each for each in study.models.values() if isinstance(each, LanguageModelSettings | EmbeddingLogitSettings)
    ]
    return [each.checkpoint for each in models if each.checkpoint is not None]


def input_files(study: Study) -> list[Path]:
    """The files a study reads: of the survey, what models learn from beside it, published rates."""
    of_models = [path for each in study.models.values() for path in files_of_model(each)]
    return [*files_of(study.survey), *of_models, *files_of_evaluation(study.evaluation)]


def files_of_evaluation(settings: EvaluationSettings) -> list[Path]:
    """The files of published rates."""
    return [] if settings.published is None else paths_in(settings.published)


def files_of_model(settings: Settings) -> list[Path]:
    """The files that a model learns from beside the survey: résumés, distances between occupations."""
    match settings:
        case SequenceSettings() | LanguageModelSettings():
            return list(settings.pretrain)
        case LogitSettings(distances=Path() as distances):
            return [distances]
        case _:
            return []


def _from_folder(value: Any, folder: Path) -> Any:
    """Settings whose relative paths are taken from a folder."""
    match value:
        case Path():
            return folder / value
        case tuple():
            return tuple(_from_folder(each, folder) for each in value)
        case dict():
            return {key: _from_folder(each, folder) for key, each in value.items()}
        case Settings():
            parts = {name: _from_folder(getattr(value, name), folder) for name in type(value).model_fields}
            return value.model_copy(update=parts)
        case _:
            return value


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"]]
    tag = {"survey": 1, "models": 2}.get(place[0])  # pydantic names the chosen kind there, the file does not
    key = ".".join(part for position, part in enumerate(place) if position != tag)
    if problem["type"] == "union_tag_not_found":
        choice = "source" if place[0] == "survey" else "kind"
        return f"{key}.{choice} is missing; give one of {', '.join(CHOICES[choice])}"
    if problem["type"] == "extra_forbidden":
        return f"{key} is no key of this section; docs/study.md lists the keys"
    given = problem.get("input")
    value = f", not {given!r}" if isinstance(given, str | int | float | bool) else ""
    more = f" ({error.error_count() - 1} more such problems)" if error.error_count() > 1 else ""
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}{value}{more}"


def _require_sound(study: Study, path: Path) -> None:
    """Whatever would stop a run later and can be seen now.

    Raises:
        LaborLLMError: a model's name is no file name, an oracle has no truth to know, a covariate is unknown, or a
            file is missing.
    """
    for name, settings in study.models.items():
        if len(name) > 64:
            raise LaborLLMError(f"{path}: models.{name[:20]}…: the name has {len(name)} letters; take at most 64")
        if not name.replace("_", "").replace("-", "").isalnum():
            raise LaborLLMError(f"{path}: models.{name!r}: use letters, digits, - and _ only; it becomes a file name")
        above = list(study.models)[: list(study.models).index(name)]
        if isinstance(settings, EnsembleSettings) and not set(settings.of) <= set(above):
            raise LaborLLMError(
                f"{path}: models.{name}.of is {list(settings.of)}; name models that stand above it: {', '.join(above)}"
            )
        if isinstance(settings, OracleSettings) and not _has_truth(study):
            raise LaborLLMError(
                f'{path}: models.{name}: only survey.source = "simulated" with population = "survey" has an oracle; '
                "remove the model"
            )
        if isinstance(settings, LanguageModelSettings | EmbeddingLogitSettings) and not _is_there(settings.checkpoint):
            raise LaborLLMError(
                f"{path}: models.{name}.checkpoint names {settings.checkpoint}, which is no folder; give the folder of "
                "a Hugging Face checkpoint, relative to the study file"
            )
    _require_forecasters(study, path)
    _require_known_models(study, path)
    for name in study.evaluation.by:
        if name not in GROUPINGS:
            raise LaborLLMError(f"{path}: evaluation.by names {name!r}; the covariates are {', '.join(GROUPINGS)}")
    sections: dict[str, Settings] = {"survey": study.survey, "evaluation": study.evaluation}
    sections |= {
        f"experiments.{name}": getattr(study.experiments, name) for name in type(study.experiments).model_fields
    }
    sections |= {f"models.{name}": settings for name, settings in study.models.items()}
    for section, named in sections.items():
        for file in paths_in(named):
            if not file.exists():
                raise LaborLLMError(
                    f"{path}: {section} names {file}, which is no file; paths are relative to the study file"
                )


def _require_known_models(study: Study, path: Path) -> None:
    """Models that other sections name are the study's."""
    for section in ("simulate", "wages", "gap"):
        for name in getattr(study, section).models:
            if name not in study.models:
                raise LaborLLMError(
                    f"{path}: {section}.models names {name!r}; the models are {', '.join(study.models)}"
                )


def _require_forecasters(study: Study, path: Path) -> None:
    """Every model that forecasts is one of the study's, and gives the whole list a probability."""
    chosen = () if study.forecast is None else study.forecast.models or tuple(study.models)
    for name in chosen:
        if name not in study.models:
            raise LaborLLMError(f"{path}: forecast.models names {name!r}; the models are {', '.join(study.models)}")
        settings = study.models[name]
        if isinstance(settings, LanguageModelSettings) and settings.probabilities == "realised":
            raise LaborLLMError(
                f'{path}: forecast: models.{name} gives the realised occupation alone; set probabilities = "full" or '
                "leave it out of forecast.models"
            )


def _is_there(checkpoint: Path | None) -> bool:
    return checkpoint is None or checkpoint.is_dir()


def _has_truth(study: Study) -> bool:
    return isinstance(study.survey, SimulatedSettings) and study.survey.population == "survey"
