"""Transition rates that models imply, beside those of the test sample and those that others have published."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from laborllm.evaluation.cells import group_values
from laborllm.evaluation.checks import BLOCK, check_predictions
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.evaluation.published.aggregates import Aggregates
from laborllm.evaluation.uncertainty import (
    blocks,
    bootstrap_std_error,
    draw_weights,
    percentile_interval,
    ratio,
    weighted_sums,
)
from laborllm.evaluation.weighting import survey_weights
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers

logger = logging.getLogger(__name__)

LEAST_EVENTS = 5
"""Rows at risk that must reach "to", and that must not, for a spread of what was observed."""
COMPARED = ("observed", "implied", "minus_published", "minus_observed")
"""Numbers that have a spread."""
RATES = {
    **dict.fromkeys(("model", "from", "to"), pl.String),
    **dict.fromkeys(("year_from", "year_to"), pl.Int64),
    **dict.fromkeys(("group", "source"), pl.String),
    **dict.fromkeys(("published", "published_std_error"), pl.Float64),
    **{f"{name}{end}": pl.Float64 for name in COMPARED for end in ("", "_std_error", "_ci_low", "_ci_high")},
    **dict.fromkeys(("person_years", "people", "reached", "other_gaps", "without_weight"), pl.Int64),
}
"""Column -> type, in the order of aggregates.csv."""


@dataclass(frozen=True)
class _Sample:
    """What is the same for every model.

    Attributes:
        person: each row's person, shape (person_years,).
        weight: how much each row counts, shape (person_years,).
        happened: position of each row's occupation, shape (person_years,).
        lines: rows at risk of each published rate.
        reached: the column of ``destinations`` of each rate.
        destinations: which occupations each "to" holds, shape (occupations, destinations).
        draws: how often each person counts, shape (people, replicates + 1).
        at_risk: weight at risk in every draw, shape (lines, replicates + 1).
        published: the published rates, with normal errors where these have one, shape (lines, replicates + 1).
    """

    person: np.ndarray
    weight: np.ndarray
    happened: np.ndarray
    lines: tuple[np.ndarray, ...]
    reached: np.ndarray
    destinations: np.ndarray
    draws: np.ndarray
    at_risk: np.ndarray
    published: np.ndarray

    def rates(self, probability: np.ndarray) -> np.ndarray:
        """Each rate in every draw, shape (lines, replicates + 1); probability by (person_years, destinations)."""
        sums = [
            np.bincount(self.person[rows], self.weight[rows] * probability[rows, column], minlength=len(self.draws))
            for rows, column in zip(self.lines, self.reached, strict=True)
        ]
        return ratio(weighted_sums(np.stack(sums), self.draws), self.at_risk)


def compare_with_aggregates(
    predictions: Mapping[str, Probabilities],
    careers: Careers,
    aggregates: Aggregates,
    settings: EvaluationSettings | None = None,
) -> pl.DataFrame:
    """Set the rates that models imply beside published ones and the test sample's own.

    A rate is that from a row to the person's next one, a calendar year later; rows after a longer gap are left out,
    and counted. ``observed`` is the share of rows at risk, those whose previous occupation is in "from", that reach
    "to"; ``implied`` is the mean probability of "to" over the same rows. Both count rows by their survey weights where
    the careers have such; rows without one are left out, and counted. ``minus_published`` and ``minus_observed`` are
    implied less the one and the other. Intervals are percentile intervals over the draws of test people of
    ``evaluate``; a published standard error enters minus_published as a normal error that is independent of the
    sample. Where fewer than ``LEAST_EVENTS`` rows at risk reached "to", or failed to, the spread of observed and
    minus_observed is null: draws of so few events know too little of their luck. The fitted models are held fixed.

    Args:
        predictions: model name -> its probabilities for exactly these careers; one is held at a time, and those with
            realised titles only are left out.
        careers: the test part.
        aggregates: the published rates.
        settings: the section [evaluation]; its defaults if None.

    Returns:
        One row per model and published rate, in the order of both; columns as in ``RATES``. Rates are shares 0 … 1,
        null where nobody is at risk. reached: rows at risk that reached "to".
        other_gaps: rows that would be at risk but for a gap of more than a year.
        without_weight: rows that would be at risk but for the weight; null where the careers have no weights.

    Raises:
        LaborLLMError: predictions are not of these careers or no probabilities, or a group names a covariate that they
            lack.
    """
    settings = settings or EvaluationSettings()
    weight, _ = survey_weights(careers)
    base, sample = _sample(careers, aggregates, weight, settings)
    observed = sample.rates(sample.destinations.T[:, sample.happened].T)
    frames = [pl.DataFrame(schema=RATES)]
    for model in predictions:
        prediction = predictions[model]
        check_predictions({model: prediction}, careers)
        if prediction.log_probabilities is None:
            logger.info("%s: no implied rates, it has realised titles only", model)
            continue
        implied = sample.rates(_probability(prediction.log_probabilities, sample.destinations))
        numbers = (observed, implied, implied - sample.published, implied - observed)
        frames.append(_frame(model, base, numbers, settings.confidence))
    return pl.concat(frames)


def _probability(log_probabilities: np.ndarray, destinations: np.ndarray) -> np.ndarray:
    """Probability of each destination, float64, shape (person_years, destinations)."""
    probability = np.empty((len(log_probabilities), destinations.shape[1]))
    for rows in blocks(len(probability), BLOCK):
        probability[rows] = np.exp(log_probabilities[rows], dtype=np.float64) @ destinations
    return probability


def _sample(
    careers: Careers, aggregates: Aggregates, weight: np.ndarray | None, settings: EvaluationSettings
) -> tuple[pl.DataFrame, _Sample]:
    """The published part of the answer with its counts, and what all models share."""
    lines, members = aggregates.lines, aggregates.members
    counts, at_risk = _at_risk(careers, aggregates, weight)
    names = list(dict.fromkeys(lines["to"]))
    draws = draw_weights(careers.people, settings.bootstrap, np.random.default_rng(settings.seed))
    weights = np.ones(len(careers)) if weight is None else weight
    totals = [np.bincount(careers.person_of_row[rows], weights[rows], minlength=careers.people) for rows in at_risk]
    luck = np.random.default_rng([settings.seed, 1]).normal(size=(lines.height, settings.bootstrap))
    error = lines["std_error"].fill_null(0.0).to_numpy()[:, None] * np.column_stack([np.zeros(lines.height), luck])
    base = pl.concat(
        [lines.rename({"rate": "published", "std_error": "published_std_error"}), counts], how="horizontal"
    )
    return base, _Sample(
        person=careers.person_of_row,
        weight=weights,
        happened=careers.occupation,
        lines=at_risk,
        reached=np.array([names.index(name) for name in lines["to"]]),
        destinations=np.column_stack([members[name] for name in names]).astype(np.float64),
        draws=draws,
        at_risk=weighted_sums(np.stack(totals), draws),
        published=lines["rate"].to_numpy()[:, None] + error,
    )


def _at_risk(
    careers: Careers, aggregates: Aggregates, weight: np.ndarray | None
) -> tuple[pl.DataFrame, tuple[np.ndarray, ...]]:
    """For every published rate its counts, and the rows at risk."""
    year = careers.table["year"].to_numpy().astype(np.int64)
    next_year = np.diff(year, prepend=year[:1]) == 1
    usable = np.ones(len(careers), dtype=bool) if weight is None else weight > 0
    counts, at_risk = [], []
    for line in aggregates.lines.iter_rows(named=True):
        inside = (careers.previous >= 0) & aggregates.members[line["from"]][careers.previous]
        inside &= (year >= (line["year_from"] or year.min())) & (year <= (line["year_to"] or year.max()))
        inside &= _of_group(careers, line["group"])
        rows = np.flatnonzero(inside & next_year & usable)
        people = len(np.unique(careers.person_of_row[rows]))
        lost = None if weight is None else int((inside & next_year & ~usable).sum())
        reached = int(aggregates.members[line["to"]][careers.occupation[rows]].sum())
        counts.append((len(rows), people, reached, int((inside & ~next_year).sum()), lost))
        at_risk.append(rows)
        if not len(rows):
            logger.warning(
                "published rate from %s to %s, %s: nobody is at risk", *(line[k] for k in ("from", "to", "group"))
            )
    names = ("person_years", "people", "reached", "other_gaps", "without_weight")
    return pl.DataFrame(counts, schema=dict.fromkeys(names, pl.Int64), orient="row"), tuple(at_risk)


def _of_group(careers: Careers, group: str) -> np.ndarray:
    covariate, _, value = group.partition("=")
    if group == "all":
        return np.ones(len(careers), dtype=bool)
    return group_values(careers, covariate).fill_null("missing").eq(value).to_numpy()


def _frame(model: str, base: pl.DataFrame, numbers: tuple[np.ndarray, ...], confidence: float) -> pl.DataFrame:
    """The rows of one model; each of the numbers has shape (lines, replicates + 1)."""
    columns = {}
    few = (base["people"] < 2).to_numpy()
    rare = base.select(pl.min_horizontal("reached", pl.col("person_years") - pl.col("reached")) < LEAST_EVENTS)
    unsure = few | rare.to_series().to_numpy()
    for name, draws in zip(COMPARED, numbers, strict=True):
        without = unsure if name.endswith("observed") else few
        replicates = np.where(without[:, None], np.nan, draws[:, 1:])
        low, high = percentile_interval(replicates, confidence=confidence)
        columns[name] = draws[:, 0]
        columns |= {
            f"{name}_std_error": bootstrap_std_error(replicates),
            f"{name}_ci_low": low,
            f"{name}_ci_high": high,
        }
    found = base.with_columns(pl.Series(name, values) for name, values in columns.items())
    found = found.with_columns(pl.selectors.float().fill_nan(None), model=pl.lit(model))
    return found.select(pl.col(name).cast(kind) for name, kind in RATES.items())
