"""The wage equation of Mincer (1974): which rows it can be run on, and its regressors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from laborllm.analysis.wages.history_features import Columns
from laborllm.errors import LaborLLMError
from laborllm.settings import Settings
from laborllm.survey.careers import EDUCATION, Careers, Step

SCHOOLING = dict(zip(EDUCATION, (10.0, 12.0, 14.0, 16.0, 18.0), strict=True))
"""Years of schooling taken for each level of education, where the study says nothing else."""
SCHOOL_AGE = 6
Kind = Literal["probabilities", "states"]


class WageSettings(Settings):
    """``[wages]``: log wages on the classic specification, on hand-made histories, on representations of models.

    Attributes:
        models: of the study, whose representations of histories are used; all of them if none is named.
        representations: "probabilities", those of the row's occupation given what came before it, in logs; "states",
            the hidden states of models that have some.
        components: principal components of each representation, fitted on training rows.
        penalties: of ridge, in rows, from which validation people choose.
        schooling: years of schooling of each level of education.
    """

    models: tuple[str, ...] = ()
    representations: tuple[Kind, ...] = Field(default=("probabilities", "states"), min_length=1)
    components: int = Field(default=50, ge=1)
    penalties: tuple[float, ...] = Field(
        default=(0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0, 1_000_000.0), min_length=1
    )
    schooling: dict[str, float] = SCHOOLING


@dataclass(frozen=True)
class WageRows:
    """The person-years of careers on which a wage equation is run.

    Attributes:
        careers: whole careers, as they were.
        rows: positions of the person-years that are used, shape (rows,).
        log_wage: their log hourly wage, log dollars, shape (rows,).
        experience: potential experience, years: age less schooling less 6, at least 0, shape (rows,).
        steps: how the sample came about.
    """

    careers: Careers
    rows: np.ndarray
    log_wage: np.ndarray
    experience: np.ndarray
    steps: tuple[Step, ...]

    @property
    def person(self) -> np.ndarray:
        """Index of each row's person in the careers, shape (rows,)."""
        return self.careers.person_of_row[self.rows]

    def part(self, name: str) -> np.ndarray:
        """Whether each row is of a part of the split, bool, shape (rows,)."""
        return (self.careers.table["split"][self.rows] == name).to_numpy()


def wage_rows(careers: Careers, schooling: Mapping[str, float]) -> WageRows:
    """Person-years with a job, a positive wage, a known education and year of birth; others are left out and counted.

    Raises:
        LaborLLMError: the careers have no wages, none is left, or a level of education has no years of schooling.
    """
    if "wage" not in careers.table.columns:
        raise LaborLLMError(
            "the careers have no column wage; set survey.wage = true (nlsy79, nlsy97, psid), or give the table one"
        )
    table = careers.table
    unknown = sorted(set(table["education"].drop_nulls().unique()) - set(schooling))
    if unknown:
        raise LaborLLMError(
            f"wages.schooling has no years for the education {unknown[0]!r}; give each of {unknown} a number"
        )
    job = ~np.array(careers.occupations.is_state)[careers.occupation]
    wage = table["wage"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    years = table["education"].replace_strict(schooling, default=None, return_dtype=pl.Float64)
    years_known = years.fill_null(np.nan).to_numpy()
    age = (table["year"] - table["birth_year"]).cast(pl.Float64).fill_null(np.nan).to_numpy()
    experience = np.maximum(age - years_known - SCHOOL_AGE, 0)
    kept, steps = np.ones(len(careers), dtype=bool), [Step("all rows", careers.people, len(careers))]
    for what, sound in (
        ("without a job", job),
        ("without a positive wage", np.isfinite(wage) & (wage > 0)),
        ("without a known education", np.isfinite(years_known)),
        ("without a known year of birth", np.isfinite(age)),
    ):
        lost = kept & ~sound
        steps.append(Step(f"dropped: {what}", len(np.unique(careers.person_of_row[lost])), int(lost.sum()), "dropped"))
        kept &= sound
    rows = np.flatnonzero(kept)
    if not len(rows):
        raise LaborLLMError("no person-year has a job, a positive wage, a known education and year of birth")
    steps.append(Step("rows of the wage equations", len(np.unique(careers.person_of_row[rows])), len(rows)))
    return WageRows(careers, rows, np.log(wage[rows]), experience[rows], tuple(steps))


def mincer_columns(wages: WageRows, *, without: tuple[str, ...] = ()) -> Columns:
    """Schooling levels, potential experience and its square, gender, ethnicity, region, year; a constant first.

    Of every covariate in words the commonest level is left out; a missing value is a level of its own.

    Args:
        wages: the rows.
        without: covariates that are left out, e.g. the one whose gap is decomposed.
    """
    table = wages.careers.table[wages.rows]
    experience = wages.experience
    found = Columns(
        ("constant", "experience", "experience²"),
        np.column_stack([np.ones(len(experience)), experience, experience**2]),
    )
    for name in ("education", "gender", "ethnicity", "region", "year"):
        if name not in without:
            found = found.beside(_levels(table[name]))
    return found


def _levels(values: pl.Series) -> Columns:
    """An indicator for every level but the commonest."""
    words = values.cast(pl.String).fill_null("missing")
    counts = words.value_counts().sort(["count", words.name], descending=[True, False])
    levels = sorted(counts[words.name][1:].to_list())
    indicators = [(words == level).to_numpy().astype(np.float64) for level in levels]
    stacked = np.column_stack(indicators) if indicators else np.empty((len(words), 0))
    return Columns(tuple(f"{words.name}: {level}" for level in levels), stacked)
