"""A study is one TOML file: read it, check it, run its stages, skip those whose inputs and settings are unchanged."""

import hashlib
import json
import shutil
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tomli_w
from pydantic import Field, ValidationError

from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import EvaluationSettings, evaluate
from laborllm.files import file_hash, whole_file
from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.language_model_settings import LanguageModelSettings
from laborllm.models.oracle import Oracle, OracleSettings
from laborllm.models.probabilities import Model, Probabilities
from laborllm.record import Meter, Record, Stage, earlier_record, input_facts, split_facts
from laborllm.report.page import write_report
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


def run_study(study: Study, out: Path, *, command: str, progress: Progress = lambda stage, done, total: None) -> Path:
    """Run every stage of a study and write its run folder; what is there already and unchanged is kept.

    Args:
        study: the study, its paths absolute.
        out: the run folder.
        command: the command line, for the record.
        progress: called with (stage, done, total).

    Returns:
        The report's path.

    Raises:
        LaborLLMError: an input, a setting or the disk stands in the way; finished stages stay in the folder.
    """
    write_study(study, out / "study.toml")
    run = _Run(study, out, command, progress)
    run.careers()
    for name in study.models:
        run.model(name)
    run.evaluation()
    return run.report()


class _Run:
    """One run of a study: does a stage unless its fingerprint and its outputs are as an earlier run left them."""

    def __init__(self, study: Study, out: Path, command: str, progress: Progress) -> None:
        self.study, self.out, self.progress = study, out, progress
        earlier = earlier_record(out)
        self.record = Record(command=command, seed=study.split.seed, notes=earlier.get("notes", []))
        self.record.survey = describe_survey(study)
        self.record.inputs = input_facts(input_files(study))
        models = earlier.get("models", {})
        self.record.models = {name: models[name] for name in study.models if name in models}
        known = {"careers", "evaluation", "report", *(f"models/{name}" for name in study.models)}
        self.record.stages = [stage for stage in earlier.get("stages", []) if stage.stage in known]

    def careers(self) -> None:
        settings = {"survey": _dump(self.study.survey), "split": _dump(self.study.split)}
        self._stage("careers", [settings, self.record.inputs], ["careers.parquet"], self._write_careers)
        careers = Careers.read(self.out / "careers.parquet")
        self.record.rows = [vars(step) for step in careers.flow]
        self.record.split = split_facts(careers)

    def model(self, name: str) -> None:
        settings = self.study.models[name]
        checkpoint = [file_hash(file) for file in _checkpoint_files(settings)]
        outputs = [f"probabilities/{name}.parquet"]
        self._stage(
            f"models/{name}", [_dump(settings), checkpoint, self._hashes("careers")], outputs, lambda: self._fit(name)
        )

    def evaluation(self) -> None:
        names = list(self.study.models)
        self.record.baseline = _first_of(self.study, TransitionSettings)
        self.record.floor = _first_of(self.study, OracleSettings)
        upstream = [self._hashes(f"models/{name}") for name in names]
        outputs = ["evaluation.csv", "comparisons.csv", "reliability.csv", "attainable.csv"]
        self._stage("evaluation", [_dump(self.study.evaluation), names, upstream], outputs, self._evaluate)

    def report(self) -> Path:
        self.record.write(self.out)
        done = [(stage.stage, stage.outputs, stage.seconds) for stage in self.record.stages if stage.stage != "report"]
        self._stage("report", done, ["report.html"], lambda: write_report(self.out))
        self.record.write(self.out)
        return self.out / "report.html"

    def _stage(self, name: str, depends: Sequence[Any], outputs: Sequence[str], work: Callable[[], object]) -> None:
        """Do a stage, unless it is done."""
        fingerprint = _fingerprint([self.record.laborllm, name, *depends])
        earlier = self.record.stage(name)
        if earlier is not None and earlier.fingerprint == fingerprint and self._whole(earlier):
            earlier.skipped = True
            self.progress(f"{name} (unchanged)", 1, 1)
            return
        self._clear_if_changed(name, fingerprint)
        self.progress(name, 0, 1)
        meter = Meter()
        work()
        written = {output: file_hash(self.out / output) for output in outputs}
        self.record.put(Stage(name, fingerprint, written, meter.seconds(), meter.peak_memory_mib()))
        self.record.write(self.out)
        self.progress(name, 1, 1)

    def _whole(self, stage: Stage) -> bool:
        files = {self.out / output: expected for output, expected in stage.outputs.items()}
        return all(file.is_file() and file_hash(file) == expected for file, expected in files.items())

    def _clear_if_changed(self, name: str, fingerprint: str) -> None:
        """A half-trained model is gone on with only under the very same settings and data."""
        if not name.startswith("models/"):
            return
        mark = self.out / name / "fingerprint.json"
        if not mark.is_file() or json.loads(mark.read_text())["fingerprint"] != fingerprint:
            shutil.rmtree(self.out / name, ignore_errors=True)
            with whole_file(mark) as temporary:
                temporary.write_text(json.dumps({"fingerprint": fingerprint}))

    def _hashes(self, name: str) -> dict[str, str]:
        stage = self.record.stage(name)
        return {} if stage is None else stage.outputs

    def _write_careers(self) -> None:
        read_careers(self.study).write(self.out / "careers.parquet")

    def _fit(self, name: str) -> None:
        careers = Careers.read(self.out / "careers.parquet")
        model = build_model(name, self.study, self.out / "models" / name, self.progress)
        model.fit(careers.part("train"), careers.part("validation"))
        if isinstance(model, TransitionFrequencies | Oracle):
            model.save(self.out / "models" / name)
        model.predict(careers.part("test")).write(self.out / "probabilities" / f"{name}.parquet")
        self.record.models[name] = {
            "kind": self.study.models[name].kind,
            "description": model.description,
            "facts": dict(model.facts),
        }

    def _evaluate(self) -> None:
        predictions = {
            name: Probabilities.read(self.out / "probabilities" / f"{name}.parquet") for name in self.study.models
        }
        both = self.record.baseline is not None and self.record.floor is not None
        result = evaluate(
            predictions,
            Careers.read(self.out / "careers.parquet").part("test"),
            self.study.evaluation,
            baseline=self.record.baseline if both else None,
            floor=self.record.floor if both else None,
        )
        for name in ("evaluation", "comparisons", "reliability", "attainable"):
            with whole_file(self.out / f"{name}.csv") as temporary:
                getattr(result, name).write_csv(temporary)
        self.record.notes = list(result.notes)


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


def _checkpoint_files(settings: Any) -> list[Path]:
    checkpoint = getattr(settings, "checkpoint", None)
    if checkpoint is None or not checkpoint.is_dir():
        return []
    return sorted(file for file in checkpoint.iterdir() if file.is_file())


def _first_of(study: Study, kind: type[Settings]) -> str | None:
    return next((name for name, settings in study.models.items() if isinstance(settings, kind)), None)


def _dump(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json")


def _fingerprint(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(list(parts), sort_keys=True, default=str).encode()).hexdigest()


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
