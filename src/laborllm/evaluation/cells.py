"""Cells: the subsets (by transition type) and groups (by covariate) within which metrics are reported."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import COVARIATES, Careers

SUBSETS = ("first", "stay", "move")
GROUPINGS = (*COVARIATES, "survey", "cohort")
"""What ``EvaluationSettings.by`` may name."""
COHORT_YEARS = 5
"""Years of birth in a cohort."""


@dataclass(frozen=True)
class Cell:
    """Some person-years of the test sample.

    Attributes:
        subset: "all", "first", "stay" or "move".
        group: "all" or "COVARIATE=VALUE".
        rows: whether each person-year belongs, bool, shape (person_years,).
    """

    subset: str
    group: str
    rows: np.ndarray


def find_cells(careers: Careers, by: Sequence[str]) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    """All person-years, the transition types, and every value of each grouping; with notes on what is left out.

    Raises:
        LaborLLMError: a name in ``by`` is no grouping of these careers.
    """
    cells, notes = [Cell("all", "all", np.ones(len(careers), dtype=bool))], []
    cells += [Cell(subset, "all", careers.transition == subset) for subset in SUBSETS]
    for name in by:
        values = group_values(careers, name)
        if values.null_count() == len(values):
            notes.append(f"{name}: no groups, the value is missing in every row")
        else:
            cells += _groups(values)
    return tuple(cell for cell in cells if cell.rows.any()), tuple(notes)


def group_values(careers: Careers, name: str) -> pl.Series:
    """The group of every person-year under one of ``GROUPINGS``: words, null where missing, shape (person_years,).

    A cohort is five years of birth, "1955-1959"; every other grouping is the column of that name.

    Raises:
        LaborLLMError: the name is no grouping, or the careers lack its column.

    Examples:
        >>> from laborllm.survey.door import careers_from_frame
        >>> from laborllm.survey.occupations import Occupations
        >>> cooks = Occupations(codes=("436",), titles=("Cooks",), groups=("food",))
        >>> frame = pl.DataFrame({"person": [1, 2], "year": 1985, "occupation": "436", "birth_year": [1959, None]})
        >>> group_values(careers_from_frame(frame, cooks), "cohort").to_list()
        ['1955-1959', None]
    """
    columns = careers.table.columns
    allowed = [each for each in GROUPINGS if _column(each) in columns]
    if name not in allowed:
        raise LaborLLMError(f"evaluation.by: {name!r} is no covariate of these careers; use {', '.join(allowed)}")
    values = careers.table[_column(name)]
    if name == "cohort":
        first = values // COHORT_YEARS * COHORT_YEARS
        values = first.cast(pl.String) + "-" + (first + COHORT_YEARS - 1).cast(pl.String)
    return values.cast(pl.String).alias(name)


def _column(name: str) -> str:
    return "birth_year" if name == "cohort" else name


def _groups(values: pl.Series) -> list[Cell]:
    """One cell per value in sorted order, missing last; a value that reads "missing" is the same as none."""
    words = values.fill_null("missing")
    names = sorted(words.unique().to_list(), key=lambda value: (value == "missing", value))
    return [Cell("all", f"{values.name}={value}", words.eq(value).to_numpy()) for value in names]


def people_in(rows: np.ndarray, person: np.ndarray) -> int:
    """Number of people with at least one of the chosen rows; ``rows`` and ``person`` have shape (person_years,)."""
    return len(np.unique(person[rows]))
