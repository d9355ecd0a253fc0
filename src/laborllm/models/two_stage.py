"""Stay or move, then where: the head that CAREER and its rivals share (method, section 5)."""

import torch
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


def two_stage_published(outputs: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
    """The published code's head, for comparisons: outputs held within 10 of zero, symbols left in the softmax.

    A first row has a stay term too, towards the start symbol.

    Args:
        outputs: symbols, occupations, then s, shape (rows, symbols + occupations + 1).
        previous: position among the occupations of the previous one, -1 in first rows, shape (rows,).

    Returns:
        float32, shape (rows, symbols + occupations).
    """
    place = torch.where(previous < 0, PUBLISHED_START, previous + PUBLISHED_SYMBOLS)
    return two_stage(outputs.float().clamp(-PUBLISHED_CLAMP, PUBLISHED_CLAMP), place)
