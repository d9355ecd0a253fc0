"""A small LSTM over jobs: the recurrent row of the comparisons."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from laborllm.models.networks.sequences import Network, Packed, RowEmbedding


class LSTMNetwork(Network):
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

    def forward(self, packed: Packed) -> torch.Tensor:
        """Outputs of the two-stage head, shape (rows, occupations + 1)."""
        x = functional.dropout(self.rows(packed), self.dropout, self.training)
        states = [
            self.recurrent(part.view(people, length, -1))[0].reshape(people * length, -1)
            for part, (people, length) in zip(x.split(packed.sizes), packed.blocks, strict=True)
        ]
        state = functional.dropout(torch.cat(states), self.dropout, self.training)
        return self.output(state)
