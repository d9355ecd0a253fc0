"""Reads a run folder (design section 5): the only door through which the report learns anything."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from laborllm.errors import LaborLLMError
from laborllm.evaluation.cells import GROUPINGS
from laborllm.models.probabilities import Probabilities
from laborllm.report.numbers import Estimate, interval_name
from laborllm.report.settings import ReportSettings
from laborllm.survey.careers import EDUCATION, Careers

PAIR = " & "
"""Between the two covariates of a group that is a pair."""
TOGETHER = re.compile(rf"{PAIR}(?=(?:{'|'.join(GROUPINGS)})=)")
"""The same where another covariate follows: values may hold its sign."""
SPREAD = ("std_error", "ci_low", "ci_high")
SIZE = ("person_years", "people")
KEYS = ("task", "metric", "subset", "group")
Cell = tuple[str, str, str, str]
"""(task, metric, subset, group)."""
COLUMNS = {
    "evaluation": (("model", *KEYS), ("estimate", *SPREAD, *SIZE)),
    "comparisons": (("model_a", "model_b", *KEYS), ("difference", *SPREAD, *SIZE)),
    "reliability": (("model", "task"), ("bin", "predicted", "observed", "ci_low", "ci_high", "person_years")),
    "attainable": (("model", "baseline", "floor"), ("share", *SPREAD)),
    "roc": (("model", "task"), ("false_positive_rate", "true_positive_rate", "ci_low", "ci_high")),
}
COLUMNS |= {f"{name}_weighted": COLUMNS[name] for name in ("evaluation", "comparisons")}
"""File -> its columns of text and of numbers."""
LATER = ("std_error_delta", "band_low", "band_high")
"""Columns of numbers that a file may lack: older runs did not write them."""


@dataclass(frozen=True)
class RunFolder:
    """What a run left behind.

    Attributes:
        path: the folder.
        study: the text of study.toml, empty where there is none.
        record: record.json, empty where there is none; every key may be missing.
        careers: the people and their years, with the split.
        evaluation: evaluation.csv; text columns as text, numbers as float64.
        comparisons: comparisons.csv, no rows where there is none.
        reliability: reliability.csv, no rows where there is none.
        attainable: attainable.csv, no rows where there is no floor.
    """

    path: Path
    study: str
    record: Mapping[str, Any]
    careers: Careers
    evaluation: pl.DataFrame
    comparisons: pl.DataFrame
    reliability: pl.DataFrame
    attainable: pl.DataFrame

    @cached_property
    def cells(self) -> dict[Cell, dict[str, Estimate]]:
        """(task, metric, subset, group) -> model -> estimate."""
        return _cells(self.evaluation)

    @cached_property
    def weighted_cells(self) -> dict[Cell, dict[str, Estimate]]:
        """The same with survey weights, empty where there are none."""
        return _cells(_csv(self.path, "evaluation_weighted"))

    @cached_property
    def roc(self) -> pl.DataFrame:
        """roc.csv, no rows where there is none."""
        return _csv(self.path, "roc")

    def other_csv(self, name: str, words: Sequence[str], numbers: Sequence[str]) -> pl.DataFrame:
        """Another table of the run, NAME.csv: columns of text and of numbers, no rows where there is none."""
        return _csv(self.path, name, columns=(tuple(words), tuple(numbers)))

    def estimates(
        self, metric: str, *, task: str = "occupation", subset: str = "all", group: str = "all"
    ) -> dict[str, Estimate]:
        """Model -> estimate, empty where nothing was evaluated."""
        return self.cells.get((task, metric, subset, group), {})

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Every model from the lowest perplexity up; realised-only models, by raw perplexity, come last."""
        names = self.evaluation["model"].unique(maintain_order=True).to_list()
        normalised, raw = self.estimates("perplexity"), self.estimates("perplexity_raw")

        def place(name: str) -> tuple[bool, float]:
            found = normalised.get(name) or raw.get(name)
            return name not in normalised, found.value if found else float("inf")

        return tuple(sorted(names, key=place))

    @cached_property
    def floor(self) -> str | None:
        """The model that nothing can beat (simulated populations only)."""
        name = self.record.get("floor")
        return name if name in self.models else None

    @cached_property
    def baseline(self) -> str | None:
        """The model that gains are counted from."""
        name = self.record.get("baseline")
        return name if name in self.models else None

    @cached_property
    def rivals(self) -> tuple[str, ...]:
        """Models that compete: all but the floor, with a normalised perplexity, best first."""
        normalised = self.estimates("perplexity")
        return tuple(name for name in self.models if name in normalised and name != self.floor)

    @cached_property
    def sections(self) -> Mapping[str, Any]:
        """The study file as it was read, empty where there is none."""
        try:
            return tomllib.loads(self.study)
        except tomllib.TOMLDecodeError as error:
            raise LaborLLMError(f"{self.path / 'study.toml'}: is no TOML ({error}); run the study again") from error

    @cached_property
    def settings(self) -> ReportSettings:
        """The section [report] of the study file, its defaults where it says nothing."""
        try:
            return ReportSettings.model_validate(self.sections.get("report", {}))
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(["report", *map(str, problem["loc"])])
            raise LaborLLMError(f"{self.path / 'study.toml'}: {key}: {problem['msg']}; correct it") from error

    @cached_property
    def confidence(self) -> float:
        """Of every interval: evaluation.confidence of the study file, 0.95 where it says nothing."""
        return float(self.sections.get("evaluation", {}).get("confidence", 0.95))

    @property
    def ci(self) -> str:
        """The name of the intervals, e.g. "95% CI"."""
        return interval_name(self.confidence)

    @cached_property
    def weighted_comparisons(self) -> pl.DataFrame:
        """comparisons_weighted.csv, no rows where there is none."""
        return _csv(self.path, "comparisons_weighted")

    def differences(
        self, metric: str, *, task: str = "occupation", subset: str = "all", group: str = "all", weighted: bool = False
    ) -> dict[tuple[str, str], Estimate]:
        """(a, b) -> a - b in some test person-years, by default all, for every pair in both directions."""
        found: dict[tuple[str, str], Estimate] = {}
        wanted = {"task": task, "metric": metric, "subset": subset, "group": group}
        table = self.weighted_comparisons if weighted else self.comparisons
        for row in table.filter(**wanted).iter_rows(named=True):
            estimate = _estimate(row, "difference")
            found[row["model_a"], row["model_b"]] = estimate
            found[row["model_b"], row["model_a"]] = estimate.flipped()
        return found

    @cached_property
    def shares(self) -> dict[str, Estimate]:
        """Model -> share of the attainable gain."""
        return {row["model"]: _estimate(row, "share") for row in self.attainable.iter_rows(named=True)}

    @cached_property
    def covariates(self) -> dict[str, list[str]]:
        """Covariate -> its groups, COVARIATE=VALUE, in the order of evaluation.csv; education from low to high.

        Pairs of covariates, A & B, come after single ones.
        """
        groups = self.evaluation.filter(pl.col("task") == "occupation")["group"].unique(maintain_order=True)
        covariates: dict[str, list[str]] = {}
        for group in groups.drop_nulls():
            if "=" in group:
                covariates.setdefault(covariate_of(group), []).append(group)
        ordered = sorted(covariates, key=lambda covariate: PAIR in covariate)
        return {covariate: sorted(covariates[covariate], key=_level) for covariate in ordered}

    def probabilities(self, model: str) -> Probabilities | None:
        """A model's probabilities of the test person-years; None where its file is not kept."""
        path = self.path / "probabilities" / f"{model}.parquet"
        return Probabilities.read(path) if path.exists() else None


