"""Texts that go on behind encoded documents, token by token: nothing is read twice, and those that part share the rest.

Keys and values of what was fed behind a document lie in one array a layer, a row of it for each history.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from laborllm.models.scoring.attention import Part, attend, joined, side_by_side
from laborllm.models.scoring.grove import Grove, rows_of
from laborllm.models.scoring.llama import Encoded, LlamaForward, shared
from laborllm.text.titles import TitleTree


class Histories:
    """Texts behind documents.

    Args:
        forward: the model.
        encoded: the documents, with keys and values; its states are those at their ends.
        tree: the closed list's tokens.
        rows: tokens that are fed together.

    Attributes:
        states: at the end of each history, shape (histories, width).
        document: which document each history goes on from, ascending, shape (histories,).
        length: tokens of each history behind its document, shape (histories,).
        keys: per layer, of those tokens, shape (histories, room, key heads, head width); zeros behind ``length``.
        values: like ``keys``.
        grove: the trees of titles behind the histories.
    """

    def __init__(self, forward: LlamaForward, encoded: Encoded, tree: TitleTree, rows: int) -> None:
        self.forward, self.encoded, self.tree, self.rows = forward, encoded, tree, rows
        self.states = encoded.states
        self.document = np.arange(len(encoded.starts) - 1)
        self.length = np.zeros(len(self.document), dtype=np.int64)
        none = [key.new_zeros(len(self.document), 0, *key.shape[1:]) for key in encoded.keys]
        self.keys, self.values = none, list(none)
        self.grove = self._grove()

    def follow(self, parent: np.ndarray, title: np.ndarray, tokens: Sequence[np.ndarray]) -> None:
        """Put titles behind histories, all of whose inner nodes have been fed, and then some tokens.

        Args:
            parent: the history that each new one goes on from, ascending, shape (histories,).
            title: position in the closed list, shape (histories,).
            tokens: what stands behind each title, one token at least.
        """
        last = self.tree.source[self.tree.leaf[title]] - 1  # (histories,): -1 where a title is read off the root
        lineage = np.where((last >= 0)[:, None], self.tree.lineage[last] if len(self.tree.inner) else -1, -1)
        known = lineage >= 0  # (histories, depth): its first so many
        stored = self.grove.place[np.broadcast_to(parent[:, None], known.shape)[known], lineage[known]]
        fed = [
            np.append(self.tree.token[leaf], behind)
            for leaf, behind in zip(self.tree.leaf[title].tolist(), tokens, strict=True)
        ]
        copied = self.length[parent] + known.sum(axis=1)
        room = int((copied + [len(each) for each in fed]).max())
        place = (np.arange(len(parent)) * room + self.length[parent])[:, None] + np.arange(known.shape[1])
        for stack, nodes in ((self.keys, self.grove.keys), (self.values, self.grove.values)):
            for number in range(len(stack)):
                behind = stack[number].new_zeros(len(parent), room, *stack[number].shape[2:])
                behind[:, : stack[number].shape[1]] = stack[number][self.forward.index(parent)]
                if len(stored):
                    behind.flatten(0, 1)[self.forward.index(place[known])] = nodes[number][self.forward.index(stored)]
                stack[number] = behind
        self.document, self.length = self.document[parent], copied
        self.states = torch.cat([self._feed(some, fed[some]) for some in self._runs([len(each) for each in fed])])
        self.grove = self._grove()

    @property
    def _before(self) -> np.ndarray:
        """Tokens of each history with its document, shape (histories,)."""
        return np.diff(self.encoded.starts)[self.document] + self.length

    def _grove(self) -> Grove:
        return Grove(self.forward, self.encoded, self.document, self._before, self.tree, self.behind)

    def behind(self, line: np.ndarray) -> "Behind | None":
        """What nodes of the lines' trees see behind the documents; None where there is nothing yet."""
        return Behind(self, line, self.length[line]) if self.length.any() else None

    def _runs(self, counts: Sequence[int]) -> Iterator[slice]:
        """Stretches of histories that feed at most ``rows`` tokens together; one at least."""
        begin, ends = 0, np.cumsum(counts)
        while begin < len(ends):
            before = int(ends[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, before + self.rows, side="right")))
            yield slice(begin, end)
            begin = end

    def _feed(self, some: slice, tokens: Sequence[np.ndarray]) -> torch.Tensor:
        """States at the end of some histories, to which tokens are added, shape (histories, width)."""
        counts = np.array([len(each) for each in tokens])
        ends = np.cumsum(counts)
        line = np.repeat(np.arange(some.start, some.stop), counts)  # (rows,)
        place = self.length[line] + np.arange(len(line)) - np.repeat(ends - counts, counts)
        position = self.encoded.past_length + np.diff(self.encoded.starts)[self.document[line]] + place
        see = _Following(self, line, place)
        x = self.forward.run(np.concatenate(tokens), position, see, len(self.forward.layers))
        self.length[some] += counts
        return self.forward.norm(x[self.forward.index(ends - 1)])


