"""Every metric of one model, in the sample and in all bootstrap draws at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from laborllm.evaluation.cells import Cell, people_in
from laborllm.evaluation.metrics import bin_edges, bin_of, calibration_error, weighted_auc
from laborllm.evaluation.tasks import Event, EventScores, event_scores, occupation_scores
from laborllm.evaluation.uncertainty import ratio, weighted_sums
from laborllm.models.probabilities import Probabilities

BINS = 10
"""Quantile bins of a reliability diagram."""
PERPLEXITIES = ("perplexity", "perplexity_raw")
"""Metrics that are exp of a mean number of nats; the occupation's are also reported by subset and group."""


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
        events: the binary tasks.
    """

    person: np.ndarray
    weights: np.ndarray
    cells: tuple[Cell, ...]
    events: tuple[Event, ...]

    @property
    def groups(self) -> tuple[Cell, ...]:
        """The cells that do not condition on the transition type."""
        return tuple(cell for cell in self.cells if cell.subset == "all")

    def sizes(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Person-years and people behind each (task, subset, group)."""
        sizes = {}
        for cell in self.cells:
            size = int(cell.rows.sum()), people_in(cell.rows, self.person)
            sizes["occupation", cell.subset, cell.group] = size
        for event in self.events:
            for cell in self.groups:
                chosen = event.rows[cell.rows[event.rows]]
                sizes[event.task, cell.subset, cell.group] = len(chosen), len(np.unique(self.person[chosen]))
        return sizes


@dataclass(frozen=True)
class Reliability:
    """Reliability of one model's prediction of one event, by quantile bins of the predicted probability.

    Attributes:
        task: "move" or "leave_labor_force".
        edges: least and greatest prediction of the task with the inner edges between them, shape (bins + 1,).
        predicted: mean predicted probability, shape (bins,).
        observed: share of rows in which the event happened; column 0 is the sample, shape (bins, replicates + 1).
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
class Mean:
    """A mean over some rows, to be taken in every draw.

    Attributes:
        values: what is averaged, shape (rows,).
        person: each of these rows' person, shape (rows,).
    """

    values: np.ndarray
    person: np.ndarray


def model_draws(prediction: Probabilities, sample: Sample) -> tuple[dict[Key, np.ndarray], list[Reliability]]:
    """Every metric of one model: key -> shape (replicates + 1,), the sample itself first; and its reliability."""
    draws = _occupation_draws(occupation_scores(prediction), sample)
    reliability = []
    if prediction.log_probabilities is not None:
        for event in sample.events:
            scores = event_scores(prediction.log_probabilities, event)
            draws |= _event_draws(event, scores, sample)
            reliability.append(_reliability(event, scores, sample))
    return draws, reliability


def _occupation_draws(scores: dict[str, np.ndarray], sample: Sample) -> dict[Key, np.ndarray]:
    means = {}
    for metric, values in scores.items():
        for cell in sample.cells if metric in PERPLEXITIES else sample.cells[:1]:
            key = Key("occupation", metric, cell.subset, cell.group)
            means[key] = Mean(values[cell.rows], sample.person[cell.rows])
    return _in_units(means, sample.weights)


def _in_units(means: dict[Key, Mean], weights: np.ndarray) -> dict[Key, np.ndarray]:
    """Draws of each mean in its metric's unit: exp of the nats for a perplexity."""
    if not means:
        return {}
    found = dict(zip(means, mean_draws(list(means.values()), weights), strict=True))
    with np.errstate(over="ignore"):  # more than 709 nats a row: infinite
        return {key: np.exp(mean) if key.metric in PERPLEXITIES else mean for key, mean in found.items()}


def _event_draws(event: Event, scores: EventScores, sample: Sample) -> dict[Key, np.ndarray]:
    """Perplexity and Brier score over all rows; AUC and calibration error, for moving also in each group."""
    person = sample.person[event.rows]
    draws = _in_units(
        {
            Key(event.task, "perplexity", "all", "all"): Mean(scores.nats, person),
            Key(event.task, "brier", "all", "all"): Mean((scores.probability - event.happened) ** 2, person),
        },
        sample.weights,
    )
    cells = {
        cell.group: cell.rows[event.rows] for cell in (sample.groups if event.task == "move" else sample.cells[:1])
    }
    cells = {group: rows for group, rows in cells.items() if rows.any()}
    for group, rows in cells.items():
        auc = weighted_auc(scores.probability[rows], event.happened[rows], person=person[rows], weights=sample.weights)
        draws[Key(event.task, "auc", "all", group)] = auc
    gaps = [_bin_gaps(scores.probability[rows], event.happened[rows], person[rows]) for rows in cells.values()]
    means = mean_draws([gap for cell in gaps for gap in cell], sample.weights)
    ends = np.cumsum([len(cell) for cell in gaps])
    for group, cell_means in zip(cells, np.split(means, ends[:-1]), strict=True):
        draws[Key(event.task, "calibration_error", "all", group)] = calibration_error(cell_means)
    return draws


def _bin_gaps(probability: np.ndarray, happened: np.ndarray, person: np.ndarray) -> list[Mean]:
    """For each quantile bin of a cell, the mean over the cell of predicted minus event, zero outside the bin."""
    bins = bin_of(probability, bin_edges(probability, bins=BINS))
    gap = probability - happened
    return [Mean(np.where(bins == place, gap, 0.0), person) for place in range(bins.max() + 1)]


def _reliability(event: Event, scores: EventScores, sample: Sample) -> Reliability:
    person = sample.person[event.rows]
    inner = bin_edges(scores.probability, bins=BINS)
    bins = bin_of(scores.probability, inner)
    rows = [np.flatnonzero(bins == place) for place in range(len(inner) + 1)]
    happened = event.happened.astype(np.float64)
    return Reliability(
        task=event.task,
        edges=np.concatenate([[scores.probability.min()], inner, [scores.probability.max()]]),
        predicted=np.array([scores.probability[chosen].mean() for chosen in rows]),
        observed=mean_draws([Mean(happened[chosen], person[chosen]) for chosen in rows], sample.weights),
        person_years=np.array([len(chosen) for chosen in rows]),
        people=np.array([len(np.unique(person[chosen])) for chosen in rows]),
    )


def mean_draws(means: Sequence[Mean], weights: np.ndarray) -> np.ndarray:
    """Several means in every draw, as ratios of weighted per-person sums.

    Args:
        means: what to average, over which people's rows.
        weights: how often each person counts; column 0 is the sample itself, shape (people, draws).

    Returns:
        Shape (means, draws); NaN where a draw holds nobody of the mean. A mean with an infinite value is infinite in
        the sample and NaN in every other column, because no standard error exists.
    """
    people = len(weights)
    sums = [np.bincount(mean.person, weights=mean.values, minlength=people) for mean in means]
    counts = [np.bincount(mean.person, minlength=people) for mean in means]
    finite = np.isfinite(sums)  # (means, people)
    totals = weighted_sums(np.concatenate([np.where(finite, sums, 0.0), counts]), weights)  # (2 means, draws)
    found = ratio(totals[: len(means)], totals[len(means) :])
    for broken in np.flatnonzero(~finite.all(axis=1)):
        found[broken] = np.nan
        found[broken, 0] = sums[broken].sum()
    return found  # (means, draws)
