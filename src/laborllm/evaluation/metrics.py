"""Metrics as pure functions on arrays (LABOR-LLM, evaluation)."""

import numpy as np


def hit_share(greater: np.ndarray, tied: np.ndarray, *, top: int) -> np.ndarray:
    """Chance that the realised occupation is among the ``top`` most probable, shape (person_years,).

    Ties are broken at random in expectation: with ``greater`` occupations strictly more probable and ``tied``
    as probable (the realised one included), the chance is (top - greater) / tied, kept in [0, 1]. The order of the
    list therefore does not matter, and a uniform model scores top / occupations.

    Args:
        greater: occupations strictly more probable than the realised one, shape (person_years,).
        tied: occupations exactly as probable, at least 1, shape (person_years,).
        top: how many occupations count as a hit.
    """
    return np.clip((top - greater) / tied, 0.0, 1.0)  # (person_years,)


def brier_of_classes(own: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Brier score of a forecast over several classes: sum over classes of (probability - happened)², 0 … 2.

    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78(1), 1950.

    Args:
        own: probability of the class that happened, shape (rows,).
        squares: sum over classes of squared probabilities, shape (rows,).
    """
    return squares - 2 * own + 1  # (rows,)


def bin_edges(probability: np.ndarray, *, bins: int) -> np.ndarray:
    """Inner edges of quantile bins, shape (bins - 1,) or shorter where values tie.

    Every edge is a value of ``probability`` and closes its bin from above, so equal values share a bin and no bin is
    empty.
    """
    shares = np.arange(1, bins) / bins
    edges = np.unique(np.quantile(probability, shares, method="inverted_cdf"))
    return edges[edges < probability.max()]  # (bins - 1,)


def bin_of(probability: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Bin of each value, 0 … len(edges), given the inner edges of ``bin_edges``, shape (rows,)."""
    return np.searchsorted(edges, probability, side="left")  # (rows,)


def calibration_error(gaps: np.ndarray) -> np.ndarray:
    """Expected calibration error: mean over rows of |mean predicted - observed share| of the row's bin.

    Args:
        gaps: for each bin, the mean over *all* rows of predicted probability minus event, zero outside the bin,
            shape (bins, draws).

    Returns:
        A share in [0, 1], shape (draws,); NaN where the gaps are, in a draw without rows.
    """
    return np.abs(gaps).sum(axis=0)  # (draws,)