class _Following:
    """Tokens behind histories: each sees the shared prompt, its document and what stands behind it, itself included."""

    def __init__(self, histories: Histories, line: np.ndarray, place: np.ndarray) -> None:
        self.histories, self.behind = histories, Behind(histories, line, place + 1)
        self.line, self.place = histories.forward.index(line), histories.forward.index(place)
        document, begin = np.unique(histories.document[line], return_index=True)
        starts = histories.encoded.starts
        self.spans = list(
            zip(begin.tolist(), [*begin[1:].tolist(), len(line)], starts[document], starts[document + 1], strict=True)
        )

    def __call__(self, layer: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        histories, encoded = self.histories, self.histories.encoded
        histories.keys[layer.number][self.line, self.place] = key
        histories.values[layer.number][self.line, self.place] = value
        keys, values = encoded.keys[layer.number], encoded.values[layer.number]
        document = side_by_side(
            attend(query[None, a:b], keys[None, first:after], values[None, first:after], scale=layer.scale)
            for a, b, first, after in self.spans
        )
        return joined([document, self.behind(layer, query), *shared(encoded.past, layer, query)])


class Behind:
    """Attention of rows to the tokens behind documents, histories with about as many rows together.

    Args:
        histories: what is attended to.
        line: the history of each row, ascending, shape (rows,).
        sees: how many of its history's tokens behind the document each row sees, one at least, shape (rows,).
    """

    def __init__(self, histories: Histories, line: np.ndarray, sees: np.ndarray) -> None:
        self.histories, index = histories, histories.forward.index
        present, begin, count = np.unique(line, return_index=True, return_counts=True)
        size = 2 ** np.ceil(np.log2(count)).astype(np.int64)  # (lines,): rows that a line is filled up to
        self.groups, back, filled = [], np.empty(len(line), dtype=np.int64), 0
        for width in np.unique(size).tolist():
            mine = np.flatnonzero(size == width)
            within = np.minimum(np.arange(count[mine].max()), count[mine, None] - 1)  # (lines, queries)
            grid = begin[mine, None] + within
            back[grid] = filled + np.arange(grid.size).reshape(grid.shape)
            filled += grid.size
            whole = len(mine) == len(histories.length)
            self.groups.append((index(grid), None if whole else index(present[mine]), index(sees[grid])))
        self.back = index(back)

    def __call__(self, layer: Any, query: torch.Tensor) -> Part:
        """Shape (rows, heads, head width)."""
        keys, values = self.histories.keys[layer.number], self.histories.values[layer.number]
        places = torch.arange(keys.shape[1], device=keys.device)
        outputs, log_sums = [], []
        for grid, lines, sees in self.groups:
            key, value = (each if lines is None else each.index_select(0, lines) for each in (keys, values))
            hidden = (places >= sees[:, :, None])[:, None]  # (lines, 1, queries, room)
            mask = torch.zeros(hidden.shape, dtype=query.dtype, device=query.device).masked_fill_(hidden, -torch.inf)
            part = attend(rows_of(query, grid), key, value, scale=layer.scale, mask=mask)
            outputs.append(part.output.flatten(0, 1))
            log_sums.append(part.log_sum.flatten(0, 1))
        return Part(rows_of(torch.cat(outputs), self.back), rows_of(torch.cat(log_sums), self.back))
