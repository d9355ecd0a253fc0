"""The stages of a study: done in order, kept where inputs and settings are unchanged, gone on with after a kill."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from laborllm.errors import LaborLLMError
from laborllm.evaluation.published.aggregates import read_aggregates
from laborllm.files import file_hash, is_temporary, sole_writer
from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.ensemble import Ensemble, EnsembleSettings
from laborllm.models.language.embedding_settings import EmbeddingLogitSettings
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.networks.sequence_settings import SequenceSettings
from laborllm.models.no_change import NoChange
from laborllm.models.oracle import Oracle, OracleSettings
from laborllm.models.ranks import ALONE, Ranks
from laborllm.models.regression.boosting import GradientBoosting
from laborllm.models.regression.boosting_settings import BoostingSettings
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.models.temperature import Tempered, Tempering
from laborllm.record import Record, earlier_record, input_facts, split_facts
from laborllm.report.page import write_report
from laborllm.running.forecasting import ForecastStages
from laborllm.running.results import write_results
from laborllm.running.stages import Stages, clear_unless, fingerprint
from laborllm.settings import Settings
from laborllm.study import (
    Progress,
    Study,
    build_model,
    checkpoints,
    describe_survey,
    files_of_evaluation,
    files_of_model,
    input_files,
    read_careers,
    write_study,
)
from laborllm.survey.careers import Careers
from laborllm.survey.simulated.world import SimulatedSettings
from laborllm.survey.sources import files_of

SAVED_HERE = NoChange | TransitionFrequencies | MultinomialLogit | GradientBoosting | Ensemble | Oracle
"""Models that are written once they are fitted; the others keep themselves as they learn."""
TABLES = (
    *("evaluation", "comparisons", "reliability", "roc", "attainable", "evaluation_weighted", "comparisons_weighted"),
    *("representativeness", "representativeness_distance", "gains", "gains_by_feature", "aggregates"),
)
"""What the evaluation writes, each as NAME.csv; those that the sample has nothing for are absent."""
NOT_RUNS = {"runs": "a comparison", "experiment": "an experiment"}
"""Key that a record has beside those of a run -> what its folder holds."""


def run_study(study: Study, out: Path, *, command: str, progress: Progress = lambda stage, done, total: None) -> Path:
    """Run every stage of a study and write its run folder; what is there already and unchanged is kept.

    Of the processes that torchrun or its like has started, the first does all of it; the others fit and score the
    language models with it, and end when it ends.

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
    with Ranks.of_environment() as ranks:
        if not ranks.first:
            _follow(study, out, ranks)
            return out / "report.html"
        require_run_folder(study, out)
        with sole_writer(out):
            run = StudyRun(study, out, command, progress, ranks)
            run.models()
            run.numbers()
            report = run.report()
        ranks.shared(None)
        return report


def _follow(study: Study, out: Path, ranks: Ranks) -> None:
    """Fit and score every model that the first rank names, until it names none."""
    while (name := ranks.shared()) is not None:
        careers = Careers.read(out / "careers.parquet")
        model = build_model(
            name, study, folder=out / "models" / name, progress=lambda stage, done, total: None, ranks=ranks
        )
        model.fit(careers.part("train"), careers.part("validation"))
        model.predict(careers.part("test"))


