"""The network of CAREER (Vafa et al., TMLR 2024, arXiv 2202.08370): a small decoder-only transformer over jobs.

A batch is packed: rows of all its people behind one another, people of equal length side by side, so that nothing is
padded and attention works on whole blocks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from laborllm.survey.careers import COVARIATES

YEARLY = ("year", "education")
LEVELS = ("year", *COVARIATES)
"""What is added to the embedding of the previous job, one embedding each."""
SYMBOLS = 4
"""Outputs of the published code that are no occupation; its third is the start symbol."""
PUBLISHED_START = 2
PUBLISHED_CLAMP = 10.0


@dataclass(frozen=True)
class Shape:
    """Size of the network."""

    layers: int
    width: int
    heads: int
    feed_forward: int


SIZES = {"small": Shape(4, 64, 2, 256), "paper": Shape(12, 192, 3, 768)}


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


class CareerNetwork(nn.Module):
    """Input in a row: the previous job, the place in the sequence, the row's own year and education, fixed covariates.

    x = sqrt(width) E_job[previous] + sinusoid(place) + sum over covariates of E[level]; pre-norm layers; one output for
    each occupation and a last one, s, for staying (method, section 5).

    Args:
        shape: size.
        occupations: length of the closed list.
        levels: number of levels of each of ``LEVELS``, the missing one (0) not counted.
        dropout: of the input, of both residual branches and of attention.
        published: whether the head is that of the published code.
    """

    def __init__(
        self, shape: Shape, occupations: int, levels: Sequence[int], *, dropout: float = 0.0, published: bool = False
    ) -> None:
        super().__init__()
        self.occupations, self.published, self.dropout = occupations, published, dropout
        self.job = nn.Embedding(occupations + 1, shape.width)  # the last, found by -1, is the start
        self.layers = nn.ModuleList(_Layer(shape, dropout) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width, eps=1e-5)
        self.output = nn.Linear(shape.width, (SYMBOLS if published else 0) + occupations + 1, bias=False)
        embeddings = [self.job, *(nn.Embedding(1 + number, shape.width, padding_idx=0) for number in levels)]
        for embedding in embeddings:
            nn.init.normal_(embedding.weight, std=shape.width**-0.5)
        nn.init.normal_(self.output.weight, std=shape.width**-0.5)
        for embedding in embeddings[1:]:
            nn.init.zeros_(embedding.weight[0])
        self.covariates = nn.ModuleList(embeddings[1:])

    def set_dropout(self, dropout: float) -> None:
        """Change the share of activations that are dropped while learning."""
        for module in (self, *self.layers):
            module.dropout = dropout

    def hidden(self, packed: Packed) -> torch.Tensor:
        """States of the rows, shape (rows, width)."""
        width = self.job.embedding_dim
        x = math.sqrt(width) * self.job(packed.previous % (self.occupations + 1)) + _sinusoids(packed, width)
        for number, embedding in enumerate(self.covariates):
            x = x + embedding(packed.levels[:, number])
        x = functional.dropout(x, self.dropout, self.training)
        for layer in self.layers:
            x = layer(x, packed.blocks)
        return self.norm(x)

    def log_probabilities(self, packed: Packed) -> torch.Tensor:
        """Log-probability of every occupation, float32, shape (rows, occupations).

        P(stay) = sigmoid(s); P(k | move) = softmax over all but the previous one; in a first row one softmax over all.
        The published head has the symbols in both softmaxes, so its rows sum to a little less than 1.
        """
        everything = self.every_class(packed)
        return everything[:, SYMBOLS:] if self.published else everything

    def every_class(self, packed: Packed) -> torch.Tensor:
        """Log-probability of every output class, symbols included, shape (rows, classes)."""
        logits = self.output(self.hidden(packed)).float()
        if self.published:
            logits = logits.clamp(-PUBLISHED_CLAMP, PUBLISHED_CLAMP)
        stay, logits = logits[:, -1:], logits[:, :-1]  # (rows, 1), (rows, classes)
        previous = packed.previous
        if self.published:
            previous = torch.where(previous < 0, PUBLISHED_START, previous + SYMBOLS)
        held = functional.one_hot(previous.clamp(min=0), logits.shape[1]).bool() & (previous >= 0)[:, None]
        elsewhere = logits.masked_fill(held, -torch.inf).log_softmax(1)
        moving = torch.where((previous >= 0)[:, None], functional.logsigmoid(-stay), 0.0)
        return torch.where(held, functional.logsigmoid(stay), elsewhere + moving)

    def nats(self, packed: Packed) -> torch.Tensor:
        """Negative log-probability of the realised occupation, shape (rows,)."""
        return -self.log_probabilities(packed).gather(1, packed.occupation[:, None])[:, 0]


class _Layer(nn.Module):
    """Pre-norm attention and feed-forward block, biases everywhere."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = shape.heads, dropout
        self.attention_norm = nn.LayerNorm(shape.width, eps=1e-5)
        self.query_key_value = nn.Linear(shape.width, 3 * shape.width)
        self.attention_out = nn.Linear(shape.width, shape.width)
        self.feed_forward_norm = nn.LayerNorm(shape.width, eps=1e-5)
        self.feed_forward_in = nn.Linear(shape.width, shape.feed_forward)
        self.feed_forward_out = nn.Linear(shape.feed_forward, shape.width)
        for linear in (self.query_key_value, self.attention_out, self.feed_forward_in, self.feed_forward_out):
            nn.init.xavier_uniform_(linear.weight, gain=2**-0.5 if linear is self.query_key_value else 1.0)
            nn.init.zeros_(linear.bias)

    def forward(self, x: torch.Tensor, blocks: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Shape (rows, width) -> (rows, width)."""
        query_key_value = self.query_key_value(self.attention_norm(x))
        sizes = [people * length for people, length in blocks]
        mixed = [
            self._attend(part.view(people, length, 3, self.heads, -1)).reshape(people * length, -1)
            for part, (people, length) in zip(query_key_value.split(sizes), blocks, strict=True)
        ]
        x = x + functional.dropout(self.attention_out(torch.cat(mixed)), self.dropout, self.training)
        inside = functional.gelu(self.feed_forward_in(self.feed_forward_norm(x)))
        return x + functional.dropout(self.feed_forward_out(inside), self.dropout, self.training)

    def _attend(self, part: torch.Tensor) -> torch.Tensor:
        """Causal attention inside each person, shape (people, length, 3, heads, head width) -> without the 3."""
        query, key, value = part.permute(2, 0, 3, 1, 4)  # each (people, heads, length, head width)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return mixed.transpose(1, 2)


def _sinusoids(packed: Packed, width: int) -> torch.Tensor:
    """Sines, then cosines, of the place in the sequence plus two, shape (rows, width) (method, section 5)."""
    device, half = packed.previous.device, width // 2
    rates = torch.exp(torch.arange(half, device=device) * (-math.log(10000.0) / (half - 1)))
    place = torch.cat([torch.arange(length, device=device).repeat(people) for people, length in packed.blocks])
    angles = (place + 2)[:, None] * rates  # (rows, half)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
