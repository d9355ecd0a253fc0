"""Who gains from one model over another: an honest regression tree, and averages by every feature.

The gain of a person-year is log P_a - log P_b of what happened, in nats. A tree that is grown on some rows flatters
itself on the same rows, so it is honest (Athey & Imbens, "Recursive partitioning for heterogeneous causal effects",
PNAS 113(27), 2016): the people are halved at random, the rules come from one half, every number from the other. The
rules are then fixed before a number is computed, and intervals are those of any average. The halves do not change
places: the other half would grow another tree, and an average over two sets of rules belongs to neither. The price is
half of the people; the averages by single feature, which nothing selects, use all of them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.evaluation.checks import check_predictions
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.evaluation.groups.gain_tree import Partition, grow_partition
from laborllm.evaluation.groups.row_features import RowFeature, row_features
from laborllm.evaluation.metrics import bin_edges, bin_of
from laborllm.evaluation.simultaneous import adjusted_p_values
from laborllm.evaluation.uncertainty import (
    bootstrap_std_error,
    draw_weights,
    percentile_interval,
    ratio,
    weighted_sums,
)
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers

logger = logging.getLogger(__name__)

BINS = 5
"""Quantile bins of a number."""
EVERYBODY = "everybody"
NAMES = {"model_a": pl.String, "model_b": pl.String}
NUMBERS = {
    **dict.fromkeys(("gain", "std_error", "ci_low", "ci_high", "share_of_gain", "p_value"), pl.Float64),
    **dict.fromkeys(("person_years", "people"), pl.Int64),
}
LEAVES = {**NAMES, "rule": pl.String, **NUMBERS, "variance_explained": pl.Float64}
FEATURES = {**NAMES, "feature": pl.String, "level": pl.String, **NUMBERS}


@dataclass(frozen=True)
class Gains:
    """Who gains from model a over model b.

    Each gain is a mean over person-years, in nats, above zero where a is better; no survey weights are used. Spread is
    over bootstrap draws of test people, those of ``evaluate``; the fitted models are held fixed. ``share_of_gain`` is
    the part of the summed gain that falls to the group, null where the interval of everybody's gain includes zero.
    ``p_value`` is that of "this group gains as much as everybody", adjusted for all groups of the tree or of the
    features together.

    Attributes:
        leaves: model_a, model_b, rule, gain, std_error, ci_low, ci_high, share_of_gain, p_value, person_years, people,
            variance_explained: the half of the people that did not grow the tree, in a row "everybody" first and then
            by leaf, the largest gain first. variance_explained stands in the row of everybody: how much of the
            variance of their rows' gains the other half's averages explain, 0 where the tree is its root alone; it may
            be negative.
        features: the same columns with feature and level in place of rule, without the last: all test people, by
            level or quantile bin of every feature; a row "everybody" first.
        notes: what was left out, and what a reader must know, one sentence each.
    """

    leaves: pl.DataFrame
    features: pl.DataFrame
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Rows:
    """Person-years with a finite gain: gain in nats, the person, each (rows,); weights (people, replicates + 1)."""

    gain: np.ndarray
    person: np.ndarray
    weights: np.ndarray
    confidence: float

    def some(self, chosen: np.ndarray) -> "_Rows":
        return _Rows(self.gain[chosen], self.person[chosen], self.weights, self.confidence)


def who_gains(
    a: Probabilities,
    b: Probabilities,
    careers: Careers,
    training: Careers,
    *,
    names: tuple[str, str],
    settings: EvaluationSettings | None = None,
) -> Gains:
    """Break the gain of model a over model b down by what is known before the occupation is.

    Args:
        a: the probabilities of one model for exactly these careers.
        b: those of another.
        careers: the test part.
        training: the training part, for how often an occupation occurs there.
        names: what the two are called.
        settings: the section [evaluation]; its defaults if None.

    Raises:
        LaborLLMError: predictions are not of these careers, are no probabilities, or have realised titles only; or no
            person-year has a finite gain.
    """
    settings = settings or EvaluationSettings()
    check_predictions(dict(zip(names, (a, b), strict=True)), careers)
    gain, notes = _gain(a, b, names)
    kept = np.flatnonzero(np.isfinite(gain))
    weights = draw_weights(careers.people, settings.bootstrap, np.random.default_rng(settings.seed))
    rows = _Rows(gain[kept], careers.person_of_row[kept], weights, settings.confidence)
    features = tuple(feature.rows(kept) for feature in row_features(careers, training))
    leaves, tree_notes = _by_leaf(rows, features, names, settings.seed)
    return Gains(leaves, _by_feature(rows, features, names), notes + tree_notes)


def _gain(a: Probabilities, b: Probabilities, names: tuple[str, str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Nats by row; infinite or undefined where a model gave no probability to what happened, which the notes count."""
    realised = []
    for name, prediction in zip(names, (a, b), strict=True):
        if prediction.realised is None:
            raise LaborLLMError(
                f"who gains: model {name!r} has raw probabilities of the realised titles only; score the list"
            )
        realised.append(prediction.realised)
    with np.errstate(invalid="ignore"):  # both impossible: undefined
        gain = realised[0] - realised[1]
    notes = []
    for name, log_probability in zip(names, realised, strict=True):
        if count := int(np.isneginf(log_probability).sum()):
            notes.append(
                f"who gains, {names[0]} over {names[1]}: {name} gives probability 0 to {count} realised occupations, "
                f"an infinite loss; their rows are left out, which flatters it"
            )
            logger.warning(notes[-1])
    if not np.isfinite(gain).any():
        raise LaborLLMError(
            f"who gains, {names[0]} over {names[1]}: no person-year has a finite difference; compare other models"
        )
    return gain, tuple(notes)


