"""Sampling uncertainty clustered by person: test-set bootstrap from per-person sums, and the delta method beside it.

Careers of one person are dependent, so people and not person-years are resampled (LABOR-LLM, evaluation). A draw is
how often each person counts; the same draws serve every model, so differences between models are paired for free.
"""

from collections.abc import Iterator

import numpy as np
from threadpoolctl import threadpool_limits


def blocks(length: int, size: int) -> Iterator[slice]:
    """Slices that cover 0 … length in pieces of at most ``size``, so that memory stays bounded."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def draw_weights(people: int, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each person counts: the sample itself in column 0, then bootstrap draws with replacement.

    Returns:
        uint16, shape (people, replicates + 1); every column sums to ``people``.
    """
    weights = np.ones((people, replicates + 1), dtype=np.uint16)
    shares = np.full(people, 1 / people)
    for draws in blocks(replicates, 64):
        counts = rng.multinomial(people, shares, size=draws.stop - draws.start)  # (draws, people)
        weights[:, draws.start + 1 : draws.stop + 1] = counts.T
    return weights  # (people, replicates + 1)


def weighted_sums(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each statistic's sum over people in every draw: one matrix product per block of draws.

    On one thread: the products are small, waiting for a busy second core costs many times more than it saves, and
    the order of summation, hence the last bit, does not depend on the number of cores.

    Args:
        sums: per-person sums, finite, shape (statistics, people).
        weights: shape (people, draws).

    Returns:
        Shape (statistics, draws).
    """
    totals = np.empty((len(sums), weights.shape[1]))
    with threadpool_limits(limits=1, user_api="blas"):
        for draws in blocks(weights.shape[1], 128):
            totals[:, draws] = sums @ weights[:, draws].astype(np.float64)  # (statistics, draws)
    return totals


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient of two arrays of one shape, NaN where the denominator is zero: the draw holds nobody."""
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator != 0)


def bootstrap_std_error(draws: np.ndarray) -> np.ndarray:
    """Standard deviation over the draws in which the statistic is defined.

    Args:
        draws: bootstrap draws without the sample itself, NaN where undefined, shape (statistics, replicates).

    Returns:
        Shape (statistics,); NaN with fewer than two defined draws.
    """
    known = ~np.isnan(draws)
    count = known.sum(axis=1)
    mean = ratio(np.where(known, draws, 0.0).sum(axis=1), count)
    squares = np.where(known, (draws - mean[:, None]) ** 2, 0.0).sum(axis=1)
    return np.sqrt(ratio(squares, np.maximum(count - 1, 0)))  # (statistics,)


def percentile_interval(draws: np.ndarray, *, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval: the (1 - confidence) / 2 and (1 + confidence) / 2 quantiles of the defined draws.

    Args:
        draws: bootstrap draws without the sample itself, NaN where undefined, shape (statistics, replicates).
        confidence: e.g. 0.95.

    Returns:
        Lower and upper ends, each of shape (statistics,); NaN with fewer than two defined draws.
    """
    ordered = np.sort(draws, axis=1)  # NaN last
    count = (~np.isnan(draws)).sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = (_quantile(ordered, count, share) for share in (tail, 1 - tail))
    return low, high


def _quantile(ordered: np.ndarray, count: np.ndarray, share: float) -> np.ndarray:
    quantile = np.full(len(ordered), np.nan)
    rows = np.flatnonzero(count >= 2)
    place = share * (count[rows] - 1)
    under = np.floor(place).astype(np.int64)
    left = ordered[rows, under]
    right = ordered[rows, np.minimum(under + 1, count[rows] - 1)]
    quantile[rows] = left + (place - under) * (right - left)
    return quantile  # (statistics,)


def clustered_std_error(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Delta-method standard error of sum(numerator) / sum(denominator), clustered by person.

    The ratio r is linearised: residual u = numerator - r denominator per person, and
    se = sqrt(n / (n - 1) sum u²) / sum(denominator). It checks the bootstrap; for a perplexity exp(r) multiply by
    exp(r).

    Args:
        numerator: per-person sums, shape (..., people).
        denominator: per-person sums, e.g. person-years, shape (..., people).

    Returns:
        Shape (...,); NaN with fewer than two people, where the denominator is zero, or a sum is infinite.

    Examples:
        >>> import numpy as np
        >>> clustered_std_error(np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4)).round(4)  # sd / sqrt(4)
        np.float64(0.6455)
    """
    total = np.asarray(denominator.sum(axis=-1))
    with np.errstate(invalid="ignore"):  # infinite sums have no error
        share = ratio(np.asarray(numerator.sum(axis=-1)), total)
        residual = numerator - share[..., None] * denominator
        return ratio(np.asarray(person_std_error(residual)), total)[()]


def person_std_error(parts: np.ndarray) -> np.ndarray:
    """Standard error of a sum of independent people's parts, whose mean is zero: sqrt(n / (n - 1) sum part²).

    Args:
        parts: shape (..., people).

    Returns:
        Shape (...,); NaN with fewer than two people.
    """
    people = parts.shape[-1]
    if people < 2:
        return np.full(parts.shape[:-1], np.nan)
    return np.sqrt(people / (people - 1) * (parts**2).sum(axis=-1))