class StudyRun:
    """One run of a study, stage by stage."""

    def __init__(self, study: Study, out: Path, command: str, progress: Progress, ranks: Ranks) -> None:
        self.study, self.out, self.progress, self.ranks = study, out, progress, ranks
        earlier = earlier_record(out)
        self.record = Record(command=command, seed=study.split.seed, seeds=_seeds(study))
        self.record.survey = describe_survey(study)
        self.record.inputs = input_facts(input_files(study))
        self.record.stages = earlier.get("stages", [])
        self.stages = Stages(out, self.record, progress)
        models = earlier.get("models", {})
        self.record.models = {name: models[name] for name in study.models if name in models}
        for name in models.keys() - study.models.keys():
            self.stages.forget(f"models/{name}")
            shutil.rmtree(out / "models" / name, ignore_errors=True)

    def models(self) -> None:
        """The careers, and every model with its probabilities."""
        self._careers()
        for name in self.study.models:
            self._model(name)

    def numbers(self) -> None:
        """What is said of the probabilities, in time and out of time."""
        self._evaluation()
        self._forecasts()

    def _careers(self) -> None:
        depends = [_dump(self.study.survey), _dump(self.study.split), input_facts(files_of(self.study.survey))]
        before = self.stages.hashes("careers")
        self.stages.do("careers", depends=depends, outputs=["careers.parquet"], work=self._write_careers)
        if before != self.stages.hashes("careers"):
            for name in self.study.models:
                self.stages.forget(f"models/{name}")
        write_study(self.study, self.out / "study.toml")
        careers = Careers.read(self.out / "careers.parquet")
        self.record.rows = [vars(step) for step in careers.flow]
        self.record.split = split_facts(careers)
        published = self.study.evaluation.published
        if published is not None:
            read_aggregates(published.file, careers.occupations, published.groups)  # a wrong line stops it here
        forecasts = self._forecast_stages()
        if forecasts is not None:
            forecasts.require_rows(careers)

    def _model(self, name: str) -> None:
        settings = self.study.models[name]
        learned = self.learned(settings)
        outputs = [f"probabilities/{name}.parquet", f"models/{name}/**/*"]
        form = (
            [settings.probabilities, settings.arithmetic] if isinstance(settings, LanguageModelSettings) else ["full"]
        )
        depends = [learned, *form, settings.temperature]
        self.stages.do(f"models/{name}", depends=depends, outputs=outputs, work=lambda: self._fit(name, learned))

    def _evaluation(self) -> None:
        self.record.baseline = _first_of(self.study, TransitionSettings)
        self.record.floor = _first_of(self.study, OracleSettings)
        probabilities = [
            self.stages.hashes(f"models/{name}")[f"probabilities/{name}.parquet"] for name in self.study.models
        ]
        files = files_of_evaluation(self.study.evaluation)
        depends = [_dump(self.study.evaluation), [file_hash(file) for file in files], list(self.study.models)]
        depends += [probabilities, self.stages.hashes("careers")]
        outputs = [f"{name}.csv" for name in TABLES]
        self.stages.do("evaluation", depends=depends, outputs=outputs, work=self._evaluate)

    def _forecasts(self) -> None:
        """Out of time: models that learn the rows up to a year, and what they say of those after it."""
        stages = self._forecast_stages()
        for stage in [stage.stage for stage in self.record.stages if stage.stage.startswith("forecast")]:
            if stages is None or stage.partition("/")[2] not in ("", *stages.models):
                self.stages.forget(stage)
        if stages is None:
            return
        for name in stages.models:
            learned = [self.learned(self.study.models[name]), self.study.models[name].temperature]
            self.stages.do(
                f"forecast/{name}",
                depends=[learned, stages.settings_of_models],
                outputs=[f"forecast/{name}/*"],
                work=partial(stages.forecast, name),
            )
        depends = [self.stages.hashes(f"forecast/{name}") for name in stages.models]
        self.stages.do(
            "forecast",
            depends=[*depends, stages.models, _dump(self.study.evaluation), stages.settings_of_models],
            outputs=["forecast.csv", "forecast_comparisons.csv"],
            work=stages.evaluate,
        )

    def _forecast_stages(self) -> ForecastStages | None:
        settings = self.study.forecast
        return None if settings is None else ForecastStages(self.study, settings, self.out, self.progress)

    def report(self) -> Path:
        """The page, written from the run folder alone."""
        done = [(stage.stage, stage.outputs, stage.seconds) for stage in self.record.stages if stage.stage != "report"]
        depends = [done, _dump(self.study), self.record.survey]
        outputs = ["report.html", "workers.html", "pages/*", "tables/**/*", "figures/**/*"]
        self.stages.do("report", depends=depends, outputs=outputs, work=self._write_report)
        self.record.write(self.out)
        return self.out / "report.html"

    def learned(self, settings: Tempering) -> str:
        """Fingerprint of all that a fitted model depends on."""
        return fingerprint_of_model(settings, self.study, [self.record.laborllm, self.stages.hashes("careers")])

    def _write_careers(self) -> None:
        careers = read_careers(self.study)
        self.record.write(self.out)  # from here on the folder is known as a run
        careers.write(self.out / "careers.parquet")

    def _fit(self, name: str, learned: str) -> None:
        folder = self.out / "models" / name
        stage = self.record.stage(f"models/{name}")
        touched = stage is not None and any(file.startswith("models/") for file in self.stages.changed(stage))
        clear_unless(folder, learned, touched=touched)
        careers = Careers.read(self.out / "careers.parquet")
        together = [each for each in self.members(name) if isinstance(self.study.models[each], LanguageModelSettings)]
        ranks = self.ranks if together else ALONE
        ranks.shared(name)  # the others wait in ``_follow``
        model = build_model(name, self.study, folder=folder, progress=self.progress, ranks=ranks)
        model.fit(careers.part("train"), careers.part("validation"))
        inner = model.model if isinstance(model, Tempered) else model
        if isinstance(inner, SAVED_HERE):
            inner.save(folder)
        if isinstance(model, Tempered):
            model.save(folder)
        model.predict(careers.part("test")).write(self.out / "probabilities" / f"{name}.parquet")
        for scored in together:
            from laborllm.models.scoring.shards import discard_shards  # needs laborllm[llm]

            discard_shards(self.out / "models" / scored)
        self.record.models[name] = {
            "kind": self.study.models[name].kind,
            "description": model.description,
            "facts": dict(model.facts),
        }

    def members(self, name: str) -> tuple[str, ...]:
        """A model and, of an ensemble, all that it asks."""
        settings = self.study.models[name]
        below = settings.of if isinstance(settings, EnsembleSettings) else ()
        return (name, *(each for member in below for each in self.members(member)))

    def _evaluate(self) -> Sequence[str]:
        return write_results(
            self.out,
            list(self.study.models),
            self.study.evaluation,
            baseline=self.record.baseline,
            floor=self.record.floor,
            progress=lambda done, total: self.progress("evaluation", done, total),
        )

    def _write_report(self) -> None:
        self.record.write(self.out)  # the page is written from the run folder alone
        write_report(self.out)