def _level(group: str) -> int:
    """Place among the levels of education; 0 for anything else, so that sorting leaves it where it was."""
    value = group.partition("=")[2]
    if group.startswith("education="):
        return EDUCATION.index(value) if value in EDUCATION else len(EDUCATION)
    return 0


def value_of(group: str) -> str:
    """The value in COVARIATE=VALUE, or both values of a pair.

    Examples:
        >>> value_of("gender=female"), value_of("region="), value_of("gender=female & region=south")
        ('female', 'missing', 'female & south')
        >>> value_of("ethnicity=black & white"), value_of("gender=f=1 & ethnicity=black & white")
        ('black & white', 'f=1 & black & white')
    """
    return PAIR.join(one.partition("=")[2].strip() or "missing" for one in TOGETHER.split(group))


def covariate_of(group: str) -> str:
    """The covariate in COVARIATE=VALUE, or both covariates of a pair.

    Examples:
        >>> covariate_of("gender=female"), covariate_of("gender=female & birth_year=1963")
        ('gender', 'gender & birth year')
    """
    return PAIR.join(one.partition("=")[0].replace("_", " ") for one in TOGETHER.split(group))


def group_words(group: str) -> str:
    """A group in words.

    Examples:
        >>> group_words("all"), group_words("gender=female & region=south")
        ('everybody', 'gender “female” & region “south”')
    """
    if "=" not in group:
        return "everybody" if group == "all" else group
    return PAIR.join(f"{covariate_of(one)} “{value_of(one)}”" for one in TOGETHER.split(group))


