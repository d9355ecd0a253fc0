"""Trees of titles laid behind prefixes of encoded careers, and what each of their nodes sees."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from laborllm.models.scoring.attention import Part, attend, joined, side_by_side
from laborllm.models.scoring.llama import Encoded, LlamaForward, shared
from laborllm.text.titles import TitleTree

QUERIES_PER_GROUP = 32
See = Callable[[Any, torch.Tensor], Part]
"""Attention to what stands behind documents: (layer, query), the latter of shape (rows, heads, head width)."""


@dataclass(frozen=True)
class Fed:
    """Nodes that have gone through the model.

    Attributes:
        line: shape (nodes,).
        node: place in ``tree.inner``, shape (nodes,).
        states: what the route's ``read`` takes, shape (nodes, ...).
    """

    line: np.ndarray
    node: np.ndarray
    states: torch.Tensor


class Grove:
    """The trees of some lines, laid behind their prefixes node by node.

    Args:
        forward: the model.
        encoded: the documents, with keys and values.
        document: which document each line belongs to, shape (lines,).
        cut: how many tokens the line sees: of the document, or of all of it and of what stands behind, shape (lines,).
        tree: the closed list's tokens.
        behind: the lines of some nodes -> what these see behind the documents, if anything stands there.
    """

    def __init__(
        self,
        forward: LlamaForward,
        encoded: Encoded,
        document: np.ndarray,
        cut: np.ndarray,
        tree: TitleTree,
        behind: Callable[[np.ndarray], See | None] = lambda line: None,
    ) -> None:
        self.forward, self.encoded, self.tree, self.behind = forward, encoded, tree, behind
        self.document, self.cut = document, cut
        self.place = np.full((len(cut), len(tree.inner)), -1, dtype=np.int64)  # row of each node that has been fed
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    @cached_property
    def kin_of_all(self) -> "_Kin":
        """Who sees whom in one whole tree."""
        return _kin_of_all(self.tree)

    def feed_all(self, lines: range) -> Iterator[Fed]:
        """States of every inner node of the given lines."""
        inner = len(self.tree.inner)
        line, node = np.repeat(np.arange(lines.start, lines.stop), inner), np.tile(np.arange(inner), len(lines))
        kin = self.kin_of_all.repeated(len(lines), inner)
        yield Fed(line, node, self._run(line, node, kin, keep=False))

    def feed(self, line: np.ndarray, node: np.ndarray) -> Iterator[Fed]:
        """States of some nodes whose ancestors have been fed before or stand in the same call.

        Args:
            line: ascending, shape (nodes,).
            node: place in ``tree.inner``, shape (nodes,).
        """
        stored = len(self.keys[0]) if self.keys else 0
        self.place[line, node] = stored + np.arange(len(line))
        lineage = self.tree.lineage[node]  # (nodes, depth)
        key = np.where(lineage >= 0, self.place[line[:, None], lineage], self.place[line, node][:, None])
        kin = _Kin(np.arange(len(line))[:, None], key, (lineage >= 0)[:, None], np.arange(len(line)))
        yield Fed(line, node, self._run(line, node, kin, keep=True))

    def stored(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of all nodes fed so far, these last."""
        if layer == len(self.keys):
            self.keys.append(key)
            self.values.append(value)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], key])
            self.values[layer] = torch.cat([self.values[layer], value])
        return self.keys[layer], self.values[layer]

    def _run(self, line: np.ndarray, node: np.ndarray, kin: "_Kin", *, keep: bool) -> torch.Tensor:
        forward, encoded = self.forward, self.encoded
        fed = self.tree.inner[node]
        position = encoded.past_length + self.cut[line] + self.tree.depth[fed]
        see = _Prefixes(self, line, kin.on(forward.device, forward.dtype), keep)
        x = forward.run(self.tree.token[fed], position, see, len(forward.layers))
        return forward.norm(x)


