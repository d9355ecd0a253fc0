"""The gap between two groups that is left once their histories are alike: doubly robust, clustered by person.

tau = E[E[Y | G=1, H] - E[Y | G=0, H] | G=1]: what people of the first group have more, or less, than people of the
second group with the same histories, averaged over the first group's histories. The unadjusted gap less tau is what
histories explain. Descriptive: tau is not the effect of the group, nor a measure of discrimination; histories may
themselves have come about by it.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from laborllm.errors import LaborLLMError
from laborllm.evaluation.uncertainty import person_std_error


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
    rows: int
    people: int

    def interval(self, part: str, confidence: float = 0.95) -> tuple[float, float]:
        """Normal interval of "gap", "explained" or "unexplained".

        Examples:
            >>> AdjustedGap(-0.3, -0.2, -0.1, 0.02, 0.01, 0.02, 0.0, 0.01, 900, 300).interval("unexplained")
            (-0.219..., -0.180...)
        """
        away = float(stats.norm.ppf((1 + confidence) / 2)) * getattr(self, f"{part}_error")
        return getattr(self, part) - away, getattr(self, part) + away


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

    tau = sum w [G (Y - m(H)) - (1 - G) odds(H) (Y - m(H))] / sum w G, with m = E[Y | G=0, H] and odds = e / (1 - e):
    right if m or the propensity e is. The standard error is that of the score's sum over independent people, the
    nuisances being cross-fitted.

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
    group = first.astype(np.float64)
    rows = np.ones(len(outcome)) if weights is None else weights / weights.mean()
    kept = nuisances.propensity.clip(trim, 1 - trim)
    odds = kept / (1 - kept)
    left = outcome - nuisances.second
    firsts, seconds = (rows * group).sum(), (rows * (1 - group)).sum()
    tau = float((rows * (group - (1 - group) * odds) * left).sum() / firsts)
    means = [float((rows * side * outcome).sum() / total) for side, total in ((group, firsts), (1 - group, seconds))]
    gap = means[0] - means[1]
    of_tau = rows * ((group - (1 - group) * odds) * left - group * tau) / firsts  # (rows,)
    of_gap = rows * (group * (outcome - means[0]) / firsts - (1 - group) * (outcome - means[1]) / seconds)  # (rows,)
    _, place = np.unique(person, return_inverse=True)
    errors = [_error(parts, place) for parts in (of_gap, of_tau, of_gap - of_tau)]
    pull = rows * (1 - group) * odds
    return AdjustedGap(
        gap=gap,
        unexplained=tau,
        explained=gap - tau,
        gap_error=errors[0],
        unexplained_error=errors[1],
        explained_error=errors[2],
        trimmed=float((kept != nuisances.propensity).mean()),
        largest_weight=float(pull.max() / pull.sum()),
        rows=len(outcome),
        people=int(place.max()) + 1,
    )


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