def _by_leaf(
    rows: _Rows, features: Sequence[RowFeature], names: tuple[str, str], seed: int
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Rules from one half of the people, numbers from the other."""
    people = np.unique(rows.person)
    growing = np.random.default_rng([seed, 1]).permutation(people)[: len(people) // 2]
    grows = np.isin(rows.person, growing)
    partition = grow_partition(rows.gain, rows.person, features, grows=grows, seed=seed)
    half, leaf = rows.some(~grows), partition.leaf[~grows]
    table = _averages(half, [1 + leaf] if len(partition.rules) > 1 else [])
    explained = _variance_explained(half.gain, leaf, partition)
    table = table.with_columns(
        rule=pl.Series([EVERYBODY, *partition.rules[: table.height - 1]]),
        variance_explained=pl.Series([explained, *[None] * (table.height - 1)], dtype=pl.Float64),
    )
    table = pl.concat([table[:1], table[1:].sort("gain", descending=True, nulls_last=True)])
    note = _tree_note(len(partition.rules), explained, names)
    return _named(table, names, LEAVES), (note, *_share_notes(table, names))


def _variance_explained(gain: np.ndarray, leaf: np.ndarray, partition: Partition) -> float:
    around = ((gain - partition.average) ** 2).sum()
    return float(1 - ((gain - partition.averages[leaf]) ** 2).sum() / around) if around > 0 else 0.0


def _tree_note(leaves: int, explained: float, names: tuple[str, str]) -> str:
    start = f"who gains, {names[0]} over {names[1]}: "
    if leaves == 1:
        return start + "no split of the people holds up, the gain is the same for all as far as the data tell"
    if explained <= 0:
        return start + f"the tree's {leaves} groups explain nothing of the gain of people it has not seen"
    return start + f"the tree's {leaves} groups explain {explained:.1%} of the variance of the gain by person-year"


def _share_notes(table: pl.DataFrame, names: tuple[str, str]) -> tuple[str, ...]:
    if table["share_of_gain"][0] is not None:
        return ()
    return (
        f"who gains, {names[0]} over {names[1]}: shares of the gain are left out where the interval of everybody's "
        f"gain includes zero or is unknown",
    )


def _by_feature(rows: _Rows, features: Sequence[RowFeature], names: tuple[str, str]) -> pl.DataFrame:
    """Every level of every feature, all people; the family of the p-values is all of them."""
    group_of: list[np.ndarray] = []
    labels: list[tuple[str, str]] = []
    for feature in features:
        group, words = _levels(feature)
        group_of.append(1 + len(labels) + group)
        labels += [(feature.name, word) for word in words]
    table = _averages(rows, group_of)
    feature_names, levels = zip(("all", EVERYBODY), *labels, strict=True)
    table = table.with_columns(feature=pl.Series(feature_names), level=pl.Series(levels))
    return _named(table, names, FEATURES)


def _levels(feature: RowFeature) -> tuple[np.ndarray, list[str]]:
    """Level of each row, those of numbers quantile bins, the absent ones last; and the levels in words."""
    absent = np.isnan(feature.codes)
    codes, known = feature.codes[~absent], feature.distinct[~np.isnan(feature.distinct)]
    if not len(codes):
        return np.zeros(len(absent), dtype=np.int64), [feature.absent]
    edges = known[:-1] if feature.levels else bin_edges(codes, bins=BINS)
    level = np.full(len(absent), len(edges) + 1)
    level[~absent] = bin_of(codes, edges)
    bins = [known[bin_of(known, edges) == place] for place in range(len(edges) + 1)]
    words = [" to ".join(dict.fromkeys(feature.label(end) for end in (each[0], each[-1]))) for each in bins]
    return level, [*words, feature.absent] if absent.any() else words


def _averages(rows: _Rows, groupings: Sequence[np.ndarray]) -> pl.DataFrame:
    """Everybody and then every group: gain, spread, share, p-value and sizes.

    Args:
        rows: what is averaged.
        groupings: each row's group, numbered from 1 on through all groupings, shape (rows,) each.
    """
    people = len(rows.weights)
    group_of = [np.zeros(len(rows.gain), dtype=np.int64), *groupings]
    groups = 1 + max(int(group.max()) for group in group_of)
    place = np.concatenate([group * people + rows.person for group in group_of])
    gain = np.tile(rows.gain, len(group_of))
    counts = np.bincount(place, minlength=groups * people).reshape(groups, people)
    sums = np.bincount(place, gain, minlength=groups * people).reshape(groups, people)
    totals = weighted_sums(np.concatenate([sums, counts]), rows.weights)  # (2 groups, draws)
    draws = ratio(totals[:groups], totals[groups:])
    held = (counts > 0).sum(axis=1)
    draws[held < 2, 1:] = np.nan
    low, high = percentile_interval(draws[:, 1:], confidence=rows.confidence)
    sure = low[0] > 0 or high[0] < 0
    shares = sums.sum(axis=1) / sums[0].sum() if sure else np.full(groups, np.nan)
    columns = (draws[:, 0], bootstrap_std_error(draws[:, 1:]), low, high, shares, adjusted_p_values(draws - draws[0]))
    named = dict(zip(NUMBERS, (*columns, counts.sum(axis=1), held), strict=True))
    return pl.DataFrame(named).with_columns(pl.selectors.float().fill_nan(None))


def _named(table: pl.DataFrame, names: tuple[str, str], schema: dict) -> pl.DataFrame:
    named = table.with_columns(model_a=pl.lit(names[0]), model_b=pl.lit(names[1]))
    return named.select(pl.col(name).cast(kind) for name, kind in schema.items())
