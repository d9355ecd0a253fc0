"""What trees are grown on: one column a variable, a number each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse

from laborllm.models.regression.features import WORDS, Histories
from laborllm.models.regression.terms import HELD
from laborllm.survey.careers import EDUCATION

ABSENT = -1.0
"""A missing value, a level that training did not have, and what precedes a first row."""


@dataclass(frozen=True)
class TreeFeatures:
    """Variables as columns of numbers, as training had them.

    An occupation is its position in the closed list, which is in the order of the codes and so keeps related ones
    together. A covariate in words is its place among the levels of training, education from low to high.

    Attributes:
        terms: in the order of the columns; "held" has one column an occupation.
        levels: covariate in words -> its levels in training, in order.
    """

    terms: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, terms: Sequence[str], train: Histories) -> "TreeFeatures":
        """Read the levels off the training rows."""
        levels = {}
        for term in (term for term in terms if term in WORDS):
            present = train.words(term).cast(pl.String).drop_nulls().unique().to_list()
            levels[term] = tuple(sorted(present, key=_by_schooling))
        return cls(tuple(terms), levels)

    def matrix(self, histories: Histories) -> tuple[sparse.csr_array, dict[str, int]]:
        """The columns of careers.

        Returns:
            float32, shape (person_years, columns), and term -> rows with a level that training did not have.
        """
        columns, unseen = [], {}
        for term in self.terms:
            if term == HELD:
                columns.append(histories.held)
                continue
            column = self._places(term, histories) if term in WORDS else np.asarray(getattr(histories, term))
            known = histories.words(term).is_not_null().to_numpy() if term in WORDS else False
            unseen[term] = int(((column == ABSENT) & known).sum())
            column = np.where(np.isnan(column.astype(np.float64)), ABSENT, column)
            columns.append(sparse.csr_array(column[:, None]))
        matrix = sparse.csr_array(sparse.hstack(columns, format="csr", dtype=np.float32))
        return matrix, {term: rows for term, rows in unseen.items() if rows}

    def _places(self, term: str, histories: Histories) -> np.ndarray:
        """Place of each row's level, shape (person_years,)."""
        levels = self.levels[term]
        words = histories.words(term).cast(pl.String)
        if not levels:
            return np.full(len(words), ABSENT)
        places = words.replace_strict(levels, range(len(levels)), default=ABSENT, return_dtype=pl.Float64)
        return places.fill_null(ABSENT).to_numpy()


def _by_schooling(level: str) -> tuple[int, str]:
    """Education from low to high, other words by the alphabet behind."""
    return (EDUCATION.index(level) if level in EDUCATION else len(EDUCATION), level)
