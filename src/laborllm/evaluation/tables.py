"""From draws to the tables of an evaluation (design: the exact columns of evaluation.csv and comparisons.csv)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from laborllm.evaluation.draws import ALL, Key, Reliability
from laborllm.evaluation.uncertainty import bootstrap_std_error, percentile_interval, ratio

Draws = Mapping[str, Mapping[Key, np.ndarray]]
"""Model -> key -> the sample itself, then the bootstrap draws, shape (replicates + 1,)."""
Sizes = Mapping[tuple[str, str, str], tuple[int, int]]
"""(task, subset, group) -> person-years, people."""

Schema = Mapping[str, type[pl.DataType]]
"""Column -> type, in the order of the file."""

KEY_SCHEMA: Schema = dict.fromkeys(Key._fields, pl.String)
SPREAD_SCHEMA: Schema = dict.fromkeys(("std_error", "ci_low", "ci_high"), pl.Float64)
SIZE_SCHEMA: Schema = dict.fromkeys(("person_years", "people"), pl.Int64)
EVALUATION: Schema = {"model": pl.String, **KEY_SCHEMA, "estimate": pl.Float64, **SPREAD_SCHEMA, **SIZE_SCHEMA}
COMPARISONS: Schema = {
    **dict.fromkeys(("model_a", "model_b"), pl.String),
    **KEY_SCHEMA,
    "difference": pl.Float64,
    **SPREAD_SCHEMA,
    **SIZE_SCHEMA,
}
RELIABILITY: Schema = {
    "model": pl.String,
    "task": pl.String,
    "bin": pl.Int64,
    **dict.fromkeys(("edge_low", "edge_high", "predicted", "observed", "ci_low", "ci_high"), pl.Float64),
    "person_years": pl.Int64,
}
ATTAINABLE: Schema = {**dict.fromkeys(("model", "baseline", "floor"), pl.String), "share": pl.Float64, **SPREAD_SCHEMA}


def evaluation_table(draws: Draws, sizes: Sizes, *, confidence: float) -> pl.DataFrame:
    """One row per model and key at which the sample defines the metric; columns as in ``EVALUATION``."""
    rows = [
        ((model, *key), values, sizes[key.task, key.subset, key.group], key.metric)
        for model, found in draws.items()
        for key, values in found.items()
        if not np.isnan(values[0])
    ]
    return _table(rows, EVALUATION, confidence=confidence, least=0.0)


def comparisons_table(
    draws: Draws, sizes: Sizes, *, pairs: Sequence[tuple[str, str]], confidence: float
) -> pl.DataFrame:
    """One row per pair of models and key that both have; columns as in ``COMPARISONS``."""
    frames = [_table([], COMPARISONS, confidence=confidence, least=-np.inf)]
    for a, b in pairs:
        rows = [
            ((a, b, *key), _difference(values, draws[b][key]), sizes[key.task, key.subset, key.group], key.metric)
            for key, values in draws[a].items()
            if key in draws[b] and not np.isnan([values[0], draws[b][key][0]]).any()
        ]
        frames.append(_table(rows, COMPARISONS, confidence=confidence, least=-np.inf))
    return pl.concat(frames)


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # infinite less infinite: unknown
        return a - b


def _table(rows: list[tuple], schema: Schema, *, confidence: float, least: float) -> pl.DataFrame:
    """Rows of (names, draws, (person-years, people), metric) as a frame with estimate, spread and sizes."""
    if not rows:
        return pl.DataFrame(schema=schema)
    names, draws, sizes, metrics = zip(*rows, strict=True)
    spread = spread_of(
        np.stack(draws),
        people=np.array([people for _, people in sizes]),
        reflected=np.array([metric == "calibration_error" for metric in metrics]),
        confidence=confidence,
        least=least,
    )
    estimate = np.array([values[0] for values in draws])
    columns: list[Any] = [*zip(*names, strict=True), estimate, *spread, *zip(*sizes, strict=True)]
    return _frame(columns, schema)


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
