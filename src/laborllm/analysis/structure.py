"""What a model takes occupations to be: vectors of occupations, their neighbours, a map, and the groups they form."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.models.probabilities import BLOCK, Probabilities
from laborllm.survey.careers import Careers
from laborllm.survey.occupations import Occupations

FEWEST_ROWS = 10
"""Person-years after an occupation below which its average prediction is no vector of it."""
PERMUTATIONS = 999


@dataclass(frozen=True)
class Vectors:
    """Vectors of occupations.

    Attributes:
        model: whose.
        source: what they are, in words.
        position: place on the closed list of each, shape (known,).
        values: shape (known, width).
    """

    model: str
    source: str
    position: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Explained:
    """How much of the vectors' spread lies between broad groups.

    Attributes:
        share: between groups, of the sum of squared distances from the mean, 0 … 1 (of directions: vectors have
            length 1).
        chance: the mean of the share when groups are dealt out at random.
        p_value: share of random deals that reach it, itself counted.
        nearest_alike: share of occupations whose nearest neighbour is of their group.
        nearest_chance: what that share would be among neighbours drawn at random.
        occupations: that have vectors.
    """

    share: float
    chance: float
    p_value: float
    nearest_alike: float
    nearest_chance: float
    occupations: int


def prediction_vectors(model: str, prediction: Probabilities, careers: Careers) -> Vectors:
    """The root of the average prediction after each occupation: likely to lead to the same ones, near one another.

    The root makes squared distances twice the squared Hellinger distance between the averages. Staying says how long,
    not where to: the largest chance of another occupation stands in its place, and shares are taken of the whole.

    Raises:
        LaborLLMError: the model scores realised titles alone, or no occupation is followed by ten person-years.
    """
    if prediction.log_probabilities is None:
        raise LaborLLMError(f"{model}: scores realised titles alone, so it says nothing of the other occupations")
    count = len(careers.occupations)
    sums, rows = np.zeros((count, count)), np.zeros(count)
    for first in range(0, len(careers), BLOCK):
        previous = careers.previous[first : first + BLOCK]
        later = np.flatnonzero(previous >= 0)
        shares = np.exp(prediction.log_probabilities[first : first + BLOCK][later], dtype=np.float64)
        np.add.at(sums, previous[later], shares)
        rows += np.bincount(previous[later], minlength=count)
    np.fill_diagonal(sums, 0.0)
    known = np.flatnonzero((rows >= FEWEST_ROWS) & (sums.sum(axis=1) > 0))
    if not len(known):
        raise LaborLLMError(f"no occupation is followed by {FEWEST_ROWS} test person-years; test on more people")
    where = sums[known]  # (known, occupations)
    where[np.arange(len(known)), known] = where.max(axis=1)  # as near to itself as to the nearest other one
    where = where / where.sum(axis=1, keepdims=True)
    return Vectors(model, "where its predictions lead", known, np.sqrt(where))


def directions(values: np.ndarray) -> np.ndarray:
    """Vectors less their mean, of length 1, so that products are cosines; shape (known, width)."""
    centred = values - values.mean(axis=0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(length > 0, length, 1.0)


def neighbours(vectors: Vectors, occupations: Occupations, *, most: int = 5) -> pl.DataFrame:
    """occupation, rank, neighbour, similarity (cosine), same_group: the nearest of every occupation."""
    nearby = directions(vectors.values)
    cosine = nearby @ nearby.T
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, : min(most, len(cosine) - 1)]  # (known, most)
    rows = [
        (
            occupations.titles[vectors.position[one]],
            rank,
            occupations.titles[vectors.position[other]],
            float(cosine[one, other]),
            occupations.groups[vectors.position[one]] == occupations.groups[vectors.position[other]],
        )
        for one in range(len(order))
        for rank, other in enumerate(order[one], start=1)
    ]
    schema = {"occupation": pl.String, "rank": pl.Int64, "neighbour": pl.String, "similarity": pl.Float64}
    return pl.DataFrame(rows, schema=schema | {"same_group": pl.Boolean}, orient="row")


def flat_map(vectors: Vectors) -> tuple[np.ndarray, np.ndarray]:
    """The two directions in which the vectors spread most (principal components).

    Returns:
        Coordinates, shape (known, 2), and the shares of the spread along each, shape (2,). The sign of a component
        is set so that its largest coordinate is positive.
    """
    nearby = directions(vectors.values)
    nearby = nearby - nearby.mean(axis=0)
    left, length, _ = np.linalg.svd(nearby, full_matrices=False)
    found = np.zeros((len(nearby), 2))
    width = min(2, len(length))
    found[:, :width] = left[:, :width] * length[:width]
    largest = np.abs(found).argmax(axis=0)
    sign = np.where(found[largest, np.arange(2)] < 0, -1.0, 1.0)
    shares = np.zeros(2)
    shares[:width] = length[:width] ** 2 / max(float((length**2).sum()), np.finfo(float).tiny)
    return found * sign, shares


def explained_by_groups(vectors: Vectors, groups: Sequence[str], rng: np.random.Generator) -> Explained:
    """How well the broad groups order the vectors, beside random groups of the same sizes (PERMANOVA).

    Args:
        vectors: of occupations.
        groups: of the whole closed list, shape (occupations,).
        rng: deals the random groups.

    Source:
        Anderson, "A new method for non-parametric multivariate analysis of variance", Austral Ecology 26, 2001.
    """
    nearby = directions(vectors.values)
    _, group = np.unique([groups[place] for place in vectors.position], return_inverse=True)
    share = _between(nearby, group)
    dealt = np.array([_between(nearby, rng.permutation(group)) for _ in range(PERMUTATIONS)])
    cosine = nearby @ nearby.T
    np.fill_diagonal(cosine, -np.inf)
    alike = group[cosine.argmax(axis=1)] == group
    sizes = np.bincount(group)
    known = len(group)
    return Explained(
        share=share,
        chance=float(dealt.mean()),
        p_value=float((1 + (dealt >= share - 1e-12).sum()) / (PERMUTATIONS + 1)),
        nearest_alike=float(alike.mean()),
        nearest_chance=float((sizes * (sizes - 1)).sum() / max(known * (known - 1), 1)),
        occupations=known,
    )


def _between(values: np.ndarray, group: np.ndarray) -> float:
    """Share of the sum of squares that lies between groups."""
    centred = values - values.mean(axis=0)
    sizes = np.bincount(group)
    sums = np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums, group, centred)
    return float((sums**2 / sizes[:, None]).sum() / max(float((centred**2).sum()), np.finfo(float).tiny))
