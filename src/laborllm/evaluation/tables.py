"""From draws to the tables of an evaluation (design: the exact columns of evaluation.csv and comparisons.csv)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from laborllm.evaluation.calibration import Reliability
from laborllm.evaluation.draws import ALL, GRID, Key
from laborllm.evaluation.simultaneous import critical_value
from laborllm.evaluation.uncertainty import bootstrap_std_error, percentile_interval, ratio

Draws = Mapping[str, Mapping[Key, np.ndarray]]
"""Model -> key -> the sample itself, then the bootstrap draws, shape (replicates + 1,)."""
Deltas = Mapping[str, Mapping[Key, float]]
"""Model -> key -> delta-method standard error, where there is one."""
Sizes = Mapping[tuple[str, str, str], tuple[int, int]]
"""(task, subset, group) -> person-years, people."""

Schema = Mapping[str, type[pl.DataType]]
"""Column -> type, in the order of the file."""

KEY_SCHEMA: Schema = dict.fromkeys(Key._fields, pl.String)
SPREAD_SCHEMA: Schema = dict.fromkeys(("std_error", "ci_low", "ci_high"), pl.Float64)
SIZE_SCHEMA: Schema = dict.fromkeys(("person_years", "people"), pl.Int64)
BAND_SCHEMA: Schema = dict.fromkeys(("band_low", "band_high"), pl.Float64)
EVALUATION: Schema = {
    "model": pl.String,
    **KEY_SCHEMA,
    "estimate": pl.Float64,
    **SPREAD_SCHEMA,
    **SIZE_SCHEMA,
    "std_error_delta": pl.Float64,
    **BAND_SCHEMA,
}
COMPARISONS: Schema = {
    **dict.fromkeys(("model_a", "model_b"), pl.String),
    **KEY_SCHEMA,
    "difference": pl.Float64,
    **SPREAD_SCHEMA,
    **SIZE_SCHEMA,
    **BAND_SCHEMA,
}
RELIABILITY: Schema = {
    "model": pl.String,
    "task": pl.String,
    "bin": pl.Int64,
    **dict.fromkeys(("edge_low", "edge_high", "predicted", "observed", "ci_low", "ci_high"), pl.Float64),
    "person_years": pl.Int64,
}
ROC: Schema = {
    **dict.fromkeys(("model", "task"), pl.String),
    **dict.fromkeys(("false_positive_rate", "true_positive_rate", "ci_low", "ci_high"), pl.Float64),
}
ATTAINABLE: Schema = {**dict.fromkeys(("model", "baseline", "floor"), pl.String), "share": pl.Float64, **SPREAD_SCHEMA}


REFLECTED = ("calibration_error", "brier_reliability", "brier_resolution")
"""Metrics that noise pushes up in the sample and once more in its draws: their intervals are reflected."""
SAME_FOR_ALL = ("brier_uncertainty",)
"""Metrics that depend on what happened and not on the model: models are not compared by them."""


def evaluation_table(draws: Draws, sizes: Sizes, deltas: Deltas, *, confidence: float) -> pl.DataFrame:
    """One row per model and key at which the sample defines the metric; columns as in ``EVALUATION``."""
    families = []
    for key in _keys(draws):
        models = [model for model in draws if key in draws[model] and not np.isnan(draws[model][key][0])]
        if not models:
            continue
        size = sizes[key.task, key.subset, key.group]
        values = np.stack([draws[model][key] for model in models])
        spread = _family(values, key, people=size[1], confidence=confidence, least=0.0)
        delta = [deltas[model].get(key, np.nan) if size[1] > 1 else np.nan for model in models]
        families.append(([models], key, [values[:, 0], *spread[:3]], size, [delta, *spread[3:]]))
    return _stacked(families, EVALUATION, [(model,) for model in draws])


def comparisons_table(
    draws: Draws, sizes: Sizes, *, pairs: Sequence[tuple[str, str]], confidence: float
) -> pl.DataFrame:
    """One row per pair of models and key that both have; columns as in ``COMPARISONS``."""
    families = []
    for key in _keys(draws):
        have = {model for model in draws if key in draws[model] and not np.isnan(draws[model][key][0])}
        both = [(a, b) for a, b in pairs if a in have and b in have]
        if not both or key.metric in SAME_FOR_ALL:
            continue
        size = sizes[key.task, key.subset, key.group]
        values = np.stack([_difference(draws[a][key], draws[b][key]) for a, b in both])
        spread = _family(values, key, people=size[1], confidence=confidence, least=-np.inf)
        names = [list(each) for each in zip(*both, strict=True)]
        families.append((names, key, [values[:, 0], *spread[:3]], size, spread[3:]))
    return _stacked(families, COMPARISONS, pairs)


def _keys(draws: Draws) -> list[Key]:
    """The keys of any model, task by task in the order in which they first stand."""
    keys = list(dict.fromkeys(key for found in draws.values() for key in found))
    tasks = list(dict.fromkeys(key.task for key in keys))
    return sorted(keys, key=lambda key: tasks.index(key.task))


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # infinite less infinite: unknown
        return a - b


def _family(values: np.ndarray, key: Key, *, people: int, confidence: float, least: float) -> list[np.ndarray]:
    """std_error, ci_low, ci_high, band_low, band_high of all models, or pairs, at one key, each (members,)."""
    members = len(values)
    spread = spread_of(
        values,
        people=np.full(members, people),
        reflected=np.full(members, key.metric in REFLECTED),
        confidence=confidence,
        least=least,
    )
    defined = ~np.isnan(values).all(axis=0)  # not so in draws without anybody, or without an event
    defined[0] = True
    reach = critical_value(values[:, defined], confidence=confidence) * spread[0]
    with np.errstate(invalid="ignore"):  # an infinite estimate has no band
        return [*spread, values[:, 0] - reach, values[:, 0] + reach]


def _stacked(families: list[tuple], schema: Schema, order: Sequence[tuple[str, ...]]) -> pl.DataFrame:
    """Families of (names, key, numbers, sizes, more numbers) as one frame, by model or pair and then by key."""
    if not families:
        return pl.DataFrame(schema=schema)
    columns: list[list[Any]] = [[] for _ in schema]
    places = []
    place_of = {names: place for place, names in enumerate(order)}
    for names, key, numbers, size, more in families:
        members = len(names[0])
        parts = [*names, *([word] * members for word in key), *numbers, *([each] * members for each in size), *more]
        for column, part in zip(columns, parts, strict=True):
            column.extend(part)
        places += [place_of[each] for each in zip(*names, strict=True)]
    return _frame(columns, schema)[np.argsort(places, kind="stable")]


def _frame(columns: Sequence[Any], schema: Schema) -> pl.DataFrame:
    """Named and typed columns; an undefined number is null, never NaN."""
    named = [pl.Series(name, column, dtype=schema[name]) for name, column in zip(schema, columns, strict=True)]
    return pl.DataFrame(named).with_columns(pl.selectors.float().fill_nan(None))


def spread_of(
    draws: np.ndarray, *, people: np.ndarray, reflected: np.ndarray, confidence: float, least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard error and interval of each statistic.

    Args:
        draws: the sample itself in column 0, then bootstrap draws, shape (statistics, replicates + 1).
        people: behind each statistic; fewer than two leave everything NaN, shape (statistics,).
        reflected: whether the interval is 2 estimate - (upper, lower) instead of (lower, upper), shape (statistics,).
        confidence: of the interval.
        least: no reflected interval reaches below.

    Returns:
        std_error, ci_low, ci_high, each of shape (statistics,).
    """
    replicates = np.where(people[:, None] < 2, np.nan, draws[:, 1:])
    low, high = percentile_interval(replicates, confidence=confidence)
    with np.errstate(invalid="ignore"):  # an infinite estimate has no interval to reflect
        mirrored = np.maximum(2 * draws[:, 0] - high, least), 2 * draws[:, 0] - low
    return (
        bootstrap_std_error(replicates),
        np.where(reflected, mirrored[0], low),
        np.where(reflected, mirrored[1], high),
    )


