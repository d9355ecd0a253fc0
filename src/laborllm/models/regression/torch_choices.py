"""The same log-likelihood, gradient and curvature as in ``softmax``, computed with torch where a GPU is.

Rows are laid out densely, a block at a time: a product with a transposed sparse matrix may differ from run to run on a
GPU (cuSPARSE, ``cusparseSpMM``), and the same data shall give the same coefficients. Blocks are short enough for sums
in float32; from block to block they are added in float64.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import sparse

from laborllm.errors import LaborLLMError
from laborllm.models.regression.softmax import Choices, Coefficients
from laborllm.models.room import free_memory, lacks_memory

ROWS = 16384
"""Rows of a block at most."""
TABLES = 6
"""Numbers that a row has at once for each alternative: logits, probabilities and what they are multiplied by."""
SHARE = 0.5
"""Of the free memory, for a block."""


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix on a device.

    Attributes:
        begins: first entry of each row, then the number of entries, shape (rows + 1,).
        column: of each entry, shape (entries,).
        value: of each entry, shape (entries,).
        width: columns.
    """

    begins: torch.Tensor
    column: torch.Tensor
    value: torch.Tensor
    width: int

    @classmethod
    def of(cls, matrix: sparse.csr_array, dtype: np.dtype, device: torch.device) -> "SparseRows":
        """Copy a matrix to a device."""
        matrix = matrix.tocsr(copy=True)
        matrix.sum_duplicates()  # each place is written once
        begins, column, value = (
            torch.from_numpy(part).to(device)
            for part in (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data.astype(dtype))
        )
        return cls(begins, column, value, matrix.shape[1])

    def dense(self, rows: torch.Tensor) -> torch.Tensor:
        """Some rows with their zeros, shape (rows, width)."""
        begins = self.begins[rows]
        entries = self.begins[rows + 1] - begins  # (rows,)
        row = torch.repeat_interleave(entries)  # (entries of these rows,)
        before = entries.cumsum(0) - entries
        entry = begins[row] + torch.arange(len(row), device=row.device) - before[row]
        dense = self.value.new_zeros(len(rows), self.width)
        dense[row, self.column[entry]] = self.value[entry]
        return dense


@dataclass(frozen=True)
class Block:
    """Some rows, dense, on the device.

    Attributes:
        features: shape (rows, features).
        similarities: of each variable what its coefficient varies with, (rows, columns), and values, (rows, outcomes).
        barred: rows with an impossible outcome, and that outcome, each (barred,).
        chosen: shape (rows, 1).
    """

    features: torch.Tensor
    similarities: list[tuple[torch.Tensor, torch.Tensor]]
    barred: tuple[torch.Tensor, torch.Tensor]
    chosen: torch.Tensor

    def log_chances(self, offset: torch.Tensor, by_outcome: torch.Tensor, parts: list[torch.Tensor]) -> torch.Tensor:
        """Log-probabilities, minus infinity where excluded, shape (rows, outcomes)."""
        logits = torch.addmm(offset, self.features, by_outcome)  # (rows, outcomes)
        for (design, values), part in zip(self.similarities, parts, strict=True):
            logits += (design @ part)[:, None] * values
        logits[self.barred] = -torch.inf
        return logits.log_softmax(1)


@dataclass(frozen=True)
class TorchChoices(Choices):
    """Choices whose likelihood is computed with torch.

    Attributes:
        device: where.
    """

    device: torch.device

    @classmethod
    def of(cls, choices: Choices, device: torch.device) -> "TorchChoices":
        """The same choices on a device."""
        given = choices.features, choices.offset, choices.similarities, choices.excluded, choices.chosen
        return cls(*given, device)

    def loss(self, coefficients: Coefficients) -> tuple[float, Coefficients]:
        """As ``Choices.loss``.

        Raises:
            LaborLLMError: the device's memory does not suffice.
        """
        with _lack_of_memory_told(self.device):
            return self._sums(coefficients, power=1)

    def curvature(self, coefficients: Coefficients) -> Coefficients:
        """As ``Choices.curvature``.

        Raises:
            LaborLLMError: the device's memory does not suffice.
        """
        with _lack_of_memory_told(self.device):
            return self._sums(coefficients, power=2)[1]

    def blocks(self) -> Iterator[slice]:
        """Stretches of rows that fit, at most ``ROWS``."""
        rows = self.features.shape[0]
        return (slice(first, min(first + self._rows, rows)) for first in range(0, rows, self._rows))

    def _sums(self, coefficients: Coefficients, power: int) -> tuple[float, Coefficients]:
        """Nats, and sums of what varies to a power times the derivative of that order in the logits."""
        kind = self.features.dtype
        by_outcome, similarity, offset = (
            torch.from_numpy(each.astype(kind)).to(self.device)
            for each in (coefficients.by_outcome, coefficients.similarity, self.offset)
        )
        parts = list(similarity.split([each.design.shape[1] for each in self.similarities]))
        total, *sums = (torch.zeros_like(each, dtype=torch.float64) for each in (offset[0], by_outcome, *parts))
        for rows in self.blocks():
            block = self._block(rows)
            log_chances = block.log_chances(offset, by_outcome, parts)
            total -= log_chances.gather(1, block.chosen).sum(dtype=torch.float64)
            slope = log_chances.exp_()
            if power == 1:
                slope.scatter_add_(1, block.chosen, slope.new_full(block.chosen.shape, -1.0))
            else:
                slope *= 1 - slope
            sums[0] += block.features.pow(power).T @ slope
            for (design, values), found in zip(block.similarities, sums[1:], strict=True):
                found += design.pow(power).double().T @ (slope * values.pow(power)).sum(1, dtype=torch.float64)
        gathered = torch.cat([similarity.new_zeros(0, dtype=torch.float64), *sums[1:]])
        return float(total), Coefficients(sums[0].cpu().numpy(), gathered.cpu().numpy())

    def _block(self, rows: slice) -> Block:
        place = self._on(np.arange(rows.start, rows.stop))
        origins = (self._on(each.origin[rows]) for each in self.similarities)
        out = self.excluded[rows]
        barred = np.flatnonzero(out >= 0)
        return Block(
            self._features.dense(place),
            [
                (design.dense(place), table.dense(origin))
                for (design, table), origin in zip(self._variables, origins, strict=True)
            ],
            (self._on(barred), self._on(out[barred])),
            self._on(self.chosen[rows, None]),
        )

    @cached_property
    def _features(self) -> SparseRows:
        return self._matrix(self.features)

    @cached_property
    def _variables(self) -> list[tuple[SparseRows, SparseRows]]:
        """Design and table of each variable."""
        return [(self._matrix(each.design), self._matrix(each.table)) for each in self.similarities]

    @cached_property
    def _rows(self) -> int:
        """Of a block: the same in every evaluation, so that sums are."""
        features, outcomes = self._features.width, len(self.offset)
        numbers = features + self.columns + outcomes * (TABLES + len(self._variables))
        return max(1, min(ROWS, int(SHARE * free_memory(self.device)) // (self.features.dtype.itemsize * numbers)))

    def _matrix(self, matrix: sparse.csr_array) -> SparseRows:
        return SparseRows.of(matrix, self.features.dtype, self.device)

    def _on(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(self.device)


@contextmanager
def _lack_of_memory_told(device: torch.device) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        free = free_memory(device) / 2**30
        raise LaborLLMError(
            f"the logit does not fit into the memory of {device}, where {free:.1f} GiB are free; end what else uses "
            f'it, or set device = "cpu"'
        ) from error
