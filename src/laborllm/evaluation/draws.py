"""Every metric of one model, in the sample and in all bootstrap draws at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from laborllm.evaluation.calibration import Reliability, binned_forecast, calibration_errors
from laborllm.evaluation.cells import Cell, people_in
from laborllm.evaluation.roc import curve_of
from laborllm.evaluation.row_scores import Forecast, RowScores
from laborllm.evaluation.tasks import Tasks
from laborllm.evaluation.uncertainty import clustered_std_error, ratio, weighted_sums

PERPLEXITIES = ("perplexity", "perplexity_raw")
"""Metrics that are exp of a mean number of nats; the occupation's are also reported by subset and group."""
GRID = np.linspace(0, 1, 101)
"""False-positive rates at which ROC curves are reported."""


class Key(NamedTuple):
    """Which number: the columns that a row of evaluation.csv is found by, but for the model."""

    task: str
    metric: str
    subset: str
    group: str


ALL = Key("occupation", "perplexity", "all", "all")


@dataclass(frozen=True)
class Sample:
    """What is the same for every model.

    Attributes:
        person: each row's person, 0 … people - 1, shape (person_years,).
        weights: how often each person counts; column 0 is the sample itself, shape (people, replicates + 1).
        cells: subsets and groups; the first holds every row.
        tasks: what there is to predict.
        row_weight: how much each row counts, e.g. its survey weight, 0 where it is left out, shape (person_years,).
    """

    person: np.ndarray
    weights: np.ndarray
    cells: tuple[Cell, ...]
    tasks: Tasks
    row_weight: np.ndarray

    @property
    def groups(self) -> tuple[Cell, ...]:
        """The cells that do not condition on the transition type."""
        return tuple(cell for cell in self.cells if cell.subset == "all")

    @cached_property
    def single_weights(self) -> np.ndarray:
        """``weights`` in single precision, for sparse products, shape (people, replicates + 1)."""
        return self.weights.astype(np.float32)

    def sizes(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Person-years and people behind each (task, subset, group); rows that count for nothing are not among them."""
        counts = self.row_weight > 0
        sizes = {}
        for cell in self.cells:
            rows = cell.rows & counts
            sizes["occupation", cell.subset, cell.group] = int(rows.sum()), people_in(rows, self.person)
        for task, defined in self.tasks.rows.items():
            for cell in self.groups:
                chosen = defined[cell.rows[defined] & counts[defined]]
                sizes[task, cell.subset, cell.group] = len(chosen), len(np.unique(self.person[chosen]))
        return sizes


@dataclass(frozen=True)
class Mean:
    """A mean over some rows, to be taken in every draw.

    Attributes:
        values: what is averaged, shape (rows,).
        person: each of these rows' person, shape (rows,).
        weight: how much each row counts, shape (rows,); None where all count the same.
    """

    values: np.ndarray
    person: np.ndarray
    weight: np.ndarray | None = None


@dataclass(frozen=True)
class ModelDraws:
    """Every metric of one model.

    Attributes:
        draws: key -> the sample itself, then the bootstrap draws, shape (replicates + 1,).
        deltas: key -> the clustered delta-method standard error, where there is one.
        reliability: reliability diagrams.
        roc: yes-or-no task -> true-positive rates at ``GRID``, the sample in column 0, shape (grid, replicates + 1).
    """

    draws: dict[Key, np.ndarray] = field(default_factory=dict)
    deltas: dict[Key, float] = field(default_factory=dict)
    reliability: list[Reliability] = field(default_factory=list)
    roc: dict[str, np.ndarray] = field(default_factory=dict)


def model_draws(scores: RowScores, sample: Sample) -> ModelDraws:
    """Every metric of one model, from its scores in every person-year."""
    found = ModelDraws()
    _add_means(found, scores, sample)
    for forecast in scores.forecasts:
        _add_calibration(found, forecast, sample)
        if forecast.binary:
            _add_areas(found, forecast, sample)
    return found


def _add_means(found: ModelDraws, scores: RowScores, sample: Sample) -> None:
    """Means over rows; the occupation's perplexities also in each subset and group."""
    means = {}
    for score in scores.scores:
        by_cell = score.task == "occupation" and score.metric in PERPLEXITIES
        rows = sample.tasks.rows[score.task]
        for cell in sample.cells if by_cell else sample.cells[:1]:
            inside = cell.rows[rows]
            chosen = rows[inside]
            key = Key(score.task, score.metric, cell.subset, cell.group)
            means[key] = Mean(score.values[inside], sample.person[chosen], sample.row_weight[chosen])
    sums, counts = person_sums(list(means.values()), len(sample.weights))
    values, errors = ratio_draws(sums, counts, sample.weights), clustered_std_error(sums, counts)
    for key, mean, error in zip(means, values, errors, strict=True):
        _add_in_units(found, key, mean, float(error))


def _add_in_units(found: ModelDraws, key: Key, mean: np.ndarray, error: float) -> None:
    """A mean in its metric's unit: exp of the nats for a perplexity, whose whole-sample log score stands beside it."""
    if key.metric in PERPLEXITIES:
        with np.errstate(over="ignore"):  # more than 709 nats a row: infinite
            found.draws[key] = np.exp(mean)
        found.deltas[key] = error * float(found.draws[key][0])
    else:
        found.draws[key], found.deltas[key] = mean, error
    if key.metric == "perplexity" and key.subset == key.group == "all":
        log_score = key._replace(metric="log_score")
        found.draws[log_score], found.deltas[log_score] = -mean, error


def _add_calibration(found: ModelDraws, forecast: Forecast, sample: Sample) -> None:
    """Reliability, calibration error, for moving also in each group, and the parts of a binary Brier score."""
    rows = sample.tasks.rows[forecast.task]
    person, row_weight = sample.person[rows], sample.row_weight[rows]
    binned = binned_forecast(
        forecast.probability, forecast.happened, person=person, row_weight=row_weight, draws=sample.weights
    )
    found.reliability.append(binned.reliability(forecast, person))
    found.draws[Key(forecast.task, "calibration_error", "all", "all")] = binned.calibration_error()
    if forecast.binary:
        brier = found.draws[Key(forecast.task, "brier", "all", "all")]
        parts = binned.brier_parts(brier)
        found.draws.update({Key(forecast.task, metric, "all", "all"): values for metric, values in parts.items()})
    cells = _cells_of(forecast, sample)[1:]
    errors = calibration_errors(
        forecast.probability,
        forecast.happened,
        cells=[inside for _, inside in cells],
        person=person,
        row_weight=row_weight,
        draws=sample.weights,
    )
    for (group, _), values in zip(cells, errors, strict=True):
        found.draws[Key(forecast.task, "calibration_error", "all", group)] = values


def _add_areas(found: ModelDraws, forecast: Forecast, sample: Sample) -> None:
    """AUC, for moving also in each group, and the ROC curve."""
    rows = sample.tasks.rows[forecast.task]
    for group, inside in _cells_of(forecast, sample):
        curve = curve_of(
            forecast.probability[inside],
            forecast.happened[inside],
            person=sample.person[rows[inside]],
            row_weight=sample.row_weight[rows[inside]],
            draws=sample.single_weights,
        )
        key = Key(forecast.task, "auc", "all", group)
        found.draws[key], found.deltas[key] = curve.area(), curve.std_error_delta
        if group == "all" and not np.isnan(found.draws[key][0]):
            found.roc[forecast.task] = curve.true_positive_rate(GRID)


def _cells_of(forecast: Forecast, sample: Sample) -> list[tuple[str, np.ndarray]]:
    """The groups in which a forecast is looked at and which of its rows are theirs, bool, shape (task_rows,)."""
    rows = sample.tasks.rows[forecast.task]
    cells = sample.groups if forecast.task == "move" else sample.cells[:1]
    inside = [(cell.group, cell.rows[rows]) for cell in cells]
    return [(group, chosen) for group, chosen in inside if chosen.any()]


def mean_draws(means: Sequence[Mean], weights: np.ndarray) -> np.ndarray:
    """Several means in every draw, as ratios of weighted per-person sums.

    Args:
        means: what to average, over which people's rows.
        weights: how often each person counts; column 0 is the sample itself, shape (people, draws).

    Returns:
        Shape (means, draws); NaN where a draw holds nobody of the mean. A mean with an infinite value is infinite in
        the sample and NaN in every other column, because no standard error exists.
    """
    return ratio_draws(*person_sums(means, len(weights)), weights)


def person_sums(means: Sequence[Mean], people: int) -> tuple[np.ndarray, np.ndarray]:
    """Each person's sum of values and sum of weights (rows, where all count the same), both (means, people)."""
    sums, counts = np.empty((2, len(means), people))
    for place, mean in enumerate(means):
        values, weight = mean.values, mean.weight
        if weight is not None:
            counted = weight > 0  # nothing times infinity is nothing
            values = np.multiply(values, weight, out=np.zeros(len(values)), where=counted)
        sums[place] = np.bincount(mean.person, weights=values, minlength=people)
        counts[place] = np.bincount(mean.person, weights=weight, minlength=people)
    return sums, counts


def ratio_draws(sums: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ratios of sums over people in every draw; see ``mean_draws``.

    Args:
        sums: numerators, shape (statistics, people).
        counts: denominators, shape (statistics, people).
        weights: shape (people, draws).

    Returns:
        Shape (statistics, draws).
    """
    finite = np.isfinite(sums)  # (statistics, people)
    totals = weighted_sums(np.concatenate([np.where(finite, sums, 0.0), counts]), weights)  # (2 statistics, draws)
    found = ratio(totals[: len(sums)], totals[len(sums) :])
    for broken in np.flatnonzero(~finite.all(axis=1)):
        found[broken] = np.nan
        found[broken, 0] = sums[broken].sum()
    return found  # (statistics, draws)
