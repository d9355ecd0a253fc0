"""Which variable of a survey measures what in which year: tables that a user extends without touching code.

A table is a CSV with the columns concept, year, reference and questions. ``concept`` is a word of the reader,
``year`` the survey year as the survey writes it, ``reference`` the survey's own number of the variable, and
``questions`` the names, parted by spaces, that a header may bear instead. The tables that come with the package are
``data/nlsy79_variables.csv``, ``data/nlsy97_variables.csv`` and ``data/psid_variables.csv``; they may have further
columns, such as the source of a reference number.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.tables.files import read_frame

COLUMNS = ("concept", "year", "reference", "questions")
REFERENCE = re.compile(r"[A-Z]+[0-9]+[A-Z]?[0-9]*")
"""A survey's own number of a variable, as R0216701, V3529 and ER21145."""
_DATA = Path(__file__).with_name("data")


def question_key(question: str) -> str:
    """A question name as headers write it: capitals, every mark an underscore.

    Examples:
        >>> question_key("Q1-3_A~Y")
        'Q1_3_A_Y'
    """
    return re.sub(r"[^A-Z0-9]+", "_", question.upper())


def _names(year: str, reference: str | None, questions: str | None) -> list[str]:
    """The names under which a file may hold the variable of one row."""
    names = [f"{question_key(question)}_{year}" for question in (questions or "").split()]
    return [*names, *([reference] if reference else [])]


@dataclass(frozen=True)
class VariableTable:
    """The variables of a survey that make a career.

    Attributes:
        rows: columns ``COLUMNS`` and any others, all text; one row per concept, year and reference.
        own: concept and year of the rows that a user gave.
    """

    rows: pl.DataFrame
    own: tuple[tuple[str, str], ...] = ()

    @cached_property
    def meaning(self) -> dict[str, tuple[str, str]]:
        """Reference, or question name with its year (``QUESTION_1979``) -> concept and year."""
        return {name: row[:2] for row in self.rows.select(COLUMNS).iter_rows() for name in _names(*row[1:])}

    @cached_property
    def questions(self) -> dict[str, frozenset[str]]:
        """Reference -> the question names that the table gives it, as ``question_key`` writes them."""
        pairs = self.rows.select("reference", "questions").drop_nulls("reference")
        return {name: frozenset(map(question_key, (words or "").split())) for name, words in pairs.iter_rows()}

    def tagset(self, person: str) -> list[str]:
        """The reference numbers of the table in order, the one of the person's id first: the lines of a tagset.

        Examples:
            >>> read_variables("nlsy79").tagset("R0000100")[:3]
            ['R0000100', 'R0000500', 'R0046400']
        """
        return [person, *sorted(set(self.rows["reference"].drop_nulls()) - {person})]

    def years(self, concept: str) -> list[str]:
        """The years for which the table names a variable of the concept, in order.

        Examples:
            >>> read_variables("nlsy79").years("race")
            ['78SCRN']
        """
        return sorted(set(self.rows.filter(pl.col("concept") == concept)["year"]))


def read_variables(survey: str, extra: Path | None = None, concepts: Collection[str] = ()) -> VariableTable:
    """The table that comes with the package, with a user's rows in it.

    Args:
        survey: "nlsy79", "nlsy97" or "psid".
        extra: a CSV with the same columns (questions may be left out). Its rows replace those of the same concept and
            year, and are added where there are none.
        concepts: words that the reader knows besides those of the table that comes with the package.

    Raises:
        LaborLLMError: as ``read_frame``; or a column is missing, or a row has an unknown concept, no year, no name or
            no reference number where one should be, or a name that stands for something else too.
    """
    shipped = pl.read_csv(_DATA / f"{survey}_variables.csv", infer_schema=False)
    if extra is None:
        return VariableTable(shipped)
    rows = _read_extra(extra, known=sorted({*shipped["concept"], *concepts}))
    replaced = shipped.join(rows, on=("concept", "year"), how="anti", maintain_order="left")
    _require_one_meaning(rows, VariableTable(replaced), extra)
    own = tuple(rows.select("concept", "year").iter_rows())
    return VariableTable(pl.concat([replaced, rows], how="diagonal"), own)


def _read_extra(path: Path, known: list[str]) -> pl.DataFrame:
    rows = read_frame(path).cast(pl.String)
    missing = [column for column in COLUMNS[:3] if column not in rows.columns]
    if missing:
        raise LaborLLMError(
            f"{path}: column {missing[0]!r} is missing; the columns are {', '.join(rows.columns)}; "
            f"give {', '.join(COLUMNS)}"
        )
    rows = rows.select(rows[name] if name in rows.columns else pl.lit(None, pl.String).alias(name) for name in COLUMNS)
    rows = rows.with_columns(pl.col(pl.String).str.strip_chars().replace("", None))
    rows = rows.with_columns(pl.col("reference").str.to_uppercase().str.replace_all(".", "", literal=True))
    for number, (concept, year, reference, questions) in enumerate(rows.iter_rows(), start=1):
        if concept not in known:
            raise LaborLLMError(f"{path}, column concept, row {number}: {concept!r} is none of {', '.join(known)}")
        if year is None or not re.fullmatch(r"\d{4}|XRND|78SCRN", year):
            raise LaborLLMError(f"{path}, column year, row {number}: {year!r} is no survey year such as 2024 or XRND")
        if reference is None and questions is None:
            raise LaborLLMError(f"{path}, row {number}: {concept} {year} has neither reference nor questions; give one")
        if reference is not None and not REFERENCE.fullmatch(reference):
            raise LaborLLMError(
                f"{path}, column reference, row {number}: {reference!r} is no reference number such as R0216701; mend "
                f"it, or give the question's name in questions"
            )
    return rows


def _require_one_meaning(rows: pl.DataFrame, others: VariableTable, path: Path) -> None:
    meaning = dict(others.meaning)
    for number, (concept, year, reference, questions) in enumerate(rows.iter_rows(), start=1):
        for name in _names(year, reference, questions):
            known = meaning.setdefault(name, (concept, year))
            if known != (concept, year):
                raise LaborLLMError(
                    f"{path}, row {number}: {name} is {concept} of {year}, but already {' of '.join(known)}; "
                    f"give each variable one meaning"
                )
