"""For which groups of people a model is off, and by how much: its average prediction beside what happened there.

A model that is right has differences of nothing but sampling noise in every group (method: representativeness). Many
groups and quantities are looked at, so what stands out is judged for the whole family at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from laborllm.evaluation.checks import check_predictions, require_something
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.evaluation.groups.implied_rates import (
    MIN_PEOPLE,
    Design,
    ModelSums,
    design_of,
    find_groups,
    find_quantities,
    model_sums,
)
from laborllm.evaluation.groups.sampling_noise import distance_noise, normalised, widened
from laborllm.evaluation.simultaneous import adjusted_p_values
from laborllm.evaluation.tables import Schema
from laborllm.evaluation.uncertainty import (
    draw_weights,
    percentile_interval,
    ratio,
)
from laborllm.evaluation.weighting import survey_weights
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers

MIN_EVENTS = 30
"""Person-years, expected or observed, in which a thing must happen, and in which it must not, to be compared."""

GAPS: Schema = {
    **dict.fromkeys(("model", "weighting", "quantity", "group"), pl.String),
    **dict.fromkeys(
        ("predicted", "observed", "difference", "std_error", "ci_low", "ci_high", "p_adjusted"), pl.Float64
    ),
    **dict.fromkeys(("flagged", "person_years", "people"), pl.Int64),
}
"""Columns of representativeness.csv."""
DISTANCES: Schema = {
    **dict.fromkeys(("model", "weighting", "group"), pl.String),
    **dict.fromkeys(("distance", "noise", "noise_high"), pl.Float64),
    **dict.fromkeys(("person_years", "people"), pl.Int64),
}
"""Columns of representativeness_distance.csv."""


@dataclass(frozen=True)
class Representativeness:
    """What models predict on average, beside what happened, by group of people.

    Attributes:
        gaps: model, weighting ("unweighted" | "weighted"), quantity, group, predicted, observed, difference
            (predicted - observed, all three in shares 0 … 1 of the person-years at risk), std_error (the larger of
            the bootstrap's and the one that the model's probabilities imply), ci_low, ci_high (of this one
            difference), p_adjusted (step-down, for all rows of this model and weighting), flagged (1 if p_adjusted
            < 1 - confidence, else 0), person_years, people (at risk). Without bootstrap all from std_error to flagged
            is null.
        shares_distance: model, weighting, group, distance (total variation between predicted and observed shares of all
            occupations, 0 … 1), noise (its mean if the model were right), noise_high (exceeded one time in twenty if
            the model were right), person_years, people.
        notes: what was left out and why, one sentence each.
    """

    gaps: pl.DataFrame
    shares_distance: pl.DataFrame
    notes: tuple[str, ...]


def representativeness(
    predictions: Mapping[str, Probabilities],
    careers: Careers,
    settings: EvaluationSettings | None = None,
    *,
    progress: Callable[[str], None] | None = None,
) -> Representativeness:
    """Compare predicted with observed shares and rates in every group of people and every pair of groups.

    Quantities: shares of the broad groups and of each state; staying, and the other yes-or-no tasks among those at
    risk of them; losing a job to unemployment; the larger flows between broad groups (not for pairs). The draws of
    people are those of ``evaluate`` under the same settings. Where they spread less than the model's own
    probabilities say they must (rare things: a bootstrap of what never happened is certain of it), the model's
    standard error takes their place. Where the careers have weights, everything is done once more with them; rows
    without a positive weight do not count there.

    A flag means: were the model right on average in every one of these cells, the chance of any flag at all would be
    at most 1 - confidence.

    Args:
        predictions: model name -> its probabilities for exactly these careers; read one at a time.
        careers: the test part.
        settings: the section [evaluation]; its defaults if None.
        progress: called with a model's name when it is done.

    Raises:
        LaborLLMError: predictions are not of these careers or no probabilities, or a name in ``by`` is no grouping.

    Examples:
        >>> from laborllm.models.oracle import Oracle
        >>> from laborllm.survey.simulated.simulate import SimulatedSettings, simulate
        >>> survey = SimulatedSettings(people=300, occupations=5, last_year=1990)
        >>> careers = simulate(survey)
        >>> found = representativeness({"truth": Oracle(survey).predict(careers)}, careers)
        >>> int(found.gaps["flagged"].sum())
        0
    """
    settings = settings or EvaluationSettings()
    require_something(predictions, careers)
    if careers.people < MIN_PEOPLE:
        note = f"representativeness: left out, {careers.people} test people are fewer than {MIN_PEOPLE}"
        return Representativeness(pl.DataFrame(schema=GAPS), pl.DataFrame(schema=DISTANCES), (note,))
    sample, notes = _sample(careers, settings)
    gaps, distances = [pl.DataFrame(schema=GAPS)], [pl.DataFrame(schema=DISTANCES)]
    for model in predictions:
        sums = _sums(model, predictions[model], careers, sample)
        if sums is None:
            notes += (f"representativeness: {model} left out, it has probabilities of the realised titles only",)
            continue
        for weighting in sample.weightings.values():
            cells = _cells(sums["unweighted"], sample, weighting)
            gaps.append(_gaps(model, sums[weighting.name], weighting, cells=cells, sample=sample))
            distances.append(_distances(model, sums[weighting.name], weighting, sample))
        if progress is not None:
            progress(model)
    return Representativeness(pl.concat(gaps), pl.concat(distances), notes)


def _sums(model: str, prediction: Probabilities, careers: Careers, sample: "_Sample") -> dict[str, ModelSums] | None:
    """One model read, checked and summed; None in the realised-only form."""
    check_predictions({model: prediction}, careers)
    if prediction.log_probabilities is None:
        return None
    rows = {name: weighting.row for name, weighting in sample.weightings.items()}
    return model_sums(prediction.log_probabilities, sample.design, rows)


@dataclass(frozen=True)
class _Weighting:
    """What happened, under one weighting of the rows; the same for every model.

    Attributes:
        name: "unweighted" or "weighted".
        row: weight of each row, shape (person_years,); None where every row counts once.
        at_risk: weighted person-years at risk in every draw, shape (groups, risk sets, replicates + 1).
        person_years: at risk and of positive weight, shape (groups, quantities).
        people: with such a person-year, shape (groups, quantities).
        observed: weighted person-years in which it happened, shape (groups, quantities).
        occupations: weighted person-years of every occupation, shape (groups, occupations).
    """

    name: str
    row: np.ndarray | None
    at_risk: np.ndarray
    person_years: np.ndarray
    people: np.ndarray
    observed: np.ndarray
    occupations: np.ndarray


@dataclass(frozen=True)
class _Sample:
    """What is the same for every model.

    Attributes:
        design: groups, quantities, runs.
        weights: how often each person counts; column 0 is the sample itself, shape (people, replicates + 1).
        weightings: by name.
        risk_set: of each quantity, which row of ``_Weighting.at_risk`` is its own, shape (quantities,).
        settings: the section [evaluation].
    """

    design: Design
    weights: np.ndarray
    weightings: Mapping[str, _Weighting]
    risk_set: np.ndarray
    settings: EvaluationSettings

    @property
    def everybody(self) -> int:
        """A quantity that all rows are at risk of."""
        return next(n for n, each in enumerate(self.design.quantities) if each.at_risk.all())


def _sample(careers: Careers, settings: EvaluationSettings) -> tuple[_Sample, tuple[str, ...]]:
    groups, notes = find_groups(careers, settings.by)
    targets, quantities, more = find_quantities(careers)
    row_weight, weight_notes = survey_weights(careers)
    design = design_of(careers, groups, targets, quantities)
    weights = draw_weights(careers.people, settings.bootstrap, np.random.default_rng(settings.seed))
    sets = {column.tobytes(): place for place, column in reversed(list(enumerate(design.at_risk.T)))}
    first = np.unique(list(sets.values()))  # quantities whose rows at risk are nobody's before them
    risk_set = np.searchsorted(first, [sets[column.tobytes()] for column in design.at_risk.T])
    rows = {"unweighted": None} | ({} if row_weight is None else {"weighted": row_weight / row_weight.mean()})
    sample = _Sample(
        design=design,
        weights=weights,
        weightings={name: _weighting(name, row, design, risk_set, weights) for name, row in rows.items()},
        risk_set=risk_set,
        settings=settings,
    )
    rule = (
        f"representativeness: left out where fewer than {MIN_PEOPLE} people are at risk, or where the thing, or its "
        f"absence, is neither expected nor observed in {MIN_EVENTS} person-years"
    )
    return sample, (*notes, *more, *weight_notes, rule)


def _weighting(
    name: str, row: np.ndarray | None, design: Design, risk_set: np.ndarray, weights: np.ndarray
) -> _Weighting:
    """Sums of what happened."""
    w = np.ones(len(design.occupation)) if row is None else row
    at_risk = design.at_risk[:, np.unique(risk_set, return_index=True)[1]]  # (person_years, risk sets)
    years, counted = design.run_sums(at_risk * w[:, None]), design.run_sums(at_risk & (w > 0)[:, None])
    occupations = design.targets.indicator.shape[0]
    shares = [np.bincount(design.occupation[g.rows], w[g.rows], minlength=occupations) for g in design.groups]
    people = np.stack([_people(counted[runs] > 0, design.person[runs]) for runs in design.member])
    return _Weighting(
        name=name,
        row=row,
        at_risk=design.draws(years, weights),
        person_years=(design.member @ counted)[:, risk_set].astype(np.int64),
        people=people[:, risk_set],
        observed=design.member @ design.run_sums(design.happened * w[:, None]),
        occupations=np.stack(shares),
    )


def _people(at_risk: np.ndarray, person: np.ndarray) -> np.ndarray:
    """People with a run at risk, for columns of shape (runs, risk sets): shape (risk sets,)."""
    begins = np.flatnonzero(np.append(True, person[1:] != person[:-1]))
    return np.logical_or.reduceat(at_risk, begins, axis=0).sum(axis=0)


def _cells(sums: ModelSums, sample: _Sample, weighting: _Weighting) -> np.ndarray:
    """Which group (by row) is compared in which quantity (by column), bool, shape (groups, quantities).

    Events are counted without weights, whatever the weighting.
    """
    design, plain = sample.design, sample.weightings["unweighted"]
    expected = plain.observed + design.member @ sums.gap
    most, least = np.maximum(expected, plain.observed), np.minimum(expected, plain.observed)
    enough = (weighting.people >= MIN_PEOPLE) & (most >= MIN_EVENTS) & (plain.person_years - least >= MIN_EVENTS)
    pair = np.array([group.pair for group in design.groups])
    flow = np.array([quantity.flow for quantity in design.quantities])
    return enough & ~(pair[:, None] & flow)


def _gaps(model: str, sums: ModelSums, weighting: _Weighting, *, cells: np.ndarray, sample: _Sample) -> pl.DataFrame:
    """Every compared cell of one model; columns as in ``GAPS``."""
    settings = sample.settings
    draws = _draws(sums.gap, weighting, cells=cells, sample=sample)  # (cells, replicates + 1)
    group, quantity = np.nonzero(cells)
    years = weighting.at_risk[:, sample.risk_set, 0]  # (groups, quantities)
    observed = ratio(weighting.observed, years)[cells]
    least = ratio(np.sqrt(sample.design.member @ sums.variance), years)[cells]
    rng = np.random.default_rng(settings.seed)
    std_error, wide = widened(draws, least, rng)
    p_value = adjusted_p_values(normalised(wide, rng))
    low, high = percentile_interval(wide[:, 1:], confidence=settings.confidence)
    flagged = pl.Series(p_value).fill_nan(None) < 1 - settings.confidence
    columns = [
        [model] * len(group),
        [weighting.name] * len(group),
        np.array([each.name for each in sample.design.quantities])[quantity],
        np.array([each.name for each in sample.design.groups])[group],
        *(observed + draws[:, 0], observed, draws[:, 0]),
        *(std_error, low, high, p_value, flagged),
        *(weighting.person_years[cells], weighting.people[cells]),
    ]
    return _frame(columns, GAPS)


def _draws(gap: np.ndarray, weighting: _Weighting, *, cells: np.ndarray, sample: _Sample) -> np.ndarray:
    """Difference of each compared cell in every draw, group after group, shape (cells, replicates + 1)."""
    group, quantity = np.nonzero(cells)
    totals = sample.design.draws(gap, sample.weights)[cells]
    return ratio(totals, weighting.at_risk[group, sample.risk_set[quantity]])


def _distances(model: str, sums: ModelSums, weighting: _Weighting, sample: _Sample) -> pl.DataFrame:
    """Predicted against observed shares of all occupations, group by group; columns as in ``DISTANCES``."""
    total = weighting.occupations.sum(axis=1)  # (groups,)
    moments = sample.design.pattern_member @ sums.occupations  # (3, groups, occupations)
    distance = np.abs(moments[0] - weighting.occupations).sum(axis=1)
    noise = distance_noise(moments, total)
    names = [group.name for group in sample.design.groups]
    years, people = (counts[:, sample.everybody] for counts in (weighting.person_years, weighting.people))
    labels = [model] * len(names), [weighting.name] * len(names), names
    found = _frame([*labels, ratio(distance, 2 * total), *noise, years, people], DISTANCES)
    return found.filter(pl.col("people") >= MIN_PEOPLE)


def _frame(columns: Sequence[Any], schema: Schema) -> pl.DataFrame:
    """Named and typed columns; an undefined number is null, never NaN."""
    named = [pl.Series(name, column).cast(schema[name]) for name, column in zip(schema, columns, strict=True)]
    return pl.DataFrame(named).with_columns(pl.selectors.float().fill_nan(None))