def reliability_table(reliability: Mapping[str, Sequence[Reliability]], *, confidence: float) -> pl.DataFrame:
    """One row per model, task and bin; columns as in ``RELIABILITY``."""
    frames = [pl.DataFrame(schema=RELIABILITY)]
    for model, found in reliability.items():
        frames += [_reliability_frame(model, one, confidence=confidence) for one in found]
    return pl.concat(frames)


def _reliability_frame(model: str, reliability: Reliability, *, confidence: float) -> pl.DataFrame:
    bins = len(reliability.predicted)
    _, low, high = spread_of(
        reliability.observed,
        people=reliability.people,
        reflected=np.zeros(bins, dtype=bool),
        confidence=confidence,
        least=0.0,
    )
    edges = reliability.edges
    columns: list[Any] = [[model] * bins, [reliability.task] * bins, np.arange(1, bins + 1), edges[:-1], edges[1:]]
    columns += [reliability.predicted, reliability.observed[:, 0], low, high, reliability.person_years]
    return _frame(columns, RELIABILITY)


def roc_table(roc: Mapping[str, Mapping[str, np.ndarray]], sizes: Sizes, *, confidence: float) -> pl.DataFrame:
    """One row per model, task and false-positive rate; columns as in ``ROC``.

    Args:
        roc: model -> task -> true-positive rates at ``GRID``, shape (grid, replicates + 1).
        sizes: people behind each task.
        confidence: of the intervals.
    """
    frames = [pl.DataFrame(schema=ROC)]
    for model, curves in roc.items():
        for task, rates in curves.items():
            points = len(rates)
            _, low, high = spread_of(
                rates,
                people=np.full(points, sizes[task, "all", "all"][1]),
                reflected=np.zeros(points, dtype=bool),
                confidence=confidence,
                least=0.0,
            )
            frames.append(_frame([[model] * points, [task] * points, GRID, rates[:, 0], low, high], ROC))
    return pl.concat(frames)


def attainable_table(
    draws: Draws, baseline: str | None, floor: str | None, *, confidence: float
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Share of the attainable gain of every model but the baseline and the floor; columns as in ``ATTAINABLE``."""
    models = [model for model in draws if model not in (baseline, floor) and ALL in draws[model]]
    if baseline is None or floor is None or not models:
        return pl.DataFrame(schema=ATTAINABLE), ()
    start, end = np.log(draws[baseline][ALL]), np.log(draws[floor][ALL])
    if not np.isfinite(start[0] - end[0]) or start[0] <= end[0]:
        note = f"attainable: left out, {floor!r} does not improve on {baseline!r} by a finite amount"
        return pl.DataFrame(schema=ATTAINABLE), (note,)
    shares = np.stack([ratio(start - np.log(draws[model][ALL]), start - end) for model in models])
    spread = spread_of(
        shares,
        people=np.full(len(models), 2),
        reflected=np.zeros(len(models), dtype=bool),
        confidence=confidence,
        least=-np.inf,
    )
    return _frame([models, [baseline] * len(models), [floor] * len(models), shares[:, 0], *spread], ATTAINABLE), ()
