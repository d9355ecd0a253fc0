"""What a row's history and covariates say, as arrays: what the logit, boosting and the bag of jobs read.

Nothing here looks beyond the row it describes: the occupation of a row enters only the rows after it. The year and the
education of the row itself are known, as the estimand has it (LABOR-LLM, arXiv 2406.17972; CAREER, arXiv 2202.08370).
The names are those of the published regression's inputs (public CAREER code).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from scipy import sparse

from laborllm.survey.careers import Careers

WORDS = ("education", "gender", "ethnicity", "region", "survey")
"""Covariates in words; a missing value is a level of its own."""


@dataclass(frozen=True)
class Histories:
    """What each person-year of careers has behind it, in the order of their rows.

    Attributes:
        careers: the careers that are described.
    """

    careers: Careers

    @property
    def previous(self) -> np.ndarray:
        """Position of the last observed occupation, -1 in a first row, int64, shape (person_years,)."""
        return self.careers.previous

    @cached_property
    def before(self) -> np.ndarray:
        """Position of the occupation one row before the previous one, -1 where there is none, shape (person_years,)."""
        before = np.full(len(self.careers), -1, dtype=np.int64)
        before[2:] = self.careers.occupation[:-2]
        before[self.index < 2] = -1
        return before

    @cached_property
    def index(self) -> np.ndarray:
        """Number of earlier rows, 0 in a first row, int64, shape (person_years,)."""
        starts = self.careers.starts[:-1]
        return np.arange(len(self.careers)) - starts[self.careers.person_of_row]

    @cached_property
    def tenure(self) -> np.ndarray:
        """Earlier rows in the previous occupation without a break, 0 in a first row, int64, shape (person_years,)."""
        return np.where(self.index > 0, np.arange(len(self.careers)) - self._spell, 0)

    @cached_property
    def tenure_years(self) -> np.ndarray:
        """Calendar years since the current spell's first row, 0 in a first row, int64, shape (person_years,)."""
        return np.where(self.index > 0, self.year - self.year[self._spell], 0)

    @cached_property
    def years_observed(self) -> np.ndarray:
        """Calendar years since the person's first row, int64, shape (person_years,)."""
        return self.year - self.year[self.careers.starts[:-1]][self.careers.person_of_row]

    @cached_property
    def gap(self) -> np.ndarray:
        """Whether a calendar year or more lies between this row and the previous one, bool, shape (person_years,)."""
        return self._since_previous > 1

    @cached_property
    def education_changed(self) -> np.ndarray:
        """Whether education is not that of the previous row, bool, False in a first row, shape (person_years,)."""
        changed = self.careers.table.select(pl.col("education").ne_missing(pl.col("education").shift()))
        return changed["education"].to_numpy() & (self.index > 0)

    @cached_property
    def year(self) -> np.ndarray:
        """Calendar year of the row, int64, shape (person_years,)."""
        return self.careers.table["year"].to_numpy().astype(np.int64)

    @cached_property
    def birth_year(self) -> np.ndarray:
        """Year of birth, -1 where it is missing, int64, shape (person_years,)."""
        return self.careers.table["birth_year"].fill_null(-1).to_numpy().astype(np.int64)

    @cached_property
    def age(self) -> np.ndarray:
        """Year less year of birth, not a number where that is missing, float64, shape (person_years,)."""
        return np.where(self.birth_year < 0, np.nan, self.year - self.birth_year)

    def words(self, name: str) -> pl.Series:
        """A covariate of ``WORDS``, null where it is missing, shape (person_years,)."""
        return self.careers.table[name]

    @cached_property
    def held(self) -> sparse.csr_array:
        """Number of earlier rows of the person in each occupation, float64, shape (person_years, occupations)."""
        earlier = self.index
        ends = np.append(0, np.cumsum(earlier))
        within = np.arange(ends[-1]) - np.repeat(ends[:-1], earlier)
        first = self.careers.starts[:-1][self.careers.person_of_row]
        column = self.careers.occupation[np.repeat(first, earlier) + within]  # (pairs of a row and an earlier one,)
        shape = (len(self.careers), len(self.careers.occupations))
        held = sparse.csr_array((np.ones(len(column)), column, ends), shape=shape)
        held.sum_duplicates()
        return held

    @cached_property
    def distinct(self) -> np.ndarray:
        """Number of different occupations held in earlier rows, 0 in a first row, int64, shape (person_years,)."""
        return np.diff(self.held.indptr).astype(np.int64)

    @property
    def _spell(self) -> np.ndarray:
        """The row in which the previous row's spell began; a first row itself; shape (person_years,)."""
        rows = np.arange(len(self.careers))
        begins = self.careers.previous != self.careers.occupation  # first rows begin a spell too
        begun = np.maximum.accumulate(np.where(begins, rows, 0))
        return np.where(self.index > 0, np.append(0, begun[:-1]), rows)

    @cached_property
    def _since_previous(self) -> np.ndarray:
        """Calendar years since the previous row, 0 in a first row, shape (person_years,)."""
        return np.where(self.index > 0, np.diff(self.year, prepend=self.year[:1]), 0)
