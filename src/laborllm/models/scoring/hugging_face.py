"""Scoring through any Hugging Face causal model: explicit positions, a 4-D mask, and the prefix's cache."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from laborllm.errors import LaborLLMError
from laborllm.models.language.batches import tokens_per_batch
from laborllm.models.scoring.grove import Fed
from laborllm.text.titles import TitleTree

NODES_PER_CHUNK = 512


@dataclass(frozen=True)
class Cached:
    """Documents that have gone through the model.

    Attributes:
        states: logits of the positions asked for, shape (positions, vocabulary).
        caches: keys and values, one cache of batch size 1 a document; empty if not kept.
        lengths: tokens of each document, shape (documents,).
        past: the shared prompt that stands before every document.
    """

    states: torch.Tensor
    caches: list[Any]
    lengths: np.ndarray
    past: "Cached | None" = None

    @property
    def past_length(self) -> int:
        """Number of tokens of the shared prompt."""
        return 0 if self.past is None else int(self.past.lengths[0])


class HuggingFaceForward:
    """Feeds documents and trees to a model's own forward pass.

    Args:
        model: a Hugging Face causal language model in evaluation mode.

    Raises:
        LaborLLMError: the model takes no explicit positions.
    """

    name = "Hugging Face forward pass"

    def __init__(self, model: Any) -> None:
        if "position_ids" not in inspect.signature(_innermost(model).forward).parameters:
            raise LaborLLMError(
                f"{type(model).__name__} takes no position_ids, so trees of titles cannot be laid behind its prefixes; "
                "choose a model with rotary or learned positions"
            )
        config = model.config.get_text_config()
        if getattr(config, "alibi", False):
            raise LaborLLMError(
                f"{type(model).__name__} has ALiBi positions, which take no 4-D mask; choose a model with rotary or "
                "learned positions"
            )
        self.model, self.device = model, device_of(model)
        self.window = getattr(config, "sliding_window", None)
        self.layer_types = set(getattr(config, "layer_types", None) or ())

    def encode(
        self,
        documents: Sequence[np.ndarray],
        positions: Sequence[np.ndarray],
        *,
        past: Cached | None = None,
        keep: bool = True,
    ) -> Cached:
        """Run documents through the model, each seeing itself and the shared prompt.

        Args:
            documents: token ids of each, shape (tokens,).
            positions: the tokens of each document whose logits are wanted.
            past: a shared prompt, itself encoded as one document.
            keep: whether keys and values are kept for trees to come.
        """
        states: dict[int, torch.Tensor] = {}
        caches: dict[int, Any] = {}
        for batch in self._batches(documents):
            output = self._forward([documents[place] for place in batch], past, use_cache=keep)
            for row, place in enumerate(batch):
                states[place] = _precise(output.logits[row, torch.from_numpy(positions[place]).to(self.device)])
                if keep:
                    length = len(documents[place]) + (0 if past is None else int(past.lengths[0]))
                    caches[place] = _one(output.past_key_values, row, length)
        order = range(len(documents))
        lengths = np.array([len(document) for document in documents])
        kept = [caches[place] for place in order] if keep else []
        return Cached(torch.cat([states[place] for place in order]), kept, lengths, past)

    def hidden(
        self, documents: Sequence[np.ndarray], positions: Sequence[np.ndarray], layer: int, past: Cached | None = None
    ) -> torch.Tensor:
        """Hidden states after a layer (0: the embedding, -1: the last, normed), shape (positions, width)."""
        states: dict[int, torch.Tensor] = {}
        for batch in self._batches(documents):
            given = [documents[place] for place in batch]
            output = self._forward(given, past, use_cache=False, output_hidden_states=True, logits_to_keep=1)
            for row, place in enumerate(batch):
                at = torch.from_numpy(positions[place]).to(output.hidden_states[layer].device)
                states[place] = output.hidden_states[layer][row, at]
        return torch.cat([states[place] for place in range(len(documents))])

    def read(self, states: torch.Tensor, row: np.ndarray, token: np.ndarray) -> np.ndarray:
        """Log-probability of a token after a state, float64, shapes (pairs,) -> (pairs,)."""
        rows, tokens = (torch.from_numpy(each).to(states.device) for each in (row, token))
        log_sum = states.logsumexp(1)  # (states,)
        return (states[rows, tokens] - log_sum[rows]).double().cpu().numpy()

    def _batches(self, documents: Sequence[np.ndarray]) -> Iterator[list[int]]:
        """Places of documents of similar length, so many that their padded logits stay within bounds."""
        limit = 0 if self.model.dtype == torch.float64 else tokens_per_batch(self.model)  # padding, NaN in float64
        group: list[int] = []
        for place in sorted(range(len(documents)), key=lambda place: len(documents[place])):
            if group and (len(group) + 1) * len(documents[place]) > limit:
                yield group
                group = []
            group.append(place)
        yield group

    def _forward(self, documents: Sequence[np.ndarray], past: Cached | None, **options: Any) -> Any:
        """The model's output for documents padded on the right."""
        before = 0 if past is None else int(past.lengths[0])
        longest = max(len(document) for document in documents)
        tokens = np.zeros((len(documents), longest), dtype=np.int64)
        attended = np.zeros((len(documents), before + longest), dtype=np.int64)
        for row, document in enumerate(documents):
            tokens[row, : len(document)] = document
            attended[row, : before + len(document)] = 1
        cache = DynamicCache()  # made without the configuration, else it drops keys outside a sliding window
        if past is not None:
            for number, layer in enumerate(past.caches[0].layers):
                wide = (len(documents), -1, -1, -1)
                cache.update(layer.keys.expand(wide), layer.values.expand(wide), number)
            options["use_cache"] = True
        if options["use_cache"]:
            options["past_key_values"] = cache
        return self.model(
            input_ids=torch.from_numpy(tokens).to(self.device),
            attention_mask=torch.from_numpy(attended).to(self.device),
            position_ids=torch.arange(before, before + longest, device=self.device).expand(len(documents), -1),
            **options,
        )


