"""Runs of different times on the same test people: their models evaluated together, paired."""

import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tomli_w
from pydantic import ValidationError

from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import Evaluation, EvaluationSettings, evaluate
from laborllm.files import file_hash, is_temporary, sole_writer, whole_file, write_tables
from laborllm.models.probabilities import Probabilities
from laborllm.record import FILE, Meter, Record, Stage, earlier_record, split_facts
from laborllm.report.page import write_report
from laborllm.survey.careers import KEYS, Careers

SAME_PERSON = ("survey", "gender", "birth_year")
"""What must agree beside the number before two runs' people are taken for one, where only some are in common."""
NO_STUDY = "# A comparison of runs: no study, but the settings that it was evaluated under.\n"


@dataclass(frozen=True)
class Run:
    """A run to be compared.

    Attributes:
        path: its folder.
        label: a name of its own, of letters, digits, - and _.
        record: its record.json.
        test: its test people.
        taught: its training and validation people.
        models: name -> SHA-256 of its probabilities.
    """

    path: Path
    label: str
    record: Mapping[str, Any]
    test: Careers
    taught: frozenset[str]
    models: Mapping[str, str]


@dataclass
class ComparisonRecord(Record):
    """record.json of a comparison: that of a run, and ``runs``, what was compared."""

    runs: list[dict[str, Any]] = field(default_factory=list)


