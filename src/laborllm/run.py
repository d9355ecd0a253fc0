"""The stages of a study: done in order, kept where inputs and settings are unchanged, gone on with after a kill."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from laborllm.errors import LaborLLMError
from laborllm.evaluation.aggregates import read_aggregates
from laborllm.files import file_hash, is_temporary, sole_writer, whole_file
from laborllm.forecasting import ForecastStages
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
from laborllm.record import Meter, Record, Stage, earlier_record, input_facts, split_facts
from laborllm.report.page import write_report
from laborllm.results import write_results
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
LATER = {"evaluation": ["report"], "forecast": ["report"], "report": ["report"]}
"""Stage -> those whose outputs no longer belong to the run once it is done again; of any other stage, all after it."""


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
        _require_run_folder(study, out)
        with sole_writer(out):
            run = _Run(study, out, command, progress, ranks)
            run.careers()
            for name in study.models:
                run.model(name)
            run.evaluation()
            run.forecasts()
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


class _Run:
    """One run of a study: does a stage unless its fingerprint and its outputs are as an earlier run left them."""

    def __init__(self, study: Study, out: Path, command: str, progress: Progress, ranks: Ranks) -> None:
        self.study, self.out, self.progress, self.ranks = study, out, progress, ranks
        earlier = earlier_record(out)
        self.record = Record(command=command, seed=study.split.seed, seeds=_seeds(study))
        self.record.survey = describe_survey(study)
        self.record.inputs = input_facts(input_files(study))
        self.record.stages = earlier.get("stages", [])
        models = earlier.get("models", {})
        self.record.models = {name: models[name] for name in study.models if name in models}
        for name in models.keys() - study.models.keys():
            self._forget(f"models/{name}")
            shutil.rmtree(out / "models" / name, ignore_errors=True)

    def careers(self) -> None:
        depends = [_dump(self.study.survey), _dump(self.study.split), input_facts(files_of(self.study.survey))]
        before = self._hashes("careers")
        self._stage("careers", depends=depends, outputs=["careers.parquet"], work=self._write_careers)
        if before != self._hashes("careers"):
            for name in self.study.models:
                self._forget(f"models/{name}")
        write_study(self.study, self.out / "study.toml")
        careers = Careers.read(self.out / "careers.parquet")
        self.record.rows = [vars(step) for step in careers.flow]
        self.record.split = split_facts(careers)
        published = self.study.evaluation.published
        if published is not None:
            read_aggregates(published.file, careers.occupations, published.groups)  # a wrong line stops it here

    def model(self, name: str) -> None:
        settings = self.study.models[name]
        learned = self._learned(settings)
        outputs = [f"probabilities/{name}.parquet", f"models/{name}/**/*"]
        form = (
            [settings.probabilities, settings.arithmetic] if isinstance(settings, LanguageModelSettings) else ["full"]
        )
        depends = [learned, *form, settings.temperature]
        self._stage(f"models/{name}", depends=depends, outputs=outputs, work=lambda: self._fit(name, learned))

    def evaluation(self) -> None:
        self.record.baseline = _first_of(self.study, TransitionSettings)
        self.record.floor = _first_of(self.study, OracleSettings)
        probabilities = [self._hashes(f"models/{name}")[f"probabilities/{name}.parquet"] for name in self.study.models]
        files = files_of_evaluation(self.study.evaluation)
        depends = [_dump(self.study.evaluation), [file_hash(file) for file in files], list(self.study.models)]
        depends += [probabilities, self._hashes("careers")]
        outputs = [f"{name}.csv" for name in TABLES]
        self._stage("evaluation", depends=depends, outputs=outputs, work=self._evaluate)

    def forecasts(self) -> None:
        """Out of time: models that learn the rows up to a year, and what they say of those after it."""
        stages = ForecastStages(self.study, self.out, self.progress)
        for name in stages.models:
            learned = [self._learned(self.study.models[name]), self.study.models[name].temperature]
            self._stage(
                f"forecast/{name}",
                depends=[learned, stages.settings_of_models],
                outputs=[f"forecast/{name}/*"],
                work=partial(stages.forecast, name),
            )
        depends = [self._hashes(f"forecast/{name}") for name in stages.models]
        if stages.models:
            self._stage(
                "forecast",
                depends=[*depends, stages.models, _dump(self.study.evaluation), stages.settings_of_models],
                outputs=["forecast.csv", "forecast_comparisons.csv"],
                work=stages.evaluate,
            )
        else:
            self._forget("forecast")

    def report(self) -> Path:
        done = [(stage.stage, stage.outputs, stage.seconds) for stage in self.record.stages if stage.stage != "report"]
        depends = [done, _dump(self.study), self.record.survey]
        outputs = ["report.html", "workers.html", "pages/*", "tables/**/*", "figures/**/*"]
        self._stage("report", depends=depends, outputs=outputs, work=self._write_report)
        self.record.write(self.out)
        return self.out / "report.html"

    def _stage(
        self, name: str, *, depends: Sequence[Any], outputs: Sequence[str], work: Callable[[], Sequence[str] | None]
    ) -> None:
        """Do a stage, unless it is done; ``outputs`` are patterns of the files it writes, its notes what it returns."""
        mark = fingerprint([self.record.laborllm, name, *depends])
        earlier = self.record.stage(name)
        if earlier is not None and earlier.fingerprint == mark and not self._changed(earlier):
            earlier.skipped = True
            self.progress(f"{name} (unchanged)", 1, 1)
            return
        for later in LATER.get(name.partition("/")[0], ["evaluation", "forecast", "report"]):
            self._forget(later)
        before = {} if name.startswith("models/") else self._files(outputs)  # a model may be whole since an earlier run
        self.progress(name, 0, 1)
        meter = Meter()
        notes = list(work() or ())
        after = self._files(outputs)
        written = {file: file_hash(self.out / file) for file in sorted(after) if after[file] != before.get(file)}
        self.record.put(Stage(name, mark, written, meter.seconds(), meter.peak_memory_mib(), notes=notes))
        self.record.write(self.out)
        self.progress(name, 1, 1)

    def _files(self, patterns: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Files in the run folder that match a pattern -> inode and time, new whenever the file is written."""
        found = {file for pattern in patterns for file in self.out.glob(pattern) if file.is_file()}
        marks = {file.relative_to(self.out).as_posix(): file.stat() for file in found}
        return {file: (mark.st_ino, mark.st_mtime_ns) for file, mark in marks.items()}

    def _forget(self, name: str) -> None:
        """Remove what a stage wrote, models apart: it no longer belongs to the inputs and settings of this run."""
        for output in self._hashes(name):
            if not output.startswith("models/"):
                (self.out / output).unlink(missing_ok=True)
        self.record.stages = [stage for stage in self.record.stages if stage.stage != name]

    def _changed(self, stage: Stage) -> list[str]:
        """The outputs of a stage that are gone or not as it wrote them."""
        files = {output: self.out / output for output in stage.outputs}
        return [
            output for output, file in files.items() if not file.is_file() or file_hash(file) != stage.outputs[output]
        ]

    def _hashes(self, name: str) -> dict[str, str]:
        stage = self.record.stage(name)
        return {} if stage is None else stage.outputs

    def _learned(self, settings: Tempering) -> str:
        return fingerprint_of_model(settings, self.study, [self.record.laborllm, self._hashes("careers")])

    def _write_careers(self) -> None:
        careers = read_careers(self.study)
        self.record.write(self.out)  # from here on the folder is known as a run
        careers.write(self.out / "careers.parquet")

    def _fit(self, name: str, learned: str) -> None:
        folder = self.out / "models" / name
        self._clear_unless(folder, learned)
        careers = Careers.read(self.out / "careers.parquet")
        together = [each for each in self._members(name) if isinstance(self.study.models[each], LanguageModelSettings)]
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

    def _members(self, name: str) -> tuple[str, ...]:
        """A model and, of an ensemble, all that it asks."""
        settings = self.study.models[name]
        below = settings.of if isinstance(settings, EnsembleSettings) else ()
        return (name, *(each for member in below for each in self._members(member)))

    def _clear_unless(self, folder: Path, learned: str) -> None:
        """A trained or half-trained model is gone on with only under the very same settings and data."""
        mark = folder / "fingerprint.json"
        stage = self.record.stage(f"models/{folder.name}")
        touched = stage is not None and any(output.startswith("models/") for output in self._changed(stage))
        if touched or not mark.is_file() or json.loads(mark.read_text()) != {"fingerprint": learned}:
            shutil.rmtree(folder, ignore_errors=True)
            with whole_file(mark) as temporary:
                temporary.write_text(json.dumps({"fingerprint": learned}))

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


def _require_run_folder(study: Study, out: Path) -> None:
    """A run writes and clears its folder as its own, so it must be new, empty, or that of an earlier run.

    Raises:
        LaborLLMError: the folder holds other files, or an input of the study.
    """
    place = out.resolve()
    for file in (*input_files(study), *checkpoints(study)):
        if file.resolve().is_relative_to(place):
            raise LaborLLMError(f"{out}: holds {file}, which the study reads; choose another folder with --out")
    if not out.is_dir() or "laborllm" in earlier_record(out):
        return
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


def fingerprint(parts: Sequence[Any]) -> str:
    """SHA-256 of anything that JSON or ``str`` can tell apart."""
    return hashlib.sha256(json.dumps(list(parts), sort_keys=True, default=str).encode()).hexdigest()
