"""Bins: every row has its own place, careers stay whole, nobody sees another's rows or later ones."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from laborllm.models.networks.bins import fill, in_bins

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [40, 57, 80])
def test_careers_stay_whole_and_do_not_overlap(rng: np.random.Generator, size: int) -> None:
    lengths = np.sort(rng.integers(1, 41, 300))
    first, bins = fill(lengths, size)
    assert (first // size == (first + lengths - 1) // size).all()
    taken = np.concatenate([np.arange(start, start + length) for start, length in zip(first, lengths, strict=True)])
    assert len(np.unique(taken)) == lengths.sum()
    assert taken.max() < bins * size


@pytest.mark.parametrize("sigma", [0.1, 0.8])
def test_hardly_a_place_is_empty(rng: np.random.Generator, sigma: float) -> None:
    lengths = np.sort(np.exp(rng.normal(np.log(9), sigma, 400)).round().clip(1, 40).astype(int))
    counts = zip(*(each.tolist() for each in np.unique(lengths, return_counts=True)), strict=True)
    bins = in_bins([(people, length) for length, people in counts], CPU)
    assert 1 - lengths.sum() / bins.row.numel() < 0.06


@pytest.mark.parametrize("blocks", [((3, 1), (2, 4), (1, 7)), ((5, 1),), ((1, 1),), ((2, 200),)])
def test_a_place_sees_its_own_career_up_to_itself(blocks: tuple[tuple[int, int], ...]) -> None:
    bins = in_bins(blocks, CPU)
    rows = sum(people * length for people, length in blocks)
    lengths = np.repeat([length for _, length in blocks], [people for people, _ in blocks])
    career = np.repeat(np.arange(len(lengths)), lengths)
    torch.testing.assert_close(bins.row[bins.place], torch.arange(rows))
    size = bins.sees.shape[1]
    where, within = bins.place // size, bins.place % size
    for row in range(rows):
        sees = bins.sees[where[row], within[row]] == 0
        seen = bins.row[where[row] * size : (where[row] + 1) * size][sees].tolist()
        assert seen == [other for other in range(row + 1) if career[other] == career[row]]
        assert int(bins.number[bins.place[row]]) == len(seen) - 1
    assert (bins.sees == 0).any(2).all()  # an empty place sees something, so that its softmax is finite
