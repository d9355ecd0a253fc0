"""Statements about many numbers at once: the bootstrap of the largest studentised deviation.

With many models, groups and quantities some interval misses by chance alone. Here the whole family is drawn together:
in every draw the largest |draw - estimate| / std_error of the family is taken, and its quantile takes the place of
the normal one. The dependence between the family's members is in the draws, so nothing is lost to Bonferroni (Romano
& Wolf, "Stepwise multiple testing as formalized data snooping", Econometrica 73(4), 2005).
"""

import numpy as np

from laborllm.evaluation.uncertainty import bootstrap_std_error


def critical_value(draws: np.ndarray, *, confidence: float) -> float:
    """How many standard errors to go either way so that all intervals of the family hold together.

    Args:
        draws: the sample itself in column 0, then bootstrap draws, shape (statistics, replicates + 1); a statistic
            without a standard error (infinite, undefined, constant) is no member of the family.
        confidence: that all of them hold, e.g. 0.95.

    Returns:
        About 1.96 for one statistic at 0.95, more for several; NaN for an empty family.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> one, ten = (np.column_stack([np.zeros(n), rng.normal(size=(n, 20_000))]) for n in (1, 10))
        >>> round(critical_value(one, confidence=0.95), 1), round(critical_value(ten, confidence=0.95), 1)
        (2.0, 2.8)
    """
    deviations = _studentised(draws)[1]
    members = deviations[~np.isnan(deviations).all(axis=1)]
    if not len(members):
        return float("nan")
    return float(np.quantile(np.nanmax(members, axis=0), confidence))


def adjusted_p_values(draws: np.ndarray) -> np.ndarray:
    """Step-down p-values of "this statistic is zero", adjusted for the whole family.

    The chance that anything true is called false at p < alpha is at most alpha.

    Args:
        draws: the sample itself in column 0, then bootstrap draws, shape (statistics, replicates + 1).

    Returns:
        Shape (statistics,), between 1 / (replicates + 1) and 1; NaN where there is no standard error.
    """
    found, deviations = _studentised(draws)
    p_values = np.full(len(draws), np.nan)
    members = np.flatnonzero(~np.isnan(found))
    order = members[np.argsort(-found[members], kind="stable")]  # the most extreme first
    beaten = np.fmax.accumulate(deviations[order[::-1]], axis=0)[::-1]  # (members, replicates): of it and all below
    exceeded = (beaten >= found[order, None]).sum(axis=1)
    p_values[order] = np.maximum.accumulate((exceeded + 1) / (draws.shape[1]))
    return p_values


def _studentised(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|estimate| and |draw - estimate| in standard errors, shapes (statistics,) and (statistics, replicates)."""
    finite = np.isfinite(draws[:, :1])
    usable = np.where(finite, draws, np.nan)
    error = bootstrap_std_error(usable[:, 1:])
    scale = np.where(error > 0, error, np.nan)
    return np.abs(usable[:, 0]) / scale, np.abs(usable[:, 1:] - usable[:, :1]) / scale[:, None]
