"""Gaps between two groups split into what their characteristics explain and what they do not.

Kitagawa (1955), Oaxaca (1973), Blinder (1973), Neumark (1988); Jann, "The Blinder-Oaxaca decomposition for linear
regression models", Stata Journal 8(4), 2008. Descriptive: "unexplained" is not discrimination, "explained" not cause.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from laborllm.analysis.wages.least_squares import least_squares
from laborllm.errors import LaborLLMError

Reference = Literal["first", "second", "pooled"]


@dataclass(frozen=True)
class Decomposition:
    """A gap in mean outcomes, first group less second.

    Attributes:
        gap: mean of the first group less that of the second, e.g. log points.
        explained: part due to different characteristics, at the reference group's returns.
        unexplained: the rest, due to different returns and intercepts.
        terms: term, explained, unexplained: each regressor's parts; they sum to the two numbers above.
        first_people, second_people: behind the means.
    """

    gap: float
    explained: float
    unexplained: float
    terms: pl.DataFrame
    first_people: int
    second_people: int


def oaxaca_blinder(
    outcome: np.ndarray,
    regressors: np.ndarray,
    first: np.ndarray,
    *,
    names: Sequence[str],
    cluster: np.ndarray,
    weights: np.ndarray | None = None,
    reference: Reference = "pooled",
) -> Decomposition:
    """Twofold decomposition: gap = (mean x1 - mean x2)'b + [mean x1'(b1 - b) + mean x2'(b - b2)].

    Args:
        outcome: e.g. log wages, shape (rows,).
        regressors: with a column of ones, without the group itself, shape (rows, regressors).
        first: whether each row belongs to the first group, bool, shape (rows,).
        names: of the regressors.
        cluster: each row's person, shape (rows,).
        weights: of the rows; all equal if None.
        reference: whose returns b price characteristics: the first group's, the second's, or those of a regression
            on both with an indicator of the group (Jann 2008), whose own coefficient stays in the unexplained part.

    Raises:
        LaborLLMError: a group is empty, or a regression cannot be run in it; the message says why.
    """
    if not first.any() or first.all():
        raise LaborLLMError("a decomposition needs people of both groups with a known outcome; one group has none")
    rows = np.ones(len(outcome)) if weights is None else weights
    parts = [
        (np.average(outcome[of], weights=rows[of]), np.average(regressors[of], axis=0, weights=rows[of]), of)
        for of in (first, ~first)
    ]
    own = [
        least_squares(outcome[of], regressors[of], names=names, cluster=cluster[of], weights=rows[of]).coefficients
        for _, _, of in parts
    ]
    returns = _reference(outcome, regressors, first, names=names, cluster=cluster, weights=rows, own=own, how=reference)
    (mean_first, x_first, _), (mean_second, x_second, _) = parts
    explained = (x_first - x_second) * returns  # (regressors,)
    unexplained = x_first * (own[0] - returns) + x_second * (returns - own[1])
    return Decomposition(
        gap=float(mean_first - mean_second),
        explained=float(explained.sum()),
        unexplained=float(unexplained.sum()),
        terms=pl.DataFrame({"term": list(names), "explained": explained, "unexplained": unexplained}),
        first_people=len(np.unique(cluster[first])),
        second_people=len(np.unique(cluster[~first])),
    )


def _reference(
    outcome: np.ndarray,
    regressors: np.ndarray,
    first: np.ndarray,
    *,
    names: Sequence[str],
    cluster: np.ndarray,
    weights: np.ndarray,
    own: Sequence[np.ndarray],
    how: Reference,
) -> np.ndarray:
    """The coefficients that price characteristics, shape (regressors,)."""
    if how == "pooled":
        both = np.column_stack([regressors, first.astype(np.float64)])
        fit = least_squares(outcome, both, names=[*names, "first group"], cluster=cluster, weights=weights)
        return fit.coefficients[:-1]
    return own[0] if how == "first" else own[1]


def kitagawa(
    outcome: np.ndarray, cell: np.ndarray, first: np.ndarray, *, weights: np.ndarray | None = None
) -> tuple[float, float, float]:
    """Gap split over cells of characteristics, without a regression (Kitagawa 1955).

    gap = sum over cells of (share1 - share2)(mean1 + mean2) / 2 + (share1 + share2) / 2 (mean1 - mean2).

    Args:
        outcome: e.g. log wages, shape (rows,).
        cell: the cell of each row, whole numbers, shape (rows,); every cell must hold both groups.
        first: whether each row belongs to the first group, bool, shape (rows,).
        weights: of the rows; all equal if None.

    Returns:
        gap, explained (composition), unexplained (means within cells).

    Raises:
        LaborLLMError: a cell holds one group alone: nothing can be compared there.
    """
    rows = np.ones(len(outcome)) if weights is None else weights
    _, place = np.unique(cell, return_inverse=True)
    count = int(place.max()) + 1
    share, mean = np.empty((2, count)), np.empty((2, count))
    for group, of in enumerate((first, ~first)):
        total = np.bincount(place[of], weights=rows[of], minlength=count)
        if (total == 0).any():
            raise LaborLLMError(
                f"{int((total == 0).sum())} of {count} cells hold nobody of the {('first', 'second')[group]} group; "
                "use coarser cells or leave these people out"
            )
        mean[group] = np.bincount(place[of], weights=(rows * outcome)[of], minlength=count) / total
        share[group] = total / total.sum()
    explained = float(((share[0] - share[1]) * mean.mean(axis=0)).sum())
    unexplained = float((share.mean(axis=0) * (mean[0] - mean[1])).sum())
    return explained + unexplained, explained, unexplained
