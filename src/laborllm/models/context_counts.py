"""Counts of occupations within contexts of any kind, shrunk towards a coarser distribution."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class ContextCounts:
    """How often each occupation was seen in each context.

    A context is a whole number that stands for what is conditioned on, e.g. the last two occupations.

    Attributes:
        contexts: those that were seen, ascending, int64, shape (contexts,).
        counts: observations, shape (contexts, occupations).
    """

    contexts: np.ndarray
    counts: sparse.csr_array

    @classmethod
    def of_rows(cls, context: np.ndarray, occupation: np.ndarray, occupations: int) -> "ContextCounts":
        """Count rows.

        Args:
            context: shape (person_years,).
            occupation: position of the occupation, shape (person_years,).
            occupations: length of the closed list.
        """
        contexts, place = np.unique(context, return_inverse=True)
        ones = (np.ones(len(place)), (place, occupation))
        return cls(contexts, sparse.csr_array(sparse.coo_array(ones, shape=(len(contexts), occupations))))

    def place(self, context: np.ndarray) -> np.ndarray:
        """Position of each row's context, -1 where it was never seen, shape (rows,)."""
        if not len(self.contexts):
            return np.full(len(context), -1)
        place = np.minimum(np.searchsorted(self.contexts, context), len(self.contexts) - 1)
        return np.where(self.contexts[place] == context, place, -1)

    def shrunk(self, context: np.ndarray, towards: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Posterior mean under a Dirichlet prior around a distribution: (n_ck + w q_k) / (n_c + w).

        Args:
            context: shape (rows,).
            towards: the distribution q of each row, shape (rows, occupations).
            weight: observations that it counts for, above 0, shape (rows,).

        Returns:
            probabilities, float64, shape (rows, occupations); where the context was never seen, q itself.
        """
        place, answer = self.place(context), towards.copy()
        seen = np.flatnonzero(place >= 0)
        counts, w = self.counts[place[seen]].toarray(), weight[seen, None]
        answer[seen] = (counts + w * towards[seen]) / (counts.sum(axis=1, keepdims=True) + w)
        return answer  # (rows, occupations)

    def of(self, context: np.ndarray, occupation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Observations of each row's occupation in its context, and of all occupations there, each (rows,)."""
        place = self.place(context)
        seen = np.flatnonzero(place >= 0)
        realised, total = np.zeros(len(context)), np.zeros(len(context))
        if len(seen):
            realised[seen] = self.counts[place[seen], occupation[seen]]
            total[seen] = self.counts.sum(axis=1)[place[seen]]
        return realised, total
