"""Dropout that is cheap on a CPU: sixteen random bits decide on an element."""

import torch
from torch.nn import functional

LEVELS = 1 << 16


def dropout(x: torch.Tensor, share: float, training: bool) -> torch.Tensor:
    """Zero a share of the elements at random and scale the others so that the mean stays; in training alone.

    The share is rounded to a multiple of 1 / 65,536. The bits come from torch's own generator.

    Args:
        x: of any shape.
        share: from 0 to less than 1.
        training: whether anything is dropped.
    """
    if not training or not share:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, share)
    return x * _scales(x.shape, share).to(x.dtype)


def _scales(shape: torch.Size, share: float) -> torch.Tensor:
    """0 for what is dropped, 1 / (1 - share) for what stays, float32, of the shape asked for."""
    count = shape.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    dropped = round(share * LEVELS)
    kept = bits.view(torch.int16)[:count].float().ge_(dropped - LEVELS // 2)
    return kept.mul_(LEVELS / (LEVELS - dropped)).view(shape)
