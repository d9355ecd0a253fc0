"""The multinomial log-likelihood on sparse features, its gradient and the diagonal of its curvature."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

BLOCK = 2048
"""Rows whose probabilities are held at a time."""


@dataclass(frozen=True)
class Similarity:
    """A variable of the alternatives that enters their logits with few coefficients: s_ik = (d_i · g) a_ik.

    Attributes:
        table: values a by origin and alternative, shape (origins, alternatives).
        origin: which row of the table holds for each row, shape (rows,).
        design: what the coefficient varies with, d; one column of ones for a single coefficient; shape (rows, columns).
    """

    table: sparse.csr_array
    origin: np.ndarray
    design: sparse.csr_array

    def entries(self, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, counted from the first of these, alternative and value of what is not zero, each (entries,)."""
        table = self.table[self.origin[rows]]
        return np.repeat(np.arange(table.shape[0]), np.diff(table.indptr)), table.indices, table.data

    def rows(self, rows: np.ndarray) -> "Similarity":
        """The variable of some rows."""
        return Similarity(self.table, self.origin[rows], self.design[rows])


@dataclass(frozen=True)
class Coefficients:
    """What is estimated.

    Attributes:
        by_outcome: one coefficient per feature and outcome, float64, shape (features, outcomes).
        similarity: of the similarity variables' columns, one variable after the other, float64, shape (columns,).
    """

    by_outcome: np.ndarray
    similarity: np.ndarray

    def flat(self) -> np.ndarray:
        """All of them in one array, shape (features * outcomes + columns,)."""
        return np.concatenate([self.by_outcome.ravel(), self.similarity])


@dataclass(frozen=True)
class Choices:
    """Rows of features and what was chosen in each.

    Attributes:
        features: shape (rows, features); its type, float32 or float64, is that of the arithmetic.
        offset: logits before any feature, shape (outcomes,).
        similarities: variables of the alternatives.
        excluded: the outcome that is impossible in each row, -1 for none, shape (rows,).
        chosen: the outcome of each row, shape (rows,).
    """

    features: sparse.csr_array
    offset: np.ndarray
    similarities: tuple[Similarity, ...]
    excluded: np.ndarray
    chosen: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Features and outcomes."""
        return self.features.shape[1], len(self.offset)

    @property
    def columns(self) -> int:
        """Coefficients of the similarity variables."""
        return sum(each.design.shape[1] for each in self.similarities)

    def zeros(self) -> Coefficients:
        """Coefficients that leave the offset as it is."""
        return Coefficients(np.zeros(self.shape), np.zeros(self.columns))

    def unflat(self, flat: np.ndarray) -> Coefficients:
        """What ``Coefficients.flat`` made one array."""
        features, outcomes = self.shape
        return Coefficients(flat[: features * outcomes].reshape(features, outcomes), flat[features * outcomes :])

    def blocks(self) -> Iterator[slice]:
        """Stretches of at most ``BLOCK`` rows."""
        rows = self.features.shape[0]
        return (slice(first, min(first + BLOCK, rows)) for first in range(0, rows, BLOCK))

    def logits(self, rows: slice, coefficients: Coefficients) -> np.ndarray:
        """Logits of some rows, minus infinity where excluded, shape (rows, outcomes)."""
        kind = self.features.dtype
        logits = self.features[rows] @ coefficients.by_outcome.astype(kind, copy=False)  # (rows, outcomes)
        logits += self.offset.astype(kind)
        for each, part in zip(self.similarities, self.parts(coefficients.similarity), strict=True):
            row, column, value = each.entries(rows)
            logits[row, column] += ((each.design[rows] @ part)[row] * value).astype(kind)
        out = self.excluded[rows]
        barred = np.flatnonzero(out >= 0)
        logits[barred, out[barred]] = -np.inf
        return logits

    def loss(self, coefficients: Coefficients) -> tuple[float, Coefficients]:
        """Negative log-likelihood in nats, summed over rows, and its gradient."""
        total, gradient = 0.0, self.zeros()
        weights = Coefficients(coefficients.by_outcome.astype(self.features.dtype), coefficients.similarity)
        for rows in self.blocks():
            residual = self.logits(rows, weights)  # (rows, outcomes)
            chosen = self.chosen[rows]
            total -= float(log_softmax(residual, chosen).sum(dtype=np.float64))
            residual[np.arange(len(chosen)), chosen] -= 1
            gradient.by_outcome[...] += self.features[rows].T @ residual
            for each, part in zip(self.similarities, self.parts(gradient.similarity), strict=True):
                row, column, value = each.entries(rows)
                push = np.bincount(row, residual[row, column] * value, len(chosen))  # (rows,)
                part += each.design[rows].T @ push
        return total, gradient

    def curvature(self, coefficients: Coefficients) -> Coefficients:
        """The diagonal of the Hessian of ``loss``; of a similarity variable that several outcomes have, a bound."""
        diagonal = self.zeros()
        weights = Coefficients(coefficients.by_outcome.astype(self.features.dtype), coefficients.similarity)
        for rows in self.blocks():
            chances = self.logits(rows, weights)
            log_softmax(chances, self.chosen[rows])
            chances *= 1 - chances
            diagonal.by_outcome[...] += self.features[rows].power(2).T @ chances
            for each, part in zip(self.similarities, self.parts(diagonal.similarity), strict=True):
                row, column, value = each.entries(rows)
                push = np.bincount(row, chances[row, column] * value**2, len(chances))  # (rows,)
                part += each.design[rows].power(2).T @ push
        return diagonal

    def parts(self, similarity: np.ndarray) -> list[np.ndarray]:
        """Each similarity variable's coefficients, views of one array."""
        ends = np.cumsum([each.design.shape[1] for each in self.similarities])
        return np.split(similarity, ends[:-1]) if self.similarities else []


def log_softmax(logits: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities where they stand; give the chosen outcomes' log-probabilities, shape (rows,)."""
    logits -= logits.max(axis=1, keepdims=True)
    picked = logits[np.arange(len(chosen)), chosen]
    np.exp(logits, out=logits)
    mass = logits.sum(axis=1, keepdims=True)
    logits /= mass
    return picked - np.log(mass[:, 0])
