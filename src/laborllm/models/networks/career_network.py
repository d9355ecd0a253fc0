"""The network of CAREER (Vafa et al., TMLR 2024, arXiv 2202.08370): a small decoder-only transformer over jobs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from laborllm.models.networks.bins import in_bins
from laborllm.models.networks.dropout import dropout
from laborllm.models.networks.sequences import LinearHead, Packed, RowEmbedding
from laborllm.models.networks.two_stage import PUBLISHED_SYMBOLS


@dataclass(frozen=True)
class Shape:
    """Size of the network."""

    layers: int
    width: int
    heads: int
    feed_forward: int


SIZES = {"small": Shape(4, 64, 2, 256), "paper": Shape(12, 192, 3, 768)}


class CareerNetwork(LinearHead):
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
        super().__init__(occupations, published)
        self.dropout, self.heads = dropout, shape.heads
        self.rows = RowEmbedding(shape.width, occupations, levels)
        self.layers = nn.ModuleList(Layer(shape, dropout) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width, eps=1e-5)
        self.output = nn.Linear(shape.width, (PUBLISHED_SYMBOLS if published else 0) + occupations + 1, bias=False)
        nn.init.normal_(self.output.weight, std=shape.width**-0.5)

    def states(self, packed: Packed) -> torch.Tensor:
        """What the head reads, shape (rows, width)."""
        bins = in_bins(packed.blocks, packed.previous.device)
        x = self.rows(packed)
        x = x[bins.row] + sinusoids(bins.sees.shape[1], x.shape[1], x.device)[bins.number]  # (bins * size, width)
        x = dropout(x, self.dropout, self.training)
        sees = bins.sees.repeat_interleave(self.heads, 0)  # (bins * heads, size, size)
        for layer in self.layers:
            x = layer(x, sees)
        return self.norm(x[bins.place])


class Layer(nn.Module):
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

    def forward(self, x: torch.Tensor, sees: torch.Tensor) -> torch.Tensor:
        """Shape (bins * size, width) -> the same.

        Args:
            x: careers in bins.
            sees: 0 where a place sees another, else -inf, once for each head, shape (bins * heads, size, size).
        """
        return self.after(x, self._attend(self.query_key_value(self.attention_norm(x)), sees))

    def after(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """All but the attention, whose answer is ``mixed``; both of shape (places, width), and so is the result."""
        x = x + dropout(self.attention_out(mixed), self.dropout, self.training)
        inside = functional.gelu(self.feed_forward_in(self.feed_forward_norm(x)))
        return x + dropout(self.feed_forward_out(inside), self.dropout, self.training)

    def _attend(self, query_key_value: torch.Tensor, sees: torch.Tensor) -> torch.Tensor:
        """Attention inside each career, shape (bins * size, 3 * width) -> (bins * size, width)."""
        bins, size = sees.shape[0] // self.heads, sees.shape[1]
        parts = query_key_value.view(bins, size, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts.reshape(3, bins * self.heads, size, -1)  # each (bins * heads, size, head width)
        scores = torch.baddbmm(sees, query, key.transpose(1, 2), alpha=query.shape[2] ** -0.5)
        weights = dropout(scores.softmax(2), self.dropout, self.training)  # (bins * heads, size, size)
        mixed = torch.bmm(weights, value).view(bins, self.heads, size, -1)
        return mixed.transpose(1, 2).reshape(bins * size, -1)


def sinusoids(length: int, width: int, device: torch.device) -> torch.Tensor:
    """Sines, then cosines, of the place in the sequence plus two, shape (length, width) (method, section 5)."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=device) * (-math.log(10000.0) / (half - 1)))
    angles = (torch.arange(length, device=device) + 2)[:, None] * rates  # (length, half)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
