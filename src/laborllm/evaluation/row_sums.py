"""One pass over a model's array: the few sums of every person-year that all tasks and metrics are made of."""

from dataclasses import dataclass

import numpy as np

from laborllm.evaluation.tasks import Tasks
from laborllm.evaluation.uncertainty import blocks

BLOCK = 2048
"""Rows of (person_years, occupations) worked on at a time: exp of them stays in the processor's cache."""
TINY = 1e-30
"""A sum below it is taken again in double precision: single precision ends at 1e-38."""
GROUP_TIE = 1e-6
"""Two broad groups whose probabilities differ by less than this share of one are tied: they are rounded sums."""


@dataclass(frozen=True)
class RowSums:
    """What is kept of every person-year; sums of probabilities unless said otherwise, float64, shape (person_years,).

    Either side of a yes-or-no task is summed on its own, never taken as one minus the other, so that a probability
    close to 0 or to 1 keeps its digits.

    Attributes:
        previous: of the previous occupation; 0 in a first row.
        other: of all occupations but the previous one.
        outside: of those out of the labor force.
        inside: of jobs and unemployment.
        squares: sum of squared probabilities.
        highest: the highest probability.
        greater: number of occupations more probable than the realised one.
        tied: number of occupations as probable as the realised one, itself included.
        group: of the realised occupation's broad group.
        group_squares: sum of squared probabilities of the broad groups.
        group_highest: the highest probability of a broad group.
        group_greater: number of broad groups more probable than the realised one.
        group_tied: number of broad groups as probable as the realised one, itself included.
    """

    previous: np.ndarray
    other: np.ndarray
    outside: np.ndarray
    inside: np.ndarray
    squares: np.ndarray
    highest: np.ndarray
    greater: np.ndarray
    tied: np.ndarray
    group: np.ndarray
    group_squares: np.ndarray
    group_highest: np.ndarray
    group_greater: np.ndarray
    group_tied: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Of all occupations: 1 but for rounding, shape (person_years,)."""
        return self.previous + self.other


def row_sums(log_probabilities: np.ndarray, tasks: Tasks) -> RowSums:
    """One pass over the array, block by block.

    Args:
        log_probabilities: nats, shape (person_years, occupations); a row that is no distribution gives a ``total``
            that is not 1, or NaN.
        tasks: of the same person-years.
    """
    kept = {name: np.empty(len(log_probabilities)) for name in RowSums.__annotations__}
    # What is no distribution overflows here, and is refused by its total.
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in blocks(len(log_probabilities), BLOCK):
            block = np.asarray(log_probabilities[rows], dtype=np.float32)
            places = np.arange(rows.start, rows.stop)
            found = _probability_sums(np.exp(block), places, tasks)
            found |= _ranks(block, tasks.occupation[rows])
            for name, values in found.items():
                kept[name][rows] = values
            small = _too_small(found, places, tasks)
            if len(small):
                exact = np.exp(log_probabilities[places[small]], dtype=np.float64)
                for name, values in _probability_sums(exact, places[small], tasks).items():
                    kept[name][places[small]] = values
    return RowSums(**kept)


def _probability_sums(shares: np.ndarray, places: np.ndarray, tasks: Tasks) -> dict[str, np.ndarray]:
    """Every field of ``RowSums`` but the ranks.

    Each row is summed on its own in one order, so that equal rows tie wherever they stand.

    Args:
        shares: probabilities, shape (rows, occupations); overwritten.
        places: which person-years they are of, shape (rows,).
        tasks: of all person-years.
    """
    before = tasks.previous[places]
    later = np.flatnonzero(before >= 0)
    previous = np.zeros(len(places))
    previous[later] = shares[later, before[later]]
    shares[later, before[later]] = 0
    found = {
        "previous": previous,
        "other": shares.sum(axis=1).astype(np.float64),
        "squares": np.einsum("ro,ro->r", shares, shares) + previous**2,
        "highest": np.maximum(shares.max(axis=1), previous),
    }
    groups = np.add.reduceat(shares[:, tasks.by_group], tasks.group_starts, axis=1).astype(np.float64)
    groups[later, tasks.group[before[later]]] += previous[later]  # (rows, groups)
    found["outside"] = shares[:, tasks.outside].sum(axis=1).astype(np.float64)
    shares[:, tasks.outside] = 0
    found["inside"] = shares.sum(axis=1).astype(np.float64)
    was_outside = tasks.outside[before]  # in a first row ``previous`` is zero
    found["outside"] += np.where(was_outside, previous, 0)
    found["inside"] += np.where(was_outside, 0, previous)
    return found | _group_sums(groups, tasks.group[tasks.occupation[places]])


def _group_sums(groups: np.ndarray, realised: np.ndarray) -> dict[str, np.ndarray]:
    """What is kept of the broad groups' probabilities, shape (rows, groups), and the realised ones, (rows,)."""
    own = groups[np.arange(len(groups)), realised]  # (rows,)
    return {
        "group": own,
        "group_squares": np.einsum("rg,rg->r", groups, groups),
        "group_highest": groups.max(axis=1),
        "group_greater": (groups > (own * (1 + GROUP_TIE))[:, None]).sum(axis=1),
        "group_tied": (np.abs(groups - own[:, None]) <= (own * GROUP_TIE)[:, None]).sum(axis=1),
    }


def _ranks(log_probabilities: np.ndarray, occupation: np.ndarray) -> dict[str, np.ndarray]:
    own = np.take_along_axis(log_probabilities, occupation[:, None], axis=1)  # (rows, 1)
    greater, not_less = (_count(each) for each in (log_probabilities > own, log_probabilities >= own))
    return {"greater": greater, "tied": not_less - greater}


def _count(true: np.ndarray) -> np.ndarray:
    """Number of true entries of each row; bytes are summed several times faster than truth values."""
    return true.view(np.uint8).sum(axis=1, dtype=np.uint32).astype(np.int64)  # (rows,)


def _too_small(found: dict[str, np.ndarray], places: np.ndarray, tasks: Tasks) -> np.ndarray:
    """Rows in which a side that may have to be told from zero is, in single precision, next to it."""
    small = (found["other"] < TINY) & (tasks.previous[places] >= 0)
    small |= (found["previous"] < TINY) & (tasks.previous[places] >= 0)
    small |= found["group"] < TINY
    if tasks.outside.any():
        small |= (found["outside"] < TINY) | (found["inside"] < TINY)
    return np.flatnonzero(small)
