"""What differences between predicted and observed a model that is right would show by chance alone.

Given the past, what happens next is independent of what a right model already knows, so counts of rows have the
variance sum p (1 - p), however the rows of one person depend on each other.
"""

from typing import NamedTuple

import numpy as np
from scipy.fft import dct
from scipy.special import gammaln, xlog1py, xlogy

from laborllm.evaluation.uncertainty import bootstrap_std_error, ratio

ONE_IN_TWENTY = 1.645
"""Standard deviations of noise that are exceeded one time in twenty."""
SMALLEST = 1e-9
"""Share below which a binomial count is taken as Poisson; as near to certain as a share may come."""


class Noise(NamedTuple):
    """Total variation distance between predicted and observed shares if the model were right.

    Attributes:
        mean: its expectation, shape (groups,).
        high: exceeded about one time in twenty, shape (groups,).
    """

    mean: np.ndarray
    high: np.ndarray


def distance_noise(moments: np.ndarray, total: np.ndarray) -> Noise:
    """Distance that sampling alone leaves between a right model and what happens, half the sum of |gap| over shares.

    Each occupation's count is taken as the binomial of its mean and variance, and occupations as independent.

    Args:
        moments: sums of w p, w² p and w² p² over a group's rows, shape (3, groups, occupations).
        total: sum of w, shape (groups,).
    """
    first, second, squares = moments
    unit = ratio(second, first)  # (groups, occupations): what one row counts
    mean, share = ratio(first, unit), ratio(squares, second)
    deviation = np.nan_to_num(unit * mean_absolute_deviation(mean, share))
    variance = np.nan_to_num(second - squares)
    spread = np.sqrt(np.maximum(variance - deviation**2, 0).sum(axis=-1))  # (groups,)
    middle = deviation.sum(axis=-1)
    return Noise(ratio(middle, 2 * total), ratio(middle + ONE_IN_TWENTY * spread, 2 * total))


def mean_absolute_deviation(mean: np.ndarray, share: np.ndarray) -> np.ndarray:
    """E |S - mean| of a binomial count S of mean ``mean`` and variance mean (1 - share).

    De Moivre: 2 v (1 - share) P(S = v) with v = floor(mean) + 1; trials need not be whole.

    Args:
        mean: expected count, any shape.
        share: chance of each trial, between 0 (Poisson) and 1, same shape.

    Examples:
        >>> mean_absolute_deviation(np.array([0.5, 2.0]), np.array([0.5, 0.0])).round(4)  # one coin; Poisson
        array([0.5   , 1.0827])
    """
    chance = np.clip(share, SMALLEST, 1 - SMALLEST)
    trials = mean / chance
    above = np.floor(mean) + 1
    left = trials - above
    binomial = gammaln(trials + 1) - gammaln(above + 1) - gammaln(left + 1) + xlogy(above, chance)
    binomial += xlog1py(left, -chance)
    poisson = xlogy(above, mean) - mean - gammaln(above + 1)
    log_chance = np.where(share < SMALLEST, poisson, binomial)
    return 2 * above * (1 - chance) * np.exp(log_chance)


def widened(draws: np.ndarray, least: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap draws that spread at least as much as the model says they must.

    Where a thing is rare the bootstrap can miss its spread: of a thing that never happened it knows none. Independent
    normal noise makes up the variance that is wanting.

    Args:
        draws: the sample itself in column 0, then bootstrap draws, shape (statistics, replicates + 1).
        least: standard error of each statistic if the model is right, shape (statistics,).
        rng: of the noise.

    Returns:
        Standard errors, the larger of the bootstrap's and ``least``, NaN without draws, shape (statistics,); and the
        draws, those of statistics that spread enough as they were, shape (statistics, replicates + 1).
    """
    own = bootstrap_std_error(draws[:, 1:])
    wanting = np.sqrt(np.maximum(least**2 - own**2, 0))  # NaN without draws
    short = np.flatnonzero(wanting > 0)
    wide = draws.copy()
    wide[short, 1:] += wanting[short, None] * rng.standard_normal((len(short), draws.shape[1] - 1))
    return np.maximum(own, least), wide


def normalised(draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Jointly normal draws with the covariance of bootstrap draws about the sample.

    The bootstrap of a rare thing is skewed, its sampling distribution about the standard error of ``widened`` is not;
    left as they are, such draws reach so far that nothing else stands out. An orthogonal mixture of all draws (random
    signs, then a cosine transform) keeps every variance and correlation and is close to normal.

    Args:
        draws: the sample itself in column 0, then bootstrap draws, shape (statistics, replicates + 1).
        rng: of the signs.

    Returns:
        A new array of the same shape; column 0 is as it was.
    """
    if draws.shape[1] < 3 or not len(draws):
        return draws
    deviations = np.nan_to_num(draws[:, 1:] - draws[:, :1], copy=False)  # undefined: no deviation
    deviations *= rng.choice([-1.0, 1.0], size=deviations.shape[1])
    mixed = dct(deviations, norm="ortho", axis=1, overwrite_x=True)
    mixed += draws[:, :1]
    return np.concatenate([draws[:, :1], mixed], axis=1)