@dataclass(frozen=True)
class _Kin:
    """Groups of nodes with the nodes that any of them sees.

    Attributes:
        query: rows of each group, shape (groups, queries); the last group is filled up with its last row.
        key: rows that a member sees, shape (groups, keys), filled up with any row.
        sees: shape (groups, queries, keys).
        back: where each row stands among the groups laid end to end, shape (rows,).
    """

    query: np.ndarray
    key: np.ndarray
    sees: np.ndarray
    back: np.ndarray

    def repeated(self, lines: int, rows: int) -> "_Kin":
        """The same groups for several lines of ``rows`` rows each."""
        shift = np.arange(lines)[:, None, None] * rows
        query = (self.query + shift).reshape(-1, self.query.shape[1])
        key = (self.key + shift).reshape(-1, self.key.shape[1])
        back = (self.back + np.arange(lines)[:, None] * self.query.size).ravel()
        return _Kin(query, key, np.tile(self.sees, (lines, 1, 1)), back)

    def on(self, device: torch.device, dtype: torch.dtype) -> "tuple[torch.Tensor, ...]":
        """Indices and the additive mask as tensors."""
        query, key, back = (torch.from_numpy(each).to(device) for each in (self.query, self.key, self.back))
        hidden = torch.from_numpy(~self.sees).to(device)[:, None]  # (groups, 1, queries, keys)
        return query, key, torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf), back


def _kin_of_all(tree: TitleTree) -> _Kin:
    """Groups of the whole tree in depth-first order, where neighbours share most of their ancestors."""
    rows = len(tree.inner)
    size = min(QUERIES_PER_GROUP, rows)
    groups = -(-rows // size)
    query = np.minimum(np.arange(groups * size), rows - 1).reshape(groups, size)
    seen = [np.unique(tree.lineage[members][tree.lineage[members] >= 0]) for members in query]
    longest = max(len(keys) for keys in seen)
    key = np.stack([np.pad(keys, (0, longest - len(keys)), mode="edge") for keys in seen])
    sees = tree.ancestors[query[:, :, None], key[:, None, :]]  # (groups, queries, keys)
    sees &= (np.arange(longest) < np.array([len(keys) for keys in seen])[:, None])[:, None]
    return _Kin(query, key, sees, np.arange(rows))


class _Prefixes:
    """Each node sees the shared prompt, its line's prefix and its ancestors."""

    def __init__(self, grove: Grove, line: np.ndarray, kin: "tuple[torch.Tensor, ...]", keep: bool) -> None:
        self.grove, self.keep = grove, keep
        self.query, self.key, self.mask, self.back = kin
        self.behind = grove.behind(line)
        starts, document = grove.encoded.starts, grove.document[line]
        cut = np.minimum(starts[document] + grove.cut[line], starts[document + 1])  # (nodes,)
        begin = np.flatnonzero((np.diff(document, prepend=-1) != 0) | (np.diff(cut, prepend=-1) != 0))
        rows = pairwise([*begin.tolist(), len(line)])
        self.spans = list(zip(rows, starts[document[begin]].tolist(), cut[begin].tolist(), strict=True))

    def __call__(self, layer: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        encoded = self.grove.encoded
        keys, values = encoded.keys[layer.number], encoded.values[layer.number]
        prefix = side_by_side(
            attend(query[None, a:b], keys[None, first:cut], values[None, first:cut], scale=layer.scale)
            for (a, b), first, cut in self.spans
        )
        if self.keep:
            key, value = self.grove.stored(layer.number, key, value)
        kin = self._kin(query, key, value, layer.scale)
        behind = [] if self.behind is None else [self.behind(layer, query)]
        return joined([prefix, *behind, kin, *shared(encoded.past, layer, query)])

    def _kin(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> Part:
        """Attention to ancestors and to the node itself."""
        part = attend(
            rows_of(query, self.query), rows_of(key, self.key), rows_of(value, self.key), scale=scale, mask=self.mask
        )
        output, log_sum = part.output.flatten(0, 1), part.log_sum.flatten(0, 1)
        return Part(rows_of(output, self.back), rows_of(log_sum, self.back))


def rows_of(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The rows of x that an index of any shape names, laid out in that shape."""
    return x.flatten(1).index_select(0, index.flatten()).view(*index.shape, *x.shape[1:])
