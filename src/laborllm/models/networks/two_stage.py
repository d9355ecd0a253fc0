"""Stay or move, then where: the head that CAREER and its rivals share (method, section 5)."""

import torch
from torch import nn
from torch.nn import functional

PUBLISHED_SYMBOLS = 4
"""Outputs of the published code, before the occupations, that are no occupation."""
PUBLISHED_START = 2
"""Which of them stands before a first row."""
PUBLISHED_CLAMP = 10.0


def two_stage(outputs: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
    """Log-probabilities from one output for each occupation and a last one, s, for staying.

    P(stay) = sigmoid(s); P(k | move) = softmax over all but the previous one; in a first row one softmax over all.

    Args:
        outputs: shape (rows, occupations + 1).
        previous: position of the previous occupation, -1 in first rows, shape (rows,).

    Returns:
        float32, shape (rows, occupations); exp of each row sums to 1.

    Examples:
        >>> outputs = torch.tensor([[0.0, 0.0, 0.0, 0.0]])
        >>> two_stage(outputs, torch.tensor([1])).exp().tolist()
        [[0.25, 0.5, 0.25]]
    """
    outputs = outputs.float()
    stay, logits = outputs[:, -1:], outputs[:, :-1]  # (rows, 1), (rows, occupations)
    later = (previous >= 0)[:, None]
    held = functional.one_hot(previous.clamp(min=0), logits.shape[1]).bool() & later
    elsewhere = logits.masked_fill(held, -torch.inf).log_softmax(1)
    moving = torch.where(later, functional.logsigmoid(-stay), 0.0)
    return torch.where(held, functional.logsigmoid(stay), elsewhere + moving)


def two_stage_nats(outputs: torch.Tensor, previous: torch.Tensor, occupation: torch.Tensor) -> torch.Tensor:
    """Negative log-probability of the realised occupation alone, as ``two_stage`` has it, at a fraction of its cost.

    Args:
        outputs: shape (rows, occupations + 1).
        previous: as in ``two_stage``, shape (rows,).
        occupation: position of the realised occupation, shape (rows,).

    Returns:
        float32, shape (rows,).
    """
    outputs = outputs.float()
    stay, later = outputs[:, -1], previous >= 0
    elsewhere = outputs[:, :-1].scatter(1, previous.clamp(min=0)[:, None], -torch.inf)
    logits = torch.where(later[:, None], elsewhere, outputs[:, :-1])  # (rows, occupations)
    where = logits.logsumexp(1) - outputs.gather(1, occupation[:, None])[:, 0]
    move = torch.where(later, functional.softplus(stay), 0.0) + where
    return torch.where(occupation == previous, functional.softplus(-stay), move)


def nats_from_states(
    states: torch.Tensor, output: nn.Linear, previous: torch.Tensor, occupation: torch.Tensor
) -> torch.Tensor:
    """``two_stage_nats`` of the outputs of a linear layer: where people stay, only the output for staying is computed.

    Args:
        states: what the layer reads, float32, shape (rows, width).
        output: gives one output for each occupation and a last one, s, for staying.
        previous, occupation: as in ``two_stage_nats``, shape (rows,).

    Returns:
        float32, shape (rows,).
    """
    weight, bias = output.weight, output.bias
    stay = functional.linear(states, weight[-1:], None if bias is None else bias[-1:])[:, 0]
    later, moved = previous >= 0, occupation != previous
    first_stage = torch.where(later, functional.softplus(torch.where(moved, stay, -stay)), 0.0)
    rows = moved.nonzero()[:, 0]
    logits = functional.linear(states[rows], weight[:-1], None if bias is None else bias[:-1])  # (moves, occupations)
    later_moves = later[rows].nonzero()[:, 0]
    held = torch.zeros_like(logits)
    held[later_moves, previous[rows[later_moves]]] = -torch.inf
    where = functional.cross_entropy(logits + held, occupation[rows], reduction="none")
    return first_stage.index_add(0, rows, where)


def as_published(outputs: torch.Tensor, previous: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the published code gives its head: outputs held within 10 of zero, and a previous class in every row.

    Its softmaxes are over symbols, then occupations; before a first row stands the start symbol, so it has a stay term.

    Args:
        outputs: shape (rows, symbols + occupations + 1).
        previous: position among the occupations of the previous one, -1 in first rows, shape (rows,).
    """
    place = torch.where(previous < 0, PUBLISHED_START, previous + PUBLISHED_SYMBOLS)
    return outputs.float().clamp(-PUBLISHED_CLAMP, PUBLISHED_CLAMP), place