def require_run_folder(study: Study, out: Path) -> None:
    """A run writes and clears its folder as its own, so it must be new, empty, or that of an earlier run.

    Raises:
        LaborLLMError: the folder holds other files, or an input of the study.
    """
    place = out.resolve()
    for file in (*input_files(study), *checkpoints(study)):
        if file.resolve().is_relative_to(place):
            raise LaborLLMError(f"{out}: holds {file}, which the study reads; choose another folder with --out")
    record = earlier_record(out)
    if not out.is_dir() or ("laborllm" in record and not record.keys() & NOT_RUNS.keys()):
        return
    for key in NOT_RUNS.keys() & record.keys():
        raise LaborLLMError(f"{out}: holds {NOT_RUNS[key]}, no run of a study; choose a new folder with --out")
    others = sorted(path.name for path in out.iterdir() if not is_temporary(path))
    if others:
        raise LaborLLMError(f"{out}: holds {others[0]} but no run of laborllm; choose a new folder with --out")


def _seeds(study: Study) -> dict[str, int]:
    seeds = {"split": study.split.seed, "evaluation": study.evaluation.seed}
    if isinstance(study.survey, SimulatedSettings):
        seeds["survey"] = study.survey.seed
    for name, settings in study.models.items():
        if isinstance(settings, LanguageModelSettings | SequenceSettings | BoostingSettings):
            seeds[f"models.{name}"] = settings.seed
    return seeds


def _first_of(study: Study, kind: type[Settings]) -> str | None:
    return next((name for name, settings in study.models.items() if isinstance(settings, kind)), None)


def _dump(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json")


def fingerprint_of_model(settings: Tempering, study: Study, data: Sequence[Any]) -> str:
    """Hash of everything that a fitted model depends on; ``data`` stands for the careers that it learns from."""
    if isinstance(settings, LanguageModelSettings):
        files = [] if settings.checkpoint is None else sorted(settings.checkpoint.iterdir())
        files += files_of_model(settings)
        return fingerprint([*data, settings.learned(), [file_hash(file) for file in files if file.is_file()]])
    if isinstance(settings, EmbeddingLogitSettings):
        return fingerprint([*data, settings.learned(), [file_hash(file) for file in settings.files()]])
    own = settings.learned()
    if isinstance(settings, EnsembleSettings):
        members = [study.models[name] for name in settings.of]
        parts = [[fingerprint_of_model(member, study, data), member.temperature] for member in members]
        return fingerprint([own, parts])
    world = _dump(study.survey) if isinstance(settings, OracleSettings) else {}
    return fingerprint([*data, own, world, [file_hash(file) for file in files_of_model(settings)]])
