"""Memory: what is free, what a row of activations takes, and how torch says that it does not suffice."""

from typing import Any

import psutil
import torch

CPU = torch.device("cpu")
WIDTHS, INSIDES = 14, 3
"""Vectors of the model's width, and of its feed-forward's, that a row takes within a layer at once."""
WORDS = ("DefaultCPUAllocator", "not enough memory", "can't allocate memory")


def free_memory(device: torch.device = CPU) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def row_bytes(config: Any, itemsize: int) -> int:
    """Bytes of a row's activations in one layer, without gradients.

    Args:
        config: of the text model.
        itemsize: bytes of a number.
    """
    inside = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return int(itemsize * (WIDTHS * config.hidden_size + INSIDES * inside))


def lacks_memory(error: Exception) -> bool:
    """Whether an error says that memory does not suffice, on a GPU or a processor.

    Examples:
        >>> lacks_memory(MemoryError()), lacks_memory(RuntimeError("sizes do not match"))
        (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)
