"""The gap between two groups that is left once their histories are alike: doubly robust, clustered by person.

tau = E[E[Y | G=1, H] - E[Y | G=0, H] | G=1]: what people of the first group have more, or less, than people of the
second group with the same histories, averaged over the first group's histories. The unadjusted gap less tau is what
histories explain. Descriptive: tau is not the effect of the group, nor a measure of discrimination; histories may
themselves have come about by it.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

from laborllm.errors import LaborLLMError
from laborllm.evaluation.uncertainty import person_std_error

TRIMMED_AT_MOST = 0.03
"""With a larger share of propensities at the bound, the trimming decides the number."""
FEWEST_EFFECTIVE = 50
"""With fewer people behind the second group's weighted mean, neither the number nor its standard error is to be
trusted. Rules of thumb, both."""


@dataclass(frozen=True)
class Nuisances:
    """What a model says of rows that it was not learned from.

    Attributes:
        second: E[Y | G=0, history], in units of the outcome, shape (rows,).
        propensity: P(G=1 | history), shape (rows,).
    """

    second: np.ndarray
    propensity: np.ndarray


@dataclass(frozen=True)
class AdjustedGap:
    """A gap split into what histories explain and what they do not, with standard errors clustered by person.

    Attributes:
        gap: mean outcome of the first group less that of the second, e.g. log points.
        unexplained: tau, the history-adjusted gap.
        explained: the rest.
        gap_error, unexplained_error, explained_error: standard errors.
        trimmed: share of rows whose propensity was moved to the bound.
        largest_weight: the largest share of the second group's total weight that one row bears.
        effective_people: of the second group, (sum w)^2 / sum w^2 with w the weight of a person's rows together: so
            many people of equal weight would tell as much (Kish 1965).
        rows, people: behind the numbers.
    """

    gap: float
    unexplained: float
    explained: float
    gap_error: float
    unexplained_error: float
    explained_error: float
    trimmed: float
    largest_weight: float
    effective_people: float
    rows: int
    people: int

    @property
    def reliable(self) -> bool:
        """Whether there are people to compare with: few trimmed propensities, enough effective people."""
        return self.trimmed <= TRIMMED_AT_MOST and self.effective_people >= FEWEST_EFFECTIVE

    def interval(self, part: str, confidence: float = 0.95) -> tuple[float, float]:
        """Normal interval of "gap", "explained" or "unexplained".

        Examples:
            >>> AdjustedGap(-0.3, -0.2, -0.1, 0.02, 0.01, 0.02, 0.0, 0.01, 90.0, 900, 300).interval("unexplained")
            (-0.219..., -0.180...)
        """
        away = float(stats.norm.ppf((1 + confidence) / 2)) * getattr(self, f"{part}_error")
        return getattr(self, part) - away, getattr(self, part) + away


@dataclass(frozen=True)
class GapFindings:
    """A gap split in every way; standard errors are clustered by person.

    Attributes:
        table: method, part (gap | explained | unexplained), estimate, std_error, ci_low, ci_high, log points; reliable:
            false where the histories overlap too little for explained and unexplained to be used.
        overlap: method, trimmed, largest_weight, effective_people, reliable (``AdjustedGap``).
        terms: method, term, explained, unexplained of the linear decompositions.
        rows, people: of both groups, with a known outcome.
        first_people: of the first group.
    """

    table: pl.DataFrame
    overlap: pl.DataFrame
    terms: pl.DataFrame
    rows: int
    people: int
    first_people: int


def adjusted_gap(
    outcome: np.ndarray,
    first: np.ndarray,
    nuisances: Nuisances,
    *,
    person: np.ndarray,
    weights: np.ndarray | None = None,
    trim: float = 0.01,
) -> AdjustedGap:
    """The doubly robust score for the gap among the first group.

    tau = sum w G (Y - m) / sum w G - sum w (1 - G) odds (Y - m) / sum w (1 - G) odds, with m = E[Y | G=0, H] and
    odds = e / (1 - e): right if m or the propensity e is. The second group's weights are divided by their own sum
    (Hajek), not by the first group's, so that a few large odds shift weight between rows but do not add to it. The
    standard error is that of both ratios over independent people, the nuisances being cross-fitted.

    Args:
        outcome: e.g. log wages, shape (rows,).
        first: whether a row is of the first group, bool, shape (rows,).
        nuisances: of models learned from other people.
        person: each row's person, whole numbers, shape (rows,).
        weights: of the rows, positive; all equal if None.
        trim: propensities are kept at this distance from 0 and 1; how many were moved is said.

    Raises:
        LaborLLMError: a group has no rows.
    """
    if not first.any() or first.all():
        raise LaborLLMError("a gap needs people of both groups with a known outcome; one group has none")
    rows = np.ones(len(outcome)) if weights is None else weights / weights.mean()
    kept = nuisances.propensity.clip(trim, 1 - trim)
    pull = rows * ~first * kept / (1 - kept)  # the second group, weighted to have the first group's histories
    left = outcome - nuisances.second
    gap, of_gap = _difference(outcome, rows * first, rows * ~first)
    tau, of_tau = _difference(left, rows * first, pull)
    _, place = np.unique(person, return_inverse=True)
    errors = [_error(parts, place) for parts in (of_gap, of_tau, of_gap - of_tau)]
    return AdjustedGap(
        gap=gap,
        unexplained=tau,
        explained=gap - tau,
        gap_error=errors[0],
        unexplained_error=errors[1],
        explained_error=errors[2],
        trimmed=float((kept != nuisances.propensity).mean()),
        largest_weight=float(pull.max() / pull.sum()),
        effective_people=float(pull.sum() ** 2 / (np.bincount(place, weights=pull) ** 2).sum()),
        rows=len(outcome),
        people=int(place.max()) + 1,
    )


def _difference(values: np.ndarray, plus: np.ndarray, minus: np.ndarray) -> tuple[float, np.ndarray]:
    """A difference of two weighted means, and what each row moves it by, shape (rows,)."""
    means = [float(weights @ values / weights.sum()) for weights in (plus, minus)]
    moved = plus * (values - means[0]) / plus.sum() - minus * (values - means[1]) / minus.sum()
    return means[0] - means[1], moved


def _error(parts: np.ndarray, place: np.ndarray) -> float:
    return float(person_std_error(np.bincount(place, weights=parts)))


def folds_of_people(person: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """A part for each row, the same for all rows of a person, shape (rows,).

    Args:
        person: each row's person, shape (rows,).
        folds: how many parts.
        rng: the source of randomness.

    Examples:
        >>> folds_of_people(np.array([7, 7, 9, 9]), 2, np.random.default_rng(0)).tolist()
        [0, 0, 1, 1]
    """
    names, place = np.unique(person, return_inverse=True)
    part = np.arange(len(names)) % folds
    return rng.permutation(part)[place]
