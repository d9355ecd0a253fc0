"""The tree behind ``who_gains``: grown on some people, its size chosen by cross-validation over people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from laborllm.evaluation.groups.row_features import RowFeature, rule_in_words

SIZES = (1, 2, 3, 4, 6, 8)
"""Numbers of leaves that cross-validation chooses from."""
FOLDS = 5
LEAST_ROWS, LEAST_PEOPLE = 100, 10
"""Every leaf holds at least so many growing rows, and so many growing people."""


@dataclass(frozen=True)
class Partition:
    """The leaves of a tree.

    Attributes:
        rules: who is in each leaf, in words, shape (leaves,); "everybody" where the root is alone.
        leaf: each row's leaf, growing rows and others, shape (rows,).
        averages: mean of each leaf over the growing rows, shape (leaves,).
        average: their mean over all growing rows.
    """

    rules: tuple[str, ...]
    leaf: np.ndarray
    averages: np.ndarray
    average: float


@dataclass(frozen=True)
class _Column:
    """A column of the tree's input: a feature's codes, or whether its code is this one."""

    feature: int
    code: float | None


def grow_partition(
    gain: np.ndarray, person: np.ndarray, features: Sequence[RowFeature], *, grows: np.ndarray, seed: int
) -> Partition:
    """Split the rows into groups of unlike gain, by what the growing rows say.

    The number of leaves is the smallest whose squared error in cross-validation over growing people is within one
    standard error of the best one's, the error of the paired difference clustered by person (Breiman et al.,
    Classification and Regression Trees, 1984, one-standard-error rule). A leaf has at least ``LEAST_ROWS`` growing
    rows, and more where careers are long, so that it holds at least ``LEAST_PEOPLE`` people.

    Args:
        gain: nats, shape (rows,).
        person: each row's person, ascending, shape (rows,).
        features: what may be split on, each with codes of shape (rows,).
        grows: the rows that grow the tree, whole people, bool, shape (rows,).
        seed: of the folds.
    """
    root = Partition(("everybody",), np.zeros(len(gain), dtype=np.int64), np.zeros(1), 0.0)
    if not grows.any():
        return root
    average = float(gain[grows].mean())
    columns = [column for place, feature in enumerate(features) for column in _columns(place, feature)]
    least = max(LEAST_ROWS, LEAST_PEOPLE * int(np.bincount(person[grows]).max()))
    leaves = 1
    table = _table(features, columns)
    if columns and grows.sum() >= 2 * least:
        leaves = _chosen_size(table[grows], gain[grows], person[grows], least=least, seed=seed)
    if leaves == 1:
        return Partition(root.rules, root.leaf, np.array([average]), average)
    tree = _tree(table[grows], gain[grows], leaves=leaves, least=least)
    everything = [np.ones(len(feature.distinct), dtype=bool) for feature in features]
    found = dict(_rules(tree.tree_, 0, everything, columns=columns, features=features))
    places = {node: leaf for leaf, node in enumerate(found)}
    leaf = np.array([places[node] for node in tree.apply(table)])
    averages = np.array([tree.tree_.value[node, 0, 0] for node in found])
    return Partition(tuple(found.values()), leaf, averages, average)


def _columns(place: int, feature: RowFeature) -> list[_Column]:
    """One column of an ordered feature; of any other one a level, a missing one too."""
    return [_Column(place, None)] if feature.ordered else [_Column(place, code) for code in feature.distinct]


def _table(features: Sequence[RowFeature], columns: Sequence[_Column]) -> np.ndarray:
    """The tree's input, float32, shape (rows, columns)."""
    if not columns:
        return np.zeros((0, 0), dtype=np.float32)
    values = [_values(column, features[column.feature].codes) for column in columns]
    return np.column_stack(values).astype(np.float32)  # (rows, columns)


def _values(column: _Column, codes: np.ndarray) -> np.ndarray:
    """A column's values where its feature has these codes."""
    if column.code is None:
        return codes
    return np.isnan(codes) if np.isnan(column.code) else codes == column.code


def _tree(table: np.ndarray, gain: np.ndarray, *, leaves: int, least: int) -> Any:
    """A regression tree with at most so many leaves, the most useful split first."""
    from sklearn.tree import DecisionTreeRegressor  # loads pandas where that is installed, and takes a second

    return DecisionTreeRegressor(max_leaf_nodes=leaves, min_samples_leaf=least, random_state=0).fit(table, gain)


def _chosen_size(table: np.ndarray, gain: np.ndarray, person: np.ndarray, *, least: int, seed: int) -> int:
    people, place = np.unique(person, return_inverse=True)
    fold = (np.random.default_rng([seed, 2]).permutation(len(people)) % FOLDS)[place]
    squares = np.zeros((len(SIZES), len(gain)))
    for turn in range(FOLDS):
        out, rest = fold == turn, fold != turn
        if not out.any() or not rest.any():
            return 1
        for size, leaves in enumerate(SIZES):
            if leaves == 1:
                predicted = gain[rest].mean()
            else:
                predicted = _tree(table[rest], gain[rest], leaves=leaves, least=least).predict(table[out])
            squares[size, out] = (gain[out] - predicted) ** 2
    losses = np.stack([np.bincount(place, each) for each in squares])  # (sizes, people)
    worse = losses - losses[losses.sum(axis=1).argmin()]
    error = worse.std(axis=1, ddof=1) * np.sqrt(len(people))
    return SIZES[int(np.flatnonzero(worse.sum(axis=1) <= error)[0])]


def _rules(
    tree: Any, node: int, allowed: list[np.ndarray], *, columns: Sequence[_Column], features: Sequence[RowFeature]
) -> Iterator[tuple[int, str]]:
    """(leaf, rule) of every leaf below a node, given which codes of each feature reach it."""
    left, right = tree.children_left[node], tree.children_right[node]
    if left == right:
        yield node, rule_in_words(features, allowed)
        return
    column = columns[tree.feature[node]]
    values = _values(column, features[column.feature].distinct).astype(np.float32)
    goes_left = np.where(np.isnan(values), bool(tree.missing_go_to_left[node]), values <= tree.threshold[node])
    for child, passes in ((left, goes_left), (right, ~goes_left)):
        below = list(allowed)
        below[column.feature] = allowed[column.feature] & passes
        yield from _rules(tree, child, below, columns=columns, features=features)
