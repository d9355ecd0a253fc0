"""The stages of a study: done in order, kept where inputs and settings are unchanged, gone on with after a kill."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from laborllm.evaluation.evaluate import evaluate
from laborllm.files import file_hash, whole_file
from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.oracle import Oracle, OracleSettings
from laborllm.models.probabilities import Probabilities
from laborllm.record import Meter, Record, Stage, earlier_record, input_facts, split_facts
from laborllm.report.page import write_report
from laborllm.settings import Settings
from laborllm.study import Progress, Study, build_model, describe_survey, input_files, read_careers, write_study
from laborllm.survey.careers import Careers


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
