"""Careers as whole numbers, and packed batches of them: what CAREER, bag of jobs and the LSTM read.

A batch is packed: rows of all its people behind one another, people of equal length side by side, so that nothing is
padded and whatever runs along a career works on whole blocks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from laborllm.survey.careers import COVARIATES

LEVELS = ("year", *COVARIATES)
"""The covariates of a row, each a level: a whole number from 1, 0 where it is missing."""


@dataclass(frozen=True)
class Packed:
    """People of one batch, shortest careers first, their rows behind one another.

    Attributes:
        previous: position of the previous occupation, -1 in first rows, shape (rows,).
        occupation: position of the occupation, shape (rows,).
        levels: level of each of ``LEVELS``, 0 where it is missing, shape (rows, 6).
        blocks: (people, length) of each run of people of equal length, in order.
    """

    previous: torch.Tensor
    occupation: torch.Tensor
    levels: torch.Tensor
    blocks: tuple[tuple[int, int], ...]

    @property
    def sizes(self) -> list[int]:
        """Rows of each block."""
        return [people * length for people, length in self.blocks]


@dataclass(frozen=True)
class Sequences:
    """Careers as whole numbers.

    Attributes:
        starts: first row of each person, then the number of rows, shape (people + 1,).
        previous, occupation: as in ``Packed``, int64, shape (person_years,).
        levels: as in ``Packed``, int64, shape (person_years, 6).
    """

    starts: np.ndarray
    previous: np.ndarray
    occupation: np.ndarray
    levels: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each person, shape (people,)."""
        return np.diff(self.starts)

    def pack(self, people: np.ndarray, device: torch.device) -> tuple[Packed, np.ndarray]:
        """The people of a batch, and the row of the careers that each packed row is, shape (rows,)."""
        people = people[np.argsort(self.lengths[people], kind="stable")]
        lengths, counts = np.unique(self.lengths[people], return_counts=True)
        row = np.concatenate([np.arange(self.starts[person], self.starts[person + 1]) for person in people])
        previous, occupation, levels = (
            torch.from_numpy(each[row]).to(device) for each in (self.previous, self.occupation, self.levels)
        )
        return Packed(previous, occupation, levels, tuple(zip(counts.tolist(), lengths.tolist(), strict=True))), row


def with_rows(kept: list[np.ndarray], careers: Sequences) -> Sequences:
    """Careers of the rows that are kept, one career for each array, as if the others had not been observed.

    Args:
        kept: ascending rows of one person each.
        careers: whole careers.
    """
    lengths = np.array([len(rows) for rows in kept])
    starts = np.append(0, np.cumsum(lengths))
    rows = np.concatenate(kept)
    occupation = careers.occupation[rows]
    previous = np.append(-1, occupation[:-1])
    previous[starts[:-1]] = -1
    return Sequences(starts, previous, occupation, careers.levels[rows])


def thinned(careers: Sequences, people: np.ndarray, share: float, rng: np.random.Generator) -> Sequences:
    """The careers of some people, each with a share of its rows left out at random, the last never.

    Half of the people keep every row, so that whole careers are learned too.

    Args:
        careers: whole careers.
        people: whose.
        share: of the rows of the others that is left out, on average.
        rng: the source of randomness.
    """
    kept = []
    for person in people:
        rows = np.arange(careers.starts[person], careers.starts[person + 1])
        if rng.random() < 0.5:
            stays = rng.random(len(rows)) >= rng.uniform(0, 2 * share)
            stays[-1] = True
            rows = rows[stays]
        kept.append(rows)
    return with_rows(kept, careers)


class Network(nn.Module):
    """What reads whole careers: ``forward`` gives a packed batch the outputs of the two-stage head.

    Args:
        occupations: length of the closed list.
        published: whether the outputs are those of the published code, symbols first.
    """

    def __init__(self, occupations: int, published: bool = False) -> None:
        super().__init__()
        self.occupations, self.published = occupations, published

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


class LinearHead(Network):
    """A network whose outputs are linear in ``states``, which a subclass computes; ``output`` is that layer."""

    output: nn.Linear

    def states(self, packed: Packed) -> torch.Tensor:
        """What the head reads, shape (rows, width)."""
        raise NotImplementedError

    def forward(self, packed: Packed) -> torch.Tensor:
        """Outputs of the two-stage head, shape (rows, classes + 1)."""
        return self.output(self.states(packed))


class RowEmbedding(nn.Module):
    """sqrt(width) E_job[previous] + the sum over covariates of E[level]; a missing level adds nothing.

    Args:
        width: of the embeddings, which start as normal draws of variance 1 / width.
        occupations: length of the closed list.
        levels: number of levels of each of ``LEVELS``, the missing one (0) not counted.
    """

    def __init__(self, width: int, occupations: int, levels: Sequence[int]) -> None:
        super().__init__()
        self.occupations = occupations
        self.job = nn.Embedding(occupations + 1, width)  # the last, found by -1, is the start
        nn.init.normal_(self.job.weight, std=width**-0.5)
        self.covariates = nn.ModuleList()
        for number in levels:
            embedding = nn.Embedding(1 + number, width, padding_idx=0)
            nn.init.normal_(embedding.weight, std=width**-0.5)
            nn.init.zeros_(embedding.weight[0])
            self.covariates.append(embedding)

    def forward(self, packed: Packed) -> torch.Tensor:
        """Shape (rows, width)."""
        x = math.sqrt(self.job.embedding_dim) * self.job(packed.previous % (self.occupations + 1))
        for number, embedding in enumerate(self.covariates):
            x = x + embedding(packed.levels[:, number])
        return x
