"""The network of CAREER (Vafa et al., TMLR 2024, arXiv 2202.08370): a small decoder-only transformer over jobs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from laborllm.models.networks.sequences import Network, Packed, RowEmbedding
from laborllm.models.networks.two_stage import PUBLISHED_SYMBOLS


@dataclass(frozen=True)
class Shape:
    """Size of the network."""

    layers: int
    width: int
    heads: int
    feed_forward: int


SIZES = {"small": Shape(4, 64, 2, 256), "paper": Shape(12, 192, 3, 768)}


class CareerNetwork(Network):
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
        self.dropout = dropout
        self.rows = RowEmbedding(shape.width, occupations, levels)
        self.layers = nn.ModuleList(_Layer(shape, dropout) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width, eps=1e-5)
        self.output = nn.Linear(shape.width, (PUBLISHED_SYMBOLS if published else 0) + occupations + 1, bias=False)
        nn.init.normal_(self.output.weight, std=shape.width**-0.5)

    def forward(self, packed: Packed) -> torch.Tensor:
        """Outputs of the two-stage head, shape (rows, classes + 1)."""
        x = self.rows(packed)
        x = functional.dropout(x + _sinusoids(packed, x.shape[1]), self.dropout, self.training)
        for layer in self.layers:
            x = layer(x, packed)
        return self.output(self.norm(x))


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

    def forward(self, x: torch.Tensor, packed: Packed) -> torch.Tensor:
        """Shape (rows, width) -> (rows, width)."""
        query_key_value = self.query_key_value(self.attention_norm(x))
        mixed = [
            self._attend(part.view(people, length, 3, self.heads, -1)).reshape(people * length, -1)
            for part, (people, length) in zip(query_key_value.split(packed.sizes), packed.blocks, strict=True)
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
