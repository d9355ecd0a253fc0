"""A small LSTM over jobs: the recurrent row of the comparisons."""

from collections.abc import Sequence

import torch
from torch import nn

from laborllm.models.networks.dropout import dropout
from laborllm.models.networks.sequences import LinearHead, Packed, RowEmbedding


class LSTMNetwork(LinearHead):
    """The sum of embeddings that CAREER reads, an LSTM along each career, two-stage head.

    Args:
        width: of embeddings and state.
        layers: stacked.
        occupations: length of the closed list.
        levels: number of levels of each of ``LEVELS``, the missing one (0) not counted.
        dropout: of the input and of the state that is read.
    """

    def __init__(self, width: int, layers: int, occupations: int, levels: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__(occupations)
        self.dropout = dropout
        self.rows = RowEmbedding(width, occupations, levels)
        self.recurrent = nn.LSTM(width, width, layers, batch_first=True)
        self.output = nn.Linear(width, occupations + 1)

    def states(self, packed: Packed) -> torch.Tensor:
        """What the head reads, shape (rows, width)."""
        x = dropout(self.rows(packed), self.dropout, self.training)
        states = [
            self.recurrent(part.view(people, length, -1))[0].reshape(people * length, -1)
            for part, (people, length) in zip(x.split(packed.sizes), packed.blocks, strict=True)
        ]
        return dropout(torch.cat(states), self.dropout, self.training)