class CachedGrove:
    """The trees of some lines, laid behind cached prefixes in chunks of whole subtrees.

    Args:
        forward: the model.
        encoded: the documents, with their caches.
        document: which document each line belongs to, shape (lines,).
        cut: how many tokens of it the line sees, shape (lines,).
        tree: the closed list's tokens.
    """

    def __init__(
        self, forward: HuggingFaceForward, encoded: Cached, document: np.ndarray, cut: np.ndarray, tree: TitleTree
    ) -> None:
        self.forward, self.encoded, self.tree = forward, encoded, tree
        self.document, self.cut = document, cut
        self.token = torch.from_numpy(tree.token[tree.inner]).to(forward.device)
        self.depth = torch.from_numpy(tree.depth[tree.inner]).to(forward.device)
        self.ancestors = torch.from_numpy(tree.ancestors).to(forward.device)

    def feed_all(self, lines: range) -> Iterator[Fed]:
        """Logits of every inner node of the given lines."""
        inner = len(self.tree.inner)
        line, node = np.repeat(np.arange(lines.start, lines.stop), inner), np.tile(np.arange(inner), len(lines))
        yield from self._run(line, node)

    def feed(self, line: np.ndarray, node: np.ndarray) -> Iterator[Fed]:
        """Logits of some nodes; their ancestors are fed again with them.

        Args:
            line: ascending, shape (nodes,).
            node: place in ``tree.inner``, shape (nodes,).
        """
        inner = len(self.tree.inner)
        lineage = self.tree.lineage[node]  # (nodes, depth)
        needed = np.unique((line[:, None] * inner + lineage)[lineage >= 0])
        wanted = np.isin(needed, line * inner + node)
        for fed in self._run(needed // inner, needed % inner):
            kept = wanted[: len(fed.line)]
            wanted = wanted[len(fed.line) :]
            if kept.any():
                yield Fed(fed.line[kept], fed.node[kept], fed.states[torch.from_numpy(kept).to(fed.states.device)])

    def _run(self, line: np.ndarray, node: np.ndarray) -> Iterator[Fed]:
        """Logits of nodes with all their ancestors, ordered by line and depth-first, chunk by chunk."""
        for chunk in self._chunks(line, node):
            yield Fed(line[chunk], node[chunk], self._logits(line[chunk], node[chunk]))

    def _chunks(self, line: np.ndarray, node: np.ndarray) -> Iterator[slice]:
        """Runs of whole subtrees behind one document, about ``NODES_PER_CHUNK`` nodes each."""
        begins = np.flatnonzero(self.tree.depth[self.tree.inner[node]] == 0)
        start = 0
        for begin, after in pairwise([*begins.tolist(), len(line)]):
            other = self.document[line[begin]] != self.document[line[start]]
            if begin > start and (other or after - start > NODES_PER_CHUNK):
                yield slice(start, begin)
                start = begin
        yield slice(start, len(line))

    def _logits(self, line: np.ndarray, node: np.ndarray) -> torch.Tensor:
        """Feed the nodes of a chunk behind its document, shape (nodes, vocabulary)."""
        document = int(self.document[line[0]])
        past = self.encoded.past_length
        length = past + int(self.encoded.lengths[document])
        nodes = torch.from_numpy(node).to(self.forward.device)
        lines = torch.from_numpy(line).to(self.forward.device)
        cut = past + torch.from_numpy(self.cut[line]).to(self.forward.device)  # (nodes,)
        position = cut + self.depth[nodes]
        output = self.forward.model(
            input_ids=self.token[nodes][None],
            position_ids=position[None],
            attention_mask=self._mask(length, cut, lines, nodes, position),
            past_key_values=_one(self.encoded.caches[document], 0, length),
            use_cache=True,
        )
        return _precise(output.logits[0])

    def _mask(
        self, length: int, cut: torch.Tensor, line: torch.Tensor, node: torch.Tensor, position: torch.Tensor
    ) -> Any:
        """What each node sees: its line's prefix and its ancestors; additive, shape (1, 1, nodes, length + nodes)."""
        document = torch.arange(length, device=cut.device)
        sees_document = document[None, :] < cut[:, None]  # (nodes, length)
        sees_nodes = (line[:, None] == line[None, :]) & self.ancestors[node][:, node]  # (nodes, nodes)
        visible = torch.cat([sees_document, sees_nodes], dim=1)  # (nodes, length + nodes)
        full = self._additive(visible)
        if self.forward.window is None:
            return full
        distance = position[:, None] - torch.cat([document, position])[None, :]
        sliding = self._additive(visible & (distance < self.forward.window))
        if "sliding_attention" in self.forward.layer_types:
            return {"full_attention": full, "sliding_attention": sliding}
        return full if self.forward.layer_types else sliding

    def _additive(self, visible: torch.Tensor) -> torch.Tensor:
        dtype = self.forward.model.dtype
        hidden = torch.full(visible.shape, torch.finfo(dtype).min, dtype=dtype, device=visible.device)
        return hidden.masked_fill(visible, 0.0)[None, None]  # (1, 1, nodes, length + nodes)


def device_of(model: Any) -> torch.device:
    """Where a model takes its tokens, also when its weights lie elsewhere and are brought in layer by layer."""
    hook = getattr(model.get_input_embeddings(), "_hf_hook", None)
    device = getattr(hook, "execution_device", None)
    return model.device if device is None else torch.device(device)


def _innermost(model: Any) -> Any:
    """The Hugging Face model inside a peft wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _precise(logits: torch.Tensor) -> torch.Tensor:
    """Logits in float32 at least."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _one(cache: Any, row: int, length: int) -> Any:
    """A fresh cache with the keys and values of one document of a batch, without its padding."""
    own = DynamicCache()
    for number, layer in enumerate(cache.layers):
        own.update(layer.keys[row : row + 1, :, :length], layer.values[row : row + 1, :, :length], number)
    return own
