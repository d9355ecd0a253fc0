"""Ordinary and weighted least squares with standard errors clustered by person."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

from laborllm.errors import LaborLLMError


@dataclass(frozen=True)
class LinearFit:
    """Coefficients of a linear regression.

    Attributes:
        names: of the regressors, shape (regressors,).
        coefficients: in units of the outcome per unit of the regressor, shape (regressors,).
        covariance: of the coefficients, clustered (CR1: times G / (G - 1) times (n - 1) / (n - k), as Stata's
            ``vce(cluster)``), shape (regressors, regressors).
        rows: observations.
        clusters: people.
        r_squared: share of the (weighted) variance of the outcome that is explained, in the sample.
    """

    names: tuple[str, ...]
    coefficients: np.ndarray
    covariance: np.ndarray
    rows: int
    clusters: int
    r_squared: float

    def tidy(self, confidence: float = 0.95) -> pl.DataFrame:
        """term, estimate, std_error, statistic, p_value, ci_low, ci_high; t with clusters - 1 degrees of freedom."""
        error = np.sqrt(np.diag(self.covariance))
        freedom = self.clusters - 1
        away = stats.t.ppf((1 + confidence) / 2, freedom) * error
        with np.errstate(divide="ignore", invalid="ignore"):  # an exact fit has no error
            statistic = self.coefficients / error
        return pl.DataFrame(
            {
                "term": self.names,
                "estimate": self.coefficients,
                "std_error": error,
                "statistic": statistic,
                "p_value": 2 * stats.t.sf(np.abs(statistic), freedom),
                "ci_low": self.coefficients - away,
                "ci_high": self.coefficients + away,
            }
        )


def least_squares(
    outcome: np.ndarray,
    regressors: np.ndarray,
    *,
    names: Sequence[str],
    cluster: np.ndarray,
    weights: np.ndarray | None = None,
) -> LinearFit:
    """Fit outcome = regressors @ coefficients + error.

    Args:
        outcome: e.g. log wages, shape (rows,).
        regressors: with a column of ones where an intercept is wanted, shape (rows, regressors).
        names: of the regressors.
        cluster: each row's person, whole numbers, shape (rows,).
        weights: of the rows, positive, e.g. survey weights; all equal if None.

    Raises:
        LaborLLMError: a number is not finite, regressors are collinear, or there are fewer than two people.

    Examples:
        >>> x = np.column_stack([np.ones(4), [0.0, 1.0, 0.0, 1.0]])
        >>> y = np.array([1.0, 3.0, 1.2, 3.4])
        >>> least_squares(y, x, names=["constant", "union"], cluster=np.arange(4)).coefficients.round(2).tolist()
        [1.1, 2.1]
    """
    _require_numbers(outcome, regressors, names)
    root = np.ones(len(outcome)) if weights is None else np.sqrt(weights)
    x, y = regressors * root[:, None], outcome * root  # (rows, regressors), (rows,)
    _require_rank(x, names)
    coefficients = np.linalg.lstsq(x, y, rcond=None)[0]
    bread = np.linalg.inv(x.T @ x)
    residual = y - x @ coefficients
    _, person = np.unique(cluster, return_inverse=True)
    people = int(person.max()) + 1
    if people < 2:
        raise LaborLLMError("a regression with standard errors clustered by person needs at least two people")
    scores = np.zeros((people, x.shape[1]))
    np.add.at(scores, person, x * residual[:, None])
    rows, count = x.shape
    scale = people / (people - 1) * (rows - 1) / max(rows - count, 1)
    mean = np.average(outcome, weights=weights)
    total = float((root**2 * (outcome - mean) ** 2).sum())
    return LinearFit(
        names=tuple(names),
        coefficients=coefficients,
        covariance=scale * bread @ (scores.T @ scores) @ bread,
        rows=rows,
        clusters=people,
        r_squared=1 - float(residual @ residual) / total if total else float("nan"),
    )


def _require_numbers(outcome: np.ndarray, regressors: np.ndarray, names: Sequence[str]) -> None:
    if not np.isfinite(outcome).all():
        row = int(np.flatnonzero(~np.isfinite(outcome))[0])
        raise LaborLLMError(f"row {row + 1}: the outcome is {outcome[row]}; leave rows without a finite outcome out")
    wrong = np.argwhere(~np.isfinite(regressors))
    if len(wrong):
        row, column = wrong[0]
        raise LaborLLMError(
            f"row {row + 1}: {names[column]} is {regressors[row, column]}; leave such rows out, or give missing "
            "values a category of their own"
        )


def _require_rank(x: np.ndarray, names: Sequence[str]) -> None:
    """Refuse a regressor that those before it add up to."""
    scale = np.sqrt((x**2).sum(axis=0))
    triangle = np.abs(np.diag(np.linalg.qr(x / np.where(scale > 0, scale, 1.0), mode="r")))
    if len(x) < x.shape[1] or triangle.min() < 1e-9:
        name = names[int(triangle.argmin())] if len(x) >= x.shape[1] else names[-1]
        raise LaborLLMError(
            f"the regressor {name!r} is a combination of those before it, or always zero; leave it out, "
            "or one category of each covariate"
        )
