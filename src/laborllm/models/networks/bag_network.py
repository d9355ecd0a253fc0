"""Bag of jobs: the previous job and the average of all jobs so far (method, section 5)."""

from collections.abc import Sequence

import torch
from torch import nn

from laborllm.models.networks.sequences import LEVELS, Network, Packed

YEARLY = 2
"""Year and education, the first of ``LEVELS``, change over time: each has its value and the mean of those so far."""


class BagNetwork(Network):
    """Outputs A1 E1[previous] + A2 mean(E2[start, all jobs so far]) + covariates, no biases, two-stage head.

    Every covariate adds one output vector for its level; year and education add a second, the mean over their levels so
    far.

    Args:
        width: of the embeddings.
        occupations: length of the closed list.
        levels: number of levels of each of ``LEVELS``, the missing one (0) not counted.
    """

    def __init__(self, width: int, occupations: int, levels: Sequence[int]) -> None:
        super().__init__(occupations)
        self.job, self.earlier = (nn.Embedding(occupations + 1, width) for _ in range(2))
        self.from_job, self.from_earlier = (nn.Linear(width, occupations + 1, bias=False) for _ in range(2))
        self.now, self.past = (
            nn.ModuleList(nn.Embedding(1 + number, occupations + 1, padding_idx=0) for number in numbers)
            for numbers in (levels, levels[:YEARLY])
        )
        for embedding in (self.job, self.earlier):
            nn.init.normal_(embedding.weight, std=width**-0.5)
        for embedding in (*self.now, *self.past):
            nn.init.zeros_(embedding.weight)

    def forward(self, packed: Packed) -> torch.Tensor:
        """Outputs of the two-stage head, shape (rows, occupations + 1)."""
        place = packed.previous % (self.occupations + 1)
        outputs = self.from_job(self.job(place)) + self.from_earlier(_mean_so_far(self.earlier(place), packed))
        for number in range(len(LEVELS)):
            outputs = outputs + self.now[number](packed.levels[:, number])
        for number, embedding in enumerate(self.past):
            outputs = outputs + _mean_so_far(embedding(packed.levels[:, number]), packed)
        return outputs


def _mean_so_far(x: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Mean over a person's rows up to each row, shape (rows, width) -> (rows, width)."""
    parts = []
    for part, (people, length) in zip(x.split(packed.sizes), packed.blocks, strict=True):
        rows = torch.arange(1, length + 1, device=x.device)[:, None]
        parts.append((part.view(people, length, -1).cumsum(1) / rows).reshape(people * length, -1))
    return torch.cat(parts)