class Predictions(Mapping[str, Probabilities]):
    """Model -> its probabilities of the person-years that are compared, read from their file each time.

    Args:
        files: model -> its file.
        rows: model -> the rows of its file that are compared, ascending; None for all.
    """

    def __init__(self, files: Mapping[str, Path], rows: Mapping[str, np.ndarray | None]) -> None:
        self.files, self.rows = files, rows

    def __getitem__(self, model: str) -> Probabilities:
        found, rows = Probabilities.read(self.files[model]), self.rows[model]
        return found if rows is None else _some_rows(found, rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


def compare_runs(
    paths: Sequence[Path],
    out: Path,
    *,
    common: bool = False,
    command: str,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Evaluate the models of several runs on the same test person-years; write the folder of a comparison.

    A model's name is kept where it is the only one of that name, or where all of that name have the same
    probabilities to the last bit (then it stands once); otherwise it becomes RUN-NAME. Settings of the evaluation,
    covariates, baseline and floor are those of the first run.

    Args:
        paths: the run folders, at least two.
        out: the folder to write: careers.parquet (the test people), evaluation.csv, comparisons.csv, reliability.csv,
            attainable.csv, record.json with the runs' hashes and versions, tables, figures and report.html.
        common: compare the person-years in common: those whose career up to and including them is the same in every
            run. Otherwise all test person-years must be the same.
        command: the command line, for the record.
        progress: called with a model's name when it is done.

    Raises:
        LaborLLMError: a folder holds no run, a file is not as the run wrote it, or the runs have different lists,
            test people, years or outcomes; the message names the first difference.
    """
    if len(paths) < 2:
        raise LaborLLMError("one run has nothing to be compared with; give at least two run folders")
    _require_own_folder(out, paths)
    runs = [read_run(path, label) for path, label in zip(paths, _labels(paths), strict=True)]
    for other in runs[1:]:
        _require_same_list(runs[0], other)
    kept, notes = _in_common(runs) if common else _all(runs)
    careers = replace(runs[0].test, table=runs[0].test.table[kept[0]])
    predictions, names = _predictions(runs, kept)
    baseline, floor = (_renamed(runs[0], what, names) for what in ("baseline", "floor"))
    both = baseline is not None and floor is not None
    with sole_writer(out):
        meter, settings = Meter(), _settings(runs[0])
        found = evaluate(
            predictions,
            careers,
            settings,
            baseline=baseline if both else None,
            floor=floor if both else None,
            progress=progress,
        )
        found = replace(found, notes=(*notes, *found.notes))
        record = _record(runs, names, careers, command)
        record.baseline, record.floor = baseline, floor
        _write(found, careers, settings, out)
        outputs = ["careers.parquet", "study.toml", *(f"{name}.csv" for name in found.frames)]
        hashes = {name: file_hash(out / name) for name in outputs}
        mark = _hash([record.runs, common])
        spent = meter.seconds(), meter.peak_memory_mib()
        record.put(Stage("comparison", mark, hashes, *spent, notes=list(found.notes)))
        record.write(out)
        write_report(out)
    return found


def read_run(path: Path, label: str) -> Run:
    """A run folder whose careers and probabilities are as the run wrote them.

    Raises:
        LaborLLMError: there is no record, no probabilities, or a file was changed since.
    """
    record = earlier_record(path)
    if "laborllm" not in record:
        raise LaborLLMError(f"{path}: holds no run of laborllm ({FILE} is missing); give the folder of a finished run")
    written = {file: digest for stage in record["stages"] for file, digest in stage.outputs.items()}
    models = {}
    for name in record["models"]:
        file = f"probabilities/{name}.parquet"
        if file not in written or not (path / file).is_file():
            raise LaborLLMError(f"{path}: {file} is missing; run the study again to write it")
        models[name] = written[file]
    for file in ("careers.parquet", *(f"probabilities/{name}.parquet" for name in models)):
        if file_hash(path / file) != written.get(file):
            raise LaborLLMError(f"{path}: {file} is not as the run wrote it; run the study again to write it")
    careers = Careers.read(path / "careers.parquet")
    taught = careers.table.filter(pl.col("split") != "test")["person"].unique().cast(pl.String)
    return Run(path, label, record, careers.part("test"), frozenset(taught), models)


def people_hash(careers: Careers) -> str:
    """SHA-256 of the closed list and of every person, year and realised occupation, in their order."""
    rows = careers.table.select(pl.col(KEYS).cast(pl.String))
    return _hash([careers.occupations.codes, careers.occupations.titles, rows.rows()])


def _hash(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(list(parts), sort_keys=True).encode()).hexdigest()


def _labels(paths: Sequence[Path]) -> list[str]:
    """The folders' names in letters that a file's name may have; all numbered where two are the same."""
    names = [
        "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in path.resolve().name) or "run"
        for path in paths
    ]
    same = len(set(names)) < len(names)
    return [f"{name}-{place}" for place, name in enumerate(names, start=1)] if same else names


def _require_own_folder(out: Path, paths: Sequence[Path]) -> None:
    """A comparison writes its folder as its own, so it must be new, empty, or that of an earlier comparison."""
    for place, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:place]]:
            raise LaborLLMError(f"{path}: is given twice; give the folders of different runs")
        if path.resolve().is_relative_to(out.resolve()):
            raise LaborLLMError(f"{out}: holds {path}, which is compared; choose another folder with --out")
    others = [path.name for path in out.iterdir() if not is_temporary(path)] if out.is_dir() else []
    if others and "runs" not in earlier_record(out):
        raise LaborLLMError(f"{out}: holds {sorted(others)[0]} but no comparison; choose a new folder with --out")


def _require_same_list(first: Run, other: Run) -> None:
    """The closed lists are the same, entry by entry, in codes and in titles."""
    for what in ("codes", "titles"):
        ours, theirs = (getattr(run.test.occupations, what) for run in (first, other))
        if ours != theirs:
            shared = min(len(ours), len(theirs))
            place = next((i for i in range(shared) if ours[i] != theirs[i]), shared)
            found, wanted = (each[place] if place < len(each) else "nothing" for each in (theirs, ours))
            raise LaborLLMError(
                f"{other.path}: {what[:-1]} {place + 1} of its list is {found!r}, in {first.path} {wanted!r} "
                f"({len(theirs)} and {len(ours)} occupations); probabilities over different lists cannot be compared"
            )


def _all(runs: Sequence[Run]) -> tuple[list[slice], tuple[str, ...]]:
    """Every test row of every run, which must be the same."""
    for other in runs[1:]:
        _require_same_rows(runs[0], other)
    return [slice(None)] * len(runs), _covariate_notes(runs)


def _require_same_rows(first: Run, other: Run) -> None:
    ours, theirs = (
        run.test.table.select(pl.col("person", "year", "occupation").cast(pl.String)) for run in (first, other)
    )
    shared = min(ours.height, theirs.height)
    differs = (ours.head(shared) != theirs.head(shared)).select(pl.any_horizontal(pl.all())).to_series().arg_true()
    if not len(differs) and ours.height == theirs.height:
        return
    row = differs[0] if len(differs) else shared
    found, wanted = (_words(table, row) for table in (theirs, ours))
    people = set(ours["person"])
    raise LaborLLMError(
        f"{other.path}: test row {row + 1} is {found}, in {first.path} {wanted} ({theirs.height:,} and {ours.height:,} "
        f"test person-years; of {len(people):,} test people {len(people & set(theirs['person'])):,} are in both, "
        f"{len(people & other.taught):,} taught the other's models); --common compares what is in both"
    )


def _words(table: pl.DataFrame, row: int) -> str:
    if row >= table.height:
        return "not there"
    person, year, occupation = table.row(row)
    return f"person {person}, {year}, occupation {occupation!r}"


def _covariate_notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """A note for each covariate in which a run differs from the first, whose groups are reported."""
    first, notes = runs[0], []
    for other in runs[1:]:
        for name in ("education", "gender", "ethnicity", "region", "birth_year", "survey"):
            differ = int(first.test.table[name].ne_missing(other.test.table[name]).sum())
            if differ:
                notes.append(f"{name} differs in {differ:,} person-years of {other.label}; groups are of {first.label}")
    return tuple(notes)


def _in_common(runs: Sequence[Run]) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """The rows of each run whose career so far is the same in all, and how many each run loses."""
    keys = (*KEYS, *SAME_PERSON)
    tables = [
        run.test.table.select(pl.col(keys).cast(pl.String)).with_columns(
            place=pl.int_range(pl.len()).over("person"), row=pl.int_range(pl.len())
        )
        for run in runs
    ]
    same = tables[0].rename({"row": "row0"})
    for number, table in enumerate(tables[1:], start=1):
        same = same.join(table.rename({"row": f"row{number}"}), on=[*keys, "place"], nulls_equal=True)
    # A row at place k stays if the k rows before it stayed.
    same = same.sort("row0").filter(pl.col("place") == pl.int_range(pl.len()).over("person"))
    if not same.height:
        raise LaborLLMError(
            f"{' and '.join(str(run.path) for run in runs)}: have no test person-year in common; compare runs of one "
            "survey that were split with the same seed"
        )
    rows = [same[f"row{number}"].to_numpy() for number in range(len(runs))]
    if any((np.diff(each) < 0).any() for each in rows):
        raise LaborLLMError(f"{runs[0].path}: orders people otherwise than the other runs; run the study again")
    return rows, tuple(_left_out(run, runs, same.height) for run in runs)


def _left_out(run: Run, runs: Sequence[Run], kept: int) -> str:
    """How many test person-years of a run are not compared, and why."""
    people = set(run.test.table["person"].unique().cast(pl.String))
    taught = set().union(*(people & other.taught for other in runs))
    return (
        f"{run.label}: {len(run.test) - kept:,} of its {len(run.test):,} test person-years are left out, since they or "
        f"years of the person before them are not the same in every run; {len(taught):,} of its {len(people):,} test "
        "people taught the models of another"
    )


def _predictions(
    runs: Sequence[Run], kept: Sequence[np.ndarray | slice]
) -> tuple[Predictions, dict[str, dict[str, str]]]:
    """Every model's file and rows, under names of their own; and run -> its name -> ours."""
    names: dict[str, dict[str, str]] = {run.label: {} for run in runs}
    files: dict[str, Path] = {}
    rows: dict[str, np.ndarray | None] = {}
    digests: dict[str, str] = {}
    for run, chosen in zip(runs, kept, strict=True):
        for model, digest in run.models.items():
            alike = {other.models[model] for other in runs if model in other.models}
            name = model if len(alike) == 1 else f"{run.label}-{model}"
            if digests.setdefault(name, digest) != digest:
                raise LaborLLMError(f"{run.path}: model {model!r} would be {name!r}, as another is; rename the folder")
            names[run.label][model] = name
            files.setdefault(name, run.path / "probabilities" / f"{model}.parquet")
            rows.setdefault(name, chosen if isinstance(chosen, np.ndarray) else None)
    return Predictions(files, rows), names


def _some_rows(prediction: Probabilities, rows: np.ndarray) -> Probabilities:
    arrays = ("log_probabilities", "log_mass", "realised_raw")
    chosen = {name: values[rows] for name in arrays if (values := getattr(prediction, name)) is not None}
    return replace(prediction, rows=prediction.rows[rows], **chosen)


def _renamed(run: Run, what: str, names: Mapping[str, Mapping[str, str]]) -> str | None:
    """The baseline or the floor of the first run under its name here."""
    name = run.record.get(what)
    return None if name is None else names[run.label].get(name)


def _settings(run: Run) -> EvaluationSettings:
    """The section [evaluation] of a run's study."""
    path = run.path / "study.toml"
    try:
        return EvaluationSettings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")).get("evaluation", {}))
    except (OSError, ValidationError, tomllib.TOMLDecodeError) as error:
        raise LaborLLMError(f"{path}: cannot be read as a study; run the study again to write it") from error


def _record(
    runs: Sequence[Run], names: Mapping[str, Mapping[str, str]], careers: Careers, command: str
) -> ComparisonRecord:
    first = runs[0].record
    record = ComparisonRecord(command=command, survey=first["survey"], rows=first["rows"], seed=first["seed"])
    record.split = split_facts(careers)
    for run in runs:
        models = {names[run.label][model]: digest for model, digest in run.models.items()}
        facts = {name: run.record.get(name) for name in ("laborllm", "python", "packages", "command", "started")}
        same = {"test_people_sha256": people_hash(run.test), "compared_sha256": people_hash(careers)}
        record.runs.append({"run": str(run.path.resolve()), "label": run.label} | facts | same | {"models": models})
        record.inputs += [each for each in run.record["inputs"] if each not in record.inputs]
        record.models |= {names[run.label][model]: run.record["models"][model] for model in run.models}
    return record


def _write(found: Evaluation, careers: Careers, settings: EvaluationSettings, out: Path) -> None:
    """The files of the comparison but for record and page."""
    careers.write(out / "careers.parquet")
    with whole_file(out / "study.toml") as temporary:
        content = {"evaluation": settings.model_dump(mode="json", exclude={"published"}, exclude_none=True)}
        temporary.write_text(NO_STUDY + tomli_w.dumps(content), encoding="utf-8")
    write_tables(out, found.frames)
