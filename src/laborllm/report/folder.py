"""Reads a run folder (design section 5): the only door through which the report learns anything."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.models.probabilities import Probabilities
from laborllm.report.numbers import Estimate
from laborllm.survey.careers import EDUCATION, Careers

SPREAD = ("std_error", "ci_low", "ci_high")
SIZE = ("person_years", "people")
KEYS = ("task", "metric", "subset", "group")
COLUMNS = {
    "evaluation": (("model", *KEYS), ("estimate", *SPREAD, *SIZE)),
    "comparisons": (("model_a", "model_b", *KEYS), ("difference", *SPREAD, *SIZE)),
    "reliability": (("model", "task"), ("bin", "predicted", "observed", "ci_low", "ci_high", "person_years")),
    "attainable": (("model", "baseline", "floor"), ("share", *SPREAD)),
}
"""File -> its columns of text and of numbers."""


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
    def cells(self) -> dict[tuple[str, str, str, str], dict[str, Estimate]]:
        """(task, metric, subset, group) -> model -> estimate."""
        cells: dict[tuple[str, str, str, str], dict[str, Estimate]] = {}
        for row in self.evaluation.iter_rows(named=True):
            key = (row["task"], row["metric"], row["subset"], row["group"])
            cells.setdefault(key, {})[row["model"]] = _estimate(row, "estimate")
        return cells

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
    def confidence(self) -> float:
        """Of every interval: evaluation.confidence of the study file, 0.95 where it says nothing."""
        try:
            value = tomllib.loads(self.study).get("evaluation", {}).get("confidence", 0.95)
        except tomllib.TOMLDecodeError as error:
            raise LaborLLMError(f"{self.path / 'study.toml'}: is no TOML ({error}); run the study again") from error
        return float(value)

    @property
    def ci(self) -> str:
        """The name of the intervals, e.g. "95% CI"."""
        return f"{100 * self.confidence:g}% CI"

    def differences(self, metric: str) -> dict[tuple[str, str], Estimate]:
        """(a, b) -> a - b over all test person-years, for every pair in both directions."""
        found: dict[tuple[str, str], Estimate] = {}
        chosen = pl.col("task").eq("occupation") & pl.col("subset").eq("all") & pl.col("group").eq("all")
        for row in self.comparisons.filter(chosen & pl.col("metric").eq(metric)).iter_rows(named=True):
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
        """Covariate -> its groups, COVARIATE=VALUE, in the order of evaluation.csv; education from low to high."""
        groups = self.evaluation.filter(pl.col("task") == "occupation")["group"].unique(maintain_order=True)
        covariates: dict[str, list[str]] = {}
        for group in groups.drop_nulls():
            covariate, equals, _ = group.partition("=")
            if equals:
                covariates.setdefault(covariate, []).append(group)
        return {covariate: sorted(found, key=_level) for covariate, found in covariates.items()}

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
    """The value in COVARIATE=VALUE.

    Examples:
        >>> value_of("gender=female"), value_of("region=")
        ('female', 'missing')
    """
    return group.partition("=")[2].strip() or "missing"


def read_run(path: Path) -> RunFolder:
    """Read a run folder.

    Raises:
        LaborLLMError: careers.parquet or evaluation.csv is missing, or a file is not what a run writes.
    """
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


def _csv(folder: Path, name: str, *, required: bool = False) -> pl.DataFrame:
    """A CSV file of the run as a typed frame, without rows where the file is missing and not required."""
    words, numbers = COLUMNS[name]
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
    return frame.select(*words, *(_float(frame[column], path) for column in numbers))


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
    sizes = (None if row.get(column) is None else int(row[column]) for column in SIZE)
    return Estimate(value, row["std_error"], row["ci_low"], row["ci_high"], *sizes)
