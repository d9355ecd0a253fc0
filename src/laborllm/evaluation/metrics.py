"""Metrics as pure functions on arrays (LABOR-LLM, evaluation)."""

import numpy as np

from laborllm.evaluation.uncertainty import blocks, ratio

DRAWS = 16
"""Draws of an AUC worked on at a time: rows x draws of 8 bytes then stay in the processor's cache."""


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


def weighted_auc(score: np.ndarray, event: np.ndarray, *, person: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve for many sets of person weights at once; ties count one half.

    AUC = sum over pairs (row with event, row without) of w w' [1(score > score') + 1(score = score') / 2], divided
    by the same sum of w w'. Rows are sorted once; each block of draws costs one cumulative sum.

    Args:
        score: any score that rises with the event's probability, shape (rows,).
        event: whether it happened, bool, shape (rows,).
        person: each row's person, shape (rows,).
        weights: how often each person counts in each draw, shape (people, draws).

    Returns:
        Shape (draws,); NaN in a draw without an event or without a row lacking one.
    """
    with_event, without = (_by_score(np.flatnonzero(chosen), score) for chosen in (event, ~event))
    below = np.searchsorted(score[without], score[with_event], side="left")
    not_above = np.searchsorted(score[without], score[with_event], side="right")
    area = np.empty(weights.shape[1])
    for draws in blocks(weights.shape[1], DRAWS):
        some = weights[:, draws].astype(np.float64)  # (people, draws)
        lower = np.zeros((len(without) + 1, some.shape[1]))
        np.cumsum(some[person[without]], axis=0, out=lower[1:])  # (rows_without + 1, draws)
        twice = lower[below]
        twice += lower[not_above]  # (rows_with, draws)
        own = some[person[with_event]]
        pairs = own.sum(axis=0) * lower[-1]
        area[draws] = ratio(np.einsum("rd,rd->d", own, twice), 2 * pairs)
    return area  # (draws,)


def _by_score(rows: np.ndarray, score: np.ndarray) -> np.ndarray:
    return rows[np.argsort(score[rows], kind="stable")]
