"""The ROC curve and the area under it, in the sample and in all bootstrap draws at once.

A draw changes how often people count and not the order of their rows. So rows are put into at most ``BINS`` quantile
bins of the score once, and a draw's two histograms over the bins, of rows with and without the event, come from one
sparse product, (bins x people) by (people x draws). Within a bin ties count one half. The estimate itself is exact,
and the draws are moved by exact minus binned.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from laborllm.evaluation.uncertainty import person_std_error, ratio

BINS = 1024
"""Bins of a score in a bootstrap draw; with as many distinct scores or fewer nothing is lost."""


@dataclass(frozen=True)
class Curve:
    """What a ROC curve is made of.

    Attributes:
        yes: weight of the rows with the event at each distinct score in ascending order, shape (scores, 1).
        no: that of the rows without it, shape (scores, 1).
        yes_draws: weight of the rows with the event in each bin; column 0 is the sample, shape (bins, draws).
        no_draws: that of the rows without it, shape (bins, draws).
        std_error_delta: of the area, clustered by person, by linearisation; see ``_area_std_error``.
    """

    yes: np.ndarray
    no: np.ndarray
    yes_draws: np.ndarray
    no_draws: np.ndarray
    std_error_delta: float

    def area(self) -> np.ndarray:
        """Area under the curve in every draw, the exact one of the sample first, shape (draws,).

        The chance that a row with the event has the higher score than one without it, ties counting one half; NaN in
        a draw without an event or without a row lacking one.
        """
        return _moved(area_under(self.yes_draws, self.no_draws), area_under(self.yes, self.no)[0])

    def true_positive_rate(self, grid: np.ndarray) -> np.ndarray:
        """Share of rows with the event that are found at given shares of false alarms, shape (grid, draws).

        Straight between the curve's corners; at a vertical step its upper end.

        Args:
            grid: false-positive rates from 0 to 1, shape (grid,).
        """
        (exact,) = _rates(self.yes, self.no, grid)
        return _moved(_rates(self.yes_draws, self.no_draws, grid).T, exact)


def curve_of(
    score: np.ndarray, event: np.ndarray, *, person: np.ndarray, row_weight: np.ndarray, draws: np.ndarray
) -> Curve:
    """The ROC curve of some rows.

    Args:
        score: any score that rises with the event's probability, shape (rows,).
        event: whether it happened, shape (rows,).
        person: each row's person, shape (rows,).
        row_weight: how much each row counts, shape (rows,).
        draws: how often each person counts; column 0 is the sample itself, float32, shape (people, draws).
    """
    event = event.astype(bool)
    place, distinct = _places(score)
    sides = [
        np.bincount(place[rows], weights=row_weight[rows], minlength=distinct)[:, None] for rows in (event, ~event)
    ]
    coarse = _coarse(place, distinct)
    drawn = [_histogram(coarse[rows], person[rows], row_weight[rows], draws) for rows in (event, ~event)]
    error = _area_std_error(*sides, place=place, event=event, person=person, row_weight=row_weight)
    return Curve(yes=sides[0], no=sides[1], yes_draws=drawn[0], no_draws=drawn[1], std_error_delta=error)


def area_under(yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """Area under the ROC curve from weights at ascending scores; NaN without a row of either kind.

    The sum over pairs (row with event, row without) of w w' [1(score > score') + 1(score = score') / 2], divided by
    the same sum of w w'.

    Args:
        yes: weight of rows with the event, shape (scores, draws).
        no: weight of rows without it, shape (scores, draws).

    Returns:
        Shape (draws,).
    """
    not_above = np.cumsum(no, axis=0)
    beaten = np.einsum("sd,sd->d", yes, not_above - no / 2, dtype=np.float64)
    return ratio(beaten, yes.sum(axis=0, dtype=np.float64) * no.sum(axis=0, dtype=np.float64))


def _places(score: np.ndarray) -> tuple[np.ndarray, int]:
    """Each row's place among the distinct scores in ascending order, shape (rows,), and how many there are."""
    order = np.argsort(score)
    steps = np.zeros(len(score), dtype=np.int64)
    ordered = score[order]
    steps[1:] = np.cumsum(ordered[1:] != ordered[:-1])
    place = np.empty_like(steps)
    place[order] = steps
    return place, int(steps[-1]) + 1


def _coarse(place: np.ndarray, distinct: int) -> np.ndarray:
    """Bin of each row, equal scores in one bin, shape (rows,)."""
    if distinct <= BINS:
        return place
    count = np.bincount(place, minlength=distinct)
    middle = np.cumsum(count) - count / 2
    bins = np.unique((middle * BINS / len(place)).astype(np.int64), return_inverse=True)[1]
    return bins[place]


def _histogram(bins: np.ndarray, person: np.ndarray, row_weight: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Weight of rows in each bin and draw, float32, shape (BINS, draws)."""
    weights = sparse.csr_array((row_weight.astype(np.float32), (bins, person)), shape=(BINS, len(draws)))
    return weights @ draws


def _moved(binned: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Draws of a share moved by exact minus binned, the exact one first; the last axis is that of the draws."""
    exact = np.asarray(exact)
    moved = np.clip(binned + (exact - binned[..., 0])[..., None], 0.0, 1.0)
    moved[..., 0] = exact
    return moved


def _rates(yes: np.ndarray, no: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The curve of each draw read at the grid, shape (draws, grid); NaN without a row of either kind."""
    found, alarms = (_from_the_top(side) for side in (yes, no))
    rates = np.full((len(found), len(grid)), np.nan)
    for draw in np.flatnonzero((found[:, -1] > 0) & (alarms[:, -1] > 0)):
        rates[draw] = _read(found[draw], alarms[draw], grid)
    return rates


def _from_the_top(weights: np.ndarray) -> np.ndarray:
    """Weight of the rows at or above each score, from none to all, shape (draws, scores + 1)."""
    sums = np.zeros((weights.shape[1], len(weights) + 1))
    np.cumsum(weights[::-1].T, axis=1, dtype=np.float64, out=sums[:, 1:])
    return sums


def _read(found: np.ndarray, alarms: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """One curve read at the grid, shape (grid,); ``found`` and ``alarms`` are its corners, shape (corners,)."""
    wanted = grid * alarms[-1]
    place = alarms.searchsorted(wanted, side="right") - 1  # the upper end of a vertical step
    after = np.minimum(place + 1, len(alarms) - 1)
    run = alarms[after] - alarms[place]
    share = np.divide(wanted - alarms[place], run, out=np.zeros(len(grid)), where=run > 0)
    return (found[place] + share * (found[after] - found[place])) / found[-1]


def _area_std_error(
    yes: np.ndarray, no: np.ndarray, *, place: np.ndarray, event: np.ndarray, person: np.ndarray, row_weight: np.ndarray
) -> float:
    """Clustered standard error of the area from its linearisation.

    A row with the event contributes the share of rows without it that it beats, less the area; a row without it the
    share of rows with it that beat it, less the area; each divided by the weight of its kind and summed by person
    (DeLong, DeLong & Clarke-Pearson, Biometrics 44, 1988; Obuchowski, Biometrics 53, 1997, for clusters).
    """
    total_yes, total_no = yes.sum(), no.sum()
    if total_yes == 0 or total_no == 0:
        return float("nan")
    area = area_under(yes, no)[0]
    beats = (np.cumsum(no) - no[:, 0] / 2) / total_no  # (scores,)
    beaten = 1 - (np.cumsum(yes) - yes[:, 0] / 2) / total_yes  # (scores,)
    part = np.where(event, (beats[place] - area) / total_yes, (beaten[place] - area) / total_no)
    return float(person_std_error(np.bincount(person, weights=part * row_weight)))
