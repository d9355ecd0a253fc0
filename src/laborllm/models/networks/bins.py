"""Careers side by side in bins of one size: what runs over whole careers at once meets hardly any filling."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

SHORTEST = 16
"""Places of the smallest bin: a softmax over fewer is slow on a CPU."""
SIZES = 6
"""Sizes of a bin that are tried between the least and twice that, about."""
PLACE_COST = 300
"""What a place costs beside the attention it takes part in, in units of the cost of one place that it looks at."""


@dataclass(frozen=True)
class Bins:
    """Where the rows of a packed batch stand in bins, several careers behind one another in each.

    Attributes:
        place: of each row, counted over all bins, shape (rows,).
        row: that stands at each place, any one where none does, shape (bins * size,).
        number: index of that row in its career, shape (bins * size,).
        sees: 0 where a place sees another, an earlier one of its career or itself, else -inf, shape (bins, size, size).
    """

    place: torch.Tensor
    row: torch.Tensor
    number: torch.Tensor
    sees: torch.Tensor


def in_bins(blocks: Sequence[tuple[int, int]], device: torch.device) -> Bins:
    """Put the careers of a packed batch into bins.

    Args:
        blocks: (people, length) of each run of people of equal length, as in ``Packed``.
        device: where the answer is used.
    """
    lengths = np.repeat([length for _, length in blocks], [people for people, _ in blocks])
    longest = int(lengths.max())
    least = -(-SHORTEST // longest) * longest
    fills = [(size, *fill(lengths, size)) for size in range(least, 2 * least + 1, max(1, least // SIZES))]
    size, first, bins = min(fills, key=lambda tried: tried[0] * tried[2] * (PLACE_COST + tried[0]))
    number_of_row = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
    place = np.repeat(first, lengths) + number_of_row
    row, number, career = np.zeros((3, bins * size), dtype=np.int64)
    row[place], number[place], career[place] = np.arange(len(place)), number_of_row, np.repeat(first, lengths) + 1
    career_at = torch.from_numpy(career).view(bins, size)
    earlier = torch.ones(size, size, dtype=torch.bool).tril()
    seen = (career_at[:, :, None] == career_at[:, None, :]) & earlier  # (bins, size, size)
    return Bins(
        place=torch.from_numpy(place).to(device),
        row=torch.from_numpy(row).to(device),
        number=torch.from_numpy(number).to(device),
        sees=torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf).to(device),
    )


def fill(lengths: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """Best fit, longest first: the first place of each career, and how many bins there are.

    Args:
        lengths: of the careers, ascending, none longer than a bin, shape (people,).
        size: places of a bin.

    Examples:
        >>> fill(np.array([2, 3, 5, 8]), 10)
        (array([18, 15, 10,  0]), 2)
    """
    first = np.empty(len(lengths), dtype=np.int64)
    open_bins: list[list[int]] = [[] for _ in range(size + 1)]  # by the places left
    some_left = bins = 0  # bit p is set where a bin has p places left
    for person in range(len(lengths) - 1, -1, -1):
        length = int(lengths[person])
        fitting = some_left >> length
        if fitting:
            left = length + (fitting & -fitting).bit_length() - 1
            number = open_bins[left].pop()
            some_left ^= 0 if open_bins[left] else 1 << left
        else:
            number, left, bins = bins, size, bins + 1
        first[person] = number * size + size - left
        if left > length:
            open_bins[left - length].append(number)
            some_left |= 1 << (left - length)
    return first, bins
