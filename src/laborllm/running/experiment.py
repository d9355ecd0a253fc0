"""An experiment is a study of studies: cells that differ in one thing, on the same test people."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from laborllm.analysis.experiments.alterations import altered, pooled, realised_after
from laborllm.analysis.experiments.experiments import plan_of
from laborllm.analysis.experiments.sizes import people_needed
from laborllm.analysis.experiments.trials import Trial, find
from laborllm.errors import LaborLLMError
from laborllm.evaluation.uncertainty import draw_weights
from laborllm.files import file_hash, is_temporary, sole_writer, whole_file, write_tables
from laborllm.models.probabilities import Model
from laborllm.record import Meter, Record, earlier_record, input_facts
from laborllm.report.experiment import write_experiment_page
from laborllm.report.numbers import interval_name
from laborllm.running.run import fingerprint_of_model
from laborllm.running.stages import fingerprint
from laborllm.study import Progress, Study, build_model, input_files, read_careers, write_study
from laborllm.survey.careers import KEYS, Careers


def run_experiment(
    name: str, study: Study, out: Path, *, command: str, progress: Progress = lambda stage, done, total: None
) -> Path:
    """Run every cell of an experiment and write its folder; cells that are there already and unchanged are kept.

    The folder: study.toml and record.json; cells/NAME.parquet, the log-probability of what happened in every test
    person-year, nats; cells.csv and contrasts.csv, as in ``analysis.trials.Findings``; tables, figures and
    experiment.html. Fitted models are removed once their cells are done.

    Args:
        name: one of ``analysis.experiments.NAMES``.
        study: the study, its paths absolute; its section [experiments] says what is tried.
        out: the folder.
        command: the command line, for the record.
        progress: called with (stage, done, total).

    Returns:
        The page's path.

    Raises:
        LaborLLMError: an input, a setting or the disk stands in the way; finished cells stay in the folder.
    """
    _require_own_folder(name, out)
    with sole_writer(out):
        experiment = _Experiment(name, study, out, command, progress)
        nats = experiment.nats()
        return experiment.write(nats)


@dataclass
class ExperimentRecord(Record):
    """record.json of an experiment: that of a run, and which experiment it is."""

    experiment: str = ""


def _require_own_folder(name: str, out: Path) -> None:
    """An experiment writes and clears its folder as its own: it must be new, empty, or that of the same experiment."""
    others = sorted(path.name for path in out.iterdir() if not is_temporary(path)) if out.is_dir() else []
    kept = earlier_record(out).get("experiment")
    if others and kept != name:
        held = others[0] if kept is None else f"the experiment {kept!r}"
        raise LaborLLMError(f"{out}: holds {held}, not the experiment {name!r}; choose a new folder with --out")


def _require_other_people(file: Path, careers: Careers, test: Careers) -> None:
    """Nobody learns from the test people under another name: fewer than half of their person-years are there."""
    ours, theirs = (each.table.select(pl.col(KEYS).cast(pl.String)) for each in (test, careers))
    same = ours.join(theirs, on=list(KEYS), how="semi").height
    if same > len(test) / 2:
        raise LaborLLMError(
            f"{file}: holds the study's own test people ({same:,} of their {len(test):,} person-years); give the "
            "careers of another survey"
        )


class _Experiment:
    """The cells of one experiment, in the order of the models that they need."""

    def __init__(self, name: str, study: Study, out: Path, command: str, progress: Progress) -> None:
        self.study, self.out, self.progress = study, out, progress
        progress("careers", 0, 1)
        self.careers = read_careers(study)
        self.record = ExperimentRecord(command=command, seed=study.split.seed, experiment=name)
        self.record.inputs = input_facts([*input_files(study), *study.experiments.pooling.files])
        self.record.rows = [asdict(step) for step in self.careers.flow]
        self.plan = plan_of(name, study.experiments, study.models, self.careers)
        self.data = [self.record.laborllm, self.record.inputs, study.survey.model_dump(mode="json")]
        self.data += [study.split.model_dump(mode="json")]
        self.train, self.validation, self.test = (self.careers.part(part) for part in ("train", "validation", "test"))
        self.others = self._others() if name == "pooling" else []
        pooled(self.train, self.others)  # files that do not fit are said before any model is fitted
        self.record.write(out)  # from here on the folder is known as an experiment
        write_study(study, out / "study.toml")
        progress("careers", 1, 1)

    def nats(self) -> dict[str, np.ndarray]:
        """Minus the log-probability of what happened, cell -> shape (person_years,)."""
        found: dict[str, np.ndarray] = {}
        cells = sorted(self.plan.trials, key=lambda trial: trial.fitted)
        for done, trial in enumerate(cells):
            self.progress("cells", done, len(cells))
            found[trial.name] = -self._realised(trial)
            following = cells[done + 1].fitted if done + 1 < len(cells) else None
            if following != trial.fitted:
                self.fitted = None
                shutil.rmtree(self.out / "models", ignore_errors=True)
        self.progress("cells", len(cells), len(cells))
        return found

    fitted: tuple[str, Model] | None = None

    def _realised(self, trial: Trial) -> np.ndarray:
        """A cell's log-probabilities, out of its file where that is of the same data and settings."""
        mark = self._mark(trial)
        file = self.out / "cells" / f"{trial.name}.parquet"
        kept = _read_cell(file, mark)
        if kept is not None:
            return kept
        meter = Meter()
        test = altered(self.test, trial.tested)
        realised = realised_after(self._fitted(trial), test, trial.last_rows)
        table = self.test.table.select("person", "year").with_columns(log_probability=pl.Series(realised))
        with whole_file(file) as temporary:
            table.write_parquet(temporary, metadata={"laborllm.cell": mark, "laborllm.seconds": str(meter.seconds())})
        return realised

    def _mark(self, trial: Trial) -> str:
        """Hash of everything that a cell depends on."""
        settings = self.study.models[trial.model].model_copy(update=dict(trial.changes))
        others = [file_hash(file) for file in self.study.experiments.pooling.files] if trial.learned.pooled else []
        model = fingerprint_of_model(settings, self.study, [*self.data, trial.learned.model_dump(mode="json"), others])
        return fingerprint([model, settings.temperature, trial.tested.model_dump(mode="json"), trial.last_rows])

    def _fitted(self, trial: Trial) -> Model:
        """The model of a cell, fitted; cells that follow one another and need the same one share it."""
        if self.fitted is not None and self.fitted[0] == trial.fitted:
            return self.fitted[1]
        settings = self.study.models[trial.model].model_copy(update=dict(trial.changes))
        study = self.study.model_copy(update={"models": {trial.model: settings}})
        learned = fingerprint([fingerprint_of_model(settings, study, self.data), trial.learned.model_dump(mode="json")])
        model = build_model(
            trial.model, study, folder=self.out / "models" / f"{trial.model}-{learned[:16]}", progress=self.progress
        )
        same = trial.learned.model_copy(update={"people": None, "pooled": 0.0})
        model.fit(altered(self.train, trial.learned, self.others), altered(self.validation, same))
        self.fitted = trial.fitted, model
        return model

    def _others(self) -> list[Careers]:
        """The training people of the other surveys; all of their people where they are not split."""
        found = []
        for file in self.study.experiments.pooling.files:
            careers = Careers.read(file)
            found.append(careers.part("train") if "split" in careers.table.columns else careers)
            _require_other_people(file, found[-1], self.test)
        return found

    def write(self, nats: dict[str, np.ndarray]) -> Path:
        """The tables of the experiment and its page."""
        evaluation, person = self.study.evaluation, self.test.person_of_row
        weights = draw_weights(self.test.people, evaluation.bootstrap, np.random.default_rng(evaluation.seed))
        findings = find(self.plan, nats, person, weights, confidence=evaluation.confidence)
        frames = {"cells": findings.cells, "contrasts": findings.contrasts}
        if self.plan.name == "size":
            frames["needed"] = people_needed(self.plan, nats, person, weights, confidence=evaluation.confidence)
        write_tables(self.out, frames)
        self.record.write(self.out)
        return write_experiment_page(
            self.plan,
            findings,
            self.out / "experiment.html",
            ci=interval_name(evaluation.confidence),
            needed=frames.get("needed"),
            facts={
                "Command": self.record.command,
                "laborllm": self.record.laborllm,
                "Started": self.record.started,
                "Study": str(self.out / "study.toml"),
                "Bootstrap": f"{evaluation.bootstrap} draws of test people, seed {evaluation.seed}",
            },
        )


def _read_cell(file: Path, mark: str) -> np.ndarray | None:
    """What an earlier run left of a cell; None where it is not there or of other data or settings."""
    if not file.is_file() or pl.read_parquet_metadata(file).get("laborllm.cell") != mark:
        return None
    return pl.read_parquet(file, glob=False)["log_probability"].to_numpy()