def read_run(path: Path) -> RunFolder:
    """Read a run folder.

    Raises:
        LaborLLMError: careers.parquet or evaluation.csv is missing, or a file is not what a run writes.
    """
    for name in ("careers.parquet", "evaluation.csv"):
        if not (path / name).is_file():
            raise LaborLLMError(f"{path}: holds no finished run of laborllm ({name} is missing); give the run's folder")
    careers = Careers.read(path / "careers.parquet")
    evaluation = _csv(path, "evaluation", required=True)
    if not evaluation.height:
        raise LaborLLMError(f"{path / 'evaluation.csv'}: holds no row; run the study again")
    study = path / "study.toml"
    return RunFolder(
        path=path,
        study=study.read_text(encoding="utf-8") if study.exists() else "",
        record=_record(path / "record.json"),
        careers=careers,
        evaluation=evaluation,
        comparisons=_csv(path, "comparisons"),
        reliability=_csv(path, "reliability"),
        attainable=_csv(path, "attainable"),
    )


def _csv(
    folder: Path, name: str, *, required: bool = False, columns: tuple[tuple[str, ...], tuple[str, ...]] | None = None
) -> pl.DataFrame:
    """A CSV file of the run as a typed frame, without rows where the file is missing and not required."""
    words, numbers = columns or COLUMNS[name]
    path = folder / f"{name}.csv"
    if not path.exists() and not required:
        return pl.DataFrame(schema=dict.fromkeys(words, pl.String) | dict.fromkeys(numbers, pl.Float64))
    try:
        frame = pl.read_csv(path, infer_schema=False, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LaborLLMError(f"{path}: cannot be read as CSV; run the study again to write it") from error
    absent = [column for column in (*words, *numbers) if column not in frame.columns]
    if absent:
        raise LaborLLMError(f"{path}: column {absent[0]} is missing; run the study again to write it")
    numbers = (*numbers, *(column for column in LATER if column in frame.columns and column not in numbers))
    return frame.select(*words, *(_float(frame[column], path) for column in numbers))


def _cells(evaluation: pl.DataFrame) -> dict[Cell, dict[str, Estimate]]:
    cells: dict[Cell, dict[str, Estimate]] = {}
    for row in evaluation.iter_rows(named=True):
        key = (row["task"], row["metric"], row["subset"], row["group"])
        cells.setdefault(key, {})[row["model"]] = _estimate(row, "estimate")
    return cells


def _float(column: pl.Series, path: Path) -> pl.Series:
    numbers = column.cast(pl.Float64, strict=False)
    bad = (numbers.is_null() & column.is_not_null() & (column != "")).arg_true()
    if len(bad):
        raise LaborLLMError(
            f"{path}, column {column.name}, row {bad[0] + 1}: {column[bad[0]]!r} is no number; run the study again"
        )
    return numbers.fill_nan(None)


def _record(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LaborLLMError(f"{path}: is no JSON; run the study again to write it") from error
    return record if isinstance(record, dict) else {}


def _estimate(row: Mapping[str, Any], name: str) -> Estimate:
    value = float("nan") if row[name] is None else row[name]
    person_years, people = (None if row.get(column) is None else int(row[column]) for column in SIZE)
    return Estimate(
        value,
        row["std_error"],
        row["ci_low"],
        row["ci_high"],
        person_years,
        people,
        band_low=row.get("band_low"),
        band_high=row.get("band_high"),
        delta=row.get("std_error_delta"),
    )
