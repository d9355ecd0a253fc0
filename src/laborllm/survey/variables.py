"""Which variable of a survey measures what in which year: tables that a user extends without touching code.

A table is a CSV with the columns concept, year, reference and questions. ``concept`` is a word of the reader,
``year`` the survey year as the survey writes it, ``reference`` the survey's own number of the variable, and
``questions`` the names, parted by spaces, that a header may bear instead. The tables that come with the package are
``data/nlsy79_variables.csv``, ``data/nlsy97_variables.csv`` and ``data/psid_variables.csv``.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError

COLUMNS = ("concept", "year", "reference", "questions")
_DATA = Path(__file__).with_name("data")


def question_key(question: str) -> str:
    """A question name as headers write it: capitals, every mark an underscore.

    Examples:
        >>> question_key("Q1-3_A~Y")
        'Q1_3_A_Y'
    """
    return re.sub(r"[^A-Z0-9]+", "_", question.upper())


@dataclass(frozen=True)
class VariableTable:
    """The variables of a survey that make a career.

    Attributes:
        rows: columns ``COLUMNS``, all text; one row per concept, year and reference.
    """

    rows: pl.DataFrame

    @cached_property
    def meaning(self) -> dict[str, tuple[str, str]]:
        """Reference, or question name with its year (``QUESTION_1979``) -> concept and year."""
        found: dict[str, tuple[str, str]] = {}
        for concept, year, reference, questions in self.rows.select(COLUMNS).iter_rows():
            names = [f"{question_key(question)}_{year}" for question in (questions or "").split()]
            found |= dict.fromkeys([*names, *([reference] if reference else [])], (concept, year))
        return found

    def years(self, concept: str) -> list[str]:
        """The years for which the table names a variable of the concept, in order.

        Examples:
            >>> read_variables("nlsy79").years("race")
            ['78SCRN']
        """
        return sorted(set(self.rows.filter(pl.col("concept") == concept)["year"]))


def read_variables(survey: str, extra: Path | None = None) -> VariableTable:
    """The table that comes with the package, with a user's rows in it.

    Args:
        survey: "nlsy79", "nlsy97" or "psid".
        extra: a CSV with the same columns (questions may be left out). Its rows replace those of the same concept and
            year, and are added where there are none.

    Raises:
        LaborLLMError: the file is missing or no such CSV, or a row has an unknown concept, no year or no name.
    """
    shipped = pl.read_csv(_DATA / f"{survey}_variables.csv", infer_schema=False)
    if extra is None:
        return VariableTable(shipped)
    rows = _read_extra(extra, known=sorted(set(shipped["concept"])))
    replaced = shipped.join(rows, on=("concept", "year"), how="anti", maintain_order="left")
    return VariableTable(pl.concat([replaced, rows]))


def _read_extra(path: Path, known: list[str]) -> pl.DataFrame:
    try:
        rows = pl.read_csv(path, infer_schema=False, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise LaborLLMError(
            f"{path}: cannot be read as CSV ({reason}); give the columns {', '.join(COLUMNS)}"
        ) from error
    missing = [column for column in COLUMNS[:3] if column not in rows.columns]
    if missing:
        raise LaborLLMError(
            f"{path}: column {missing[0]!r} is missing; the columns are {', '.join(rows.columns)}; "
            f"give {', '.join(COLUMNS)}"
        )
    rows = rows.select(rows[name] if name in rows.columns else pl.lit(None, pl.String).alias(name) for name in COLUMNS)
    rows = rows.with_columns(pl.col(pl.String).str.strip_chars().replace("", None))
    for number, (concept, year, reference, questions) in enumerate(rows.iter_rows(), start=1):
        if concept not in known:
            raise LaborLLMError(f"{path}, column concept, row {number}: {concept!r} is none of {', '.join(known)}")
        if year is None or not re.fullmatch(r"\d{4}|XRND|78SCRN", year):
            raise LaborLLMError(f"{path}, column year, row {number}: {year!r} is no survey year such as 2024 or XRND")
        if reference is None and questions is None:
            raise LaborLLMError(f"{path}, row {number}: {concept} {year} has neither reference nor questions; give one")
    return rows.with_columns(pl.col("reference").str.to_uppercase().str.replace_all(".", "", literal=True))
