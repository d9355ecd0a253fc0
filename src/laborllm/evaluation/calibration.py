"""Calibration of forecasts by quantile bins: the reliability diagram, its error, and the parts of the Brier score."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laborllm.evaluation.metrics import bin_edges, bin_of, calibration_error
from laborllm.evaluation.row_scores import Forecast
from laborllm.evaluation.uncertainty import ratio, weighted_sums

BINS = 10
"""Quantile bins of a reliability diagram."""


@dataclass(frozen=True)
class Reliability:
    """Reliability of one model's forecast, by quantile bins of the predicted probability.

    Attributes:
        task: of the ``Forecast``.
        edges: least and greatest prediction of the task with the inner edges between them, shape (bins + 1,).
        predicted: mean predicted probability, shape (bins,).
        observed: share of rows in which it happened; column 0 is the sample, shape (bins, replicates + 1).
        person_years: rows in each bin, shape (bins,).
        people: people with a row in each bin, shape (bins,).
    """

    task: str
    edges: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    person_years: np.ndarray
    people: np.ndarray


@dataclass(frozen=True)
class BinnedForecast:
    """A forecast in quantile bins, in the sample (column 0) and in every draw.

    Attributes:
        edges: inner edges of the bins, shape (bins - 1,).
        bins: each row's bin, shape (rows,).
        weight: of the rows in each bin, shape (bins, draws).
        predicted: weighted sum of the predicted probabilities in each bin, shape (bins, draws).
        happened: weighted sum of what happened in each bin, shape (bins, draws).
    """

    edges: np.ndarray
    bins: np.ndarray
    weight: np.ndarray
    predicted: np.ndarray
    happened: np.ndarray

    def calibration_error(self) -> np.ndarray:
        """Expected calibration error in every draw, a share, shape (draws,); NaN in a draw without rows."""
        return calibration_error(_over(self.predicted - self.happened, self.weight.sum(axis=0)))

    def brier_parts(self, brier: np.ndarray) -> dict[str, np.ndarray]:
        """The parts of a Brier score, metric -> shape (draws,).

        brier = brier_reliability - brier_resolution + brier_uncertainty + brier_within. With bins k of weight w_k
        (in all 1), mean prediction p_k, share happened o_k, share in all o: reliability sum w_k (p_k - o_k)²,
        resolution sum w_k (o_k - o)², uncertainty o (1 - o) (Murphy, "A new vector partition of the probability
        score", Journal of Applied Meteorology 12, 1973). The remainder is the variance of the predictions within
        their bins less twice their covariance with the event there (Stephenson, Coelho & Jolliffe, Weather and
        Forecasting 23, 2008); it is zero where all predictions of a bin are equal.

        Args:
            brier: mean of (predicted - happened)² over the same rows and draws, shape (draws,).
        """
        total = self.weight.sum(axis=0)
        overall = ratio(self.happened.sum(axis=0), total)  # (draws,)
        share = _over(self.weight, total)
        gap, lift = (
            np.where(self.weight > 0, ratio(each, self.weight), 0.0)  # an empty bin has no part in it
            for each in (self.predicted - self.happened, self.happened - overall * self.weight)
        )
        reliability, resolution = (np.einsum("bd,bd->d", share, part**2) for part in (gap, lift))
        uncertainty = overall * (1 - overall)
        return {
            "brier_reliability": reliability,
            "brier_resolution": resolution,
            "brier_uncertainty": uncertainty,
            "brier_within": brier - (reliability - resolution + uncertainty),
        }

    def reliability(self, forecast: Forecast, person: np.ndarray) -> Reliability:
        """The reliability diagram of the forecast that was binned; ``person`` of its rows, shape (rows,)."""
        probability, bins = forecast.probability, len(self.weight)
        rows = [np.flatnonzero(self.bins == place) for place in range(bins)]
        return Reliability(
            task=forecast.task,
            edges=np.concatenate([[probability.min()], self.edges, [probability.max()]]),
            predicted=ratio(self.predicted[:, 0], self.weight[:, 0]),
            observed=ratio(self.happened, self.weight),
            person_years=np.array([len(chosen) for chosen in rows]),
            people=np.array([len(np.unique(person[chosen])) for chosen in rows]),
        )


def binned_forecast(
    probability: np.ndarray, happened: np.ndarray, *, person: np.ndarray, row_weight: np.ndarray, draws: np.ndarray
) -> BinnedForecast:
    """Put a forecast into quantile bins of its probability, counted by rows whatever their weight.

    Args:
        probability: shape (rows,).
        happened: 0 … 1, shape (rows,).
        person: each row's person, shape (rows,).
        row_weight: how much each row counts, shape (rows,).
        draws: how often each person counts; column 0 is the sample itself, shape (people, draws).
    """
    edges = bin_edges(probability, bins=BINS)
    bins = bin_of(probability, edges)
    values = (row_weight, row_weight * probability, row_weight * happened)
    sums = [_person_sums(each, bins, person, people=len(draws)) for each in values]
    weight, predicted, observed = np.split(weighted_sums(np.concatenate(sums), draws), 3)
    return BinnedForecast(edges=edges, bins=bins, weight=weight, predicted=predicted, happened=observed)


def calibration_errors(
    probability: np.ndarray,
    happened: np.ndarray,
    *,
    cells: Sequence[np.ndarray],
    person: np.ndarray,
    row_weight: np.ndarray,
    draws: np.ndarray,
) -> list[np.ndarray]:
    """Expected calibration error of a forecast in each of some cells, by quantile bins of the cell's own.

    Args:
        probability: shape (rows,).
        happened: 0 … 1, shape (rows,).
        cells: which rows each cell holds, at least one, bool, shape (rows,).
        person: each row's person, shape (rows,).
        row_weight: how much each row counts, shape (rows,).
        draws: how often each person counts; column 0 is the sample itself, shape (people, draws).

    Returns:
        For each cell a share in [0, 1] in every draw, shape (draws,).
    """
    if not cells:
        return []
    sums = []
    for rows in cells:
        bins = bin_of(probability[rows], bin_edges(probability[rows], bins=BINS))
        gap = row_weight[rows] * (probability[rows] - happened[rows])
        gaps = _person_sums(gap, bins, person[rows], people=len(draws))
        weight = np.bincount(person[rows], weights=row_weight[rows], minlength=len(draws))
        sums.append(np.concatenate([weight[None], gaps]))  # (1 + bins, people)
    totals = weighted_sums(np.concatenate(sums), draws)
    ends = np.cumsum([len(each) for each in sums])[:-1]
    return [calibration_error(_over(each[1:], each[0])) for each in np.split(totals, ends)]


def _person_sums(values: np.ndarray, bins: np.ndarray, person: np.ndarray, *, people: int) -> np.ndarray:
    """Sum of values in each bin and person, shape (bins, people)."""
    count = int(bins.max()) + 1
    place = bins * people + person
    return np.bincount(place, weights=values, minlength=count * people).reshape(count, people)


def _over(bins: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Bins divided by the draws' totals, shape (bins, draws)."""
    return ratio(bins, np.broadcast_to(total, bins.shape))
