"""Exact log-probabilities of titles under a causal language model: of the realised title, or of the whole list.

P(title | prefix) is the product of the model's next-token probabilities along the title's tokens, up to and
including the line end (LABOR-LLM, from a language model to a probability over occupations). A career is encoded once
for all its years; the titles' tree is then laid behind each year's prefix, inner nodes only.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from laborllm.text.titles import TitleTree, TokenizedResume

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

LOGIT_BYTES = 256 * 2**20
"""Room for one batch's logits in float32."""
TOKENS_PER_BATCH = 8192
NODES_PER_CHUNK = 512


def no_progress(done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Batch:
    """Some résumés side by side, padded on the right.

    Attributes:
        resumes: the résumés, in the order of the rows below.
        tokens: token ids, shape (resumes, tokens).
        attended: whether a token is real, shape (resumes, tokens).
    """

    resumes: list[TokenizedResume]
    tokens: torch.Tensor
    attended: torch.Tensor


def batches(resumes: Sequence[TokenizedResume], tokens_per_batch: int, device: torch.device) -> Iterator[Batch]:
    """Résumés of similar length together, at most ``tokens_per_batch`` tokens with padding (one résumé at least)."""
    order = sorted(range(len(resumes)), key=lambda place: len(resumes[place].tokens))
    group: list[TokenizedResume] = []
    for place in order:
        resume = resumes[place]
        if group and (len(group) + 1) * len(resume.tokens) > tokens_per_batch:
            yield padded(group, device)
            group = []
        group.append(resume)
    if group:
        yield padded(group, device)


def padded(resumes: Sequence[TokenizedResume], device: torch.device) -> Batch:
    """One batch of the given résumés."""
    longest = max(len(resume.tokens) for resume in resumes)
    tokens = np.zeros((len(resumes), longest), dtype=np.int64)
    attended = np.zeros((len(resumes), longest), dtype=np.int64)
    for place, resume in enumerate(resumes):
        tokens[place, : len(resume.tokens)] = resume.tokens
        attended[place, : len(resume.tokens)] = 1
    return Batch(list(resumes), torch.from_numpy(tokens).to(device), torch.from_numpy(attended).to(device))


def tokens_per_batch(model: Any) -> int:
    """How many tokens a batch may hold so that its float32 logits stay within ``LOGIT_BYTES``."""
    return max(1, min(TOKENS_PER_BATCH, LOGIT_BYTES // (4 * model.config.get_text_config().vocab_size)))


@torch.inference_mode()
def score_realised(
    model: Any, resumes: Sequence[TokenizedResume], *, rows: int, progress: Progress = no_progress
) -> np.ndarray:
    """Raw log-probability of each realised title; one forward pass a résumé.

    Args:
        model: a Hugging Face causal language model in evaluation mode.
        resumes: tokenized résumés that together score every row once.
        rows: number of person-years.
        progress: called with (résumés done, all résumés).

    Returns:
        Nats, float64, shape (rows,).
    """
    raw = np.full(rows, np.nan)
    done = 0
    for batch in batches(resumes, tokens_per_batch(model), model.device):
        logits = model(input_ids=batch.tokens, attention_mask=batch.attended, use_cache=False).logits.float()
        steps = _log_probability_of_next(logits, batch.tokens)  # (resumes, tokens - 1)
        for place, resume in enumerate(batch.resumes):
            upto = np.append(0.0, np.cumsum(steps[place]))
            titles = upto[resume.ends - 1] - upto[resume.cuts - 1]  # (lines,)
            raw[resume.rows[resume.first_scored :]] = titles[resume.first_scored :]
        done += len(batch.resumes)
        progress(done, len(resumes))
    return raw


@torch.inference_mode()
def score_titles(
    model: Any, resumes: Sequence[TokenizedResume], tree: TitleTree, *, rows: int, progress: Progress = no_progress
) -> np.ndarray:
    """Raw log-probability of every title of the closed list in every person-year.

    Args:
        model: a Hugging Face causal language model in evaluation mode.
        resumes: tokenized résumés that together score every row once.
        tree: the closed list's tokens.
        rows: number of person-years.
        progress: called with (résumés done, all résumés).

    Returns:
        Nats, float32, shape (rows, occupations); exp of a row sums to at most 1.
    """
    raw = np.full((rows, len(tree.leaf)), np.nan, dtype=np.float32)
    scorer = _TreeScorer(model, tree)
    done = 0
    for batch in batches(resumes, tokens_per_batch(model), model.device):
        for resume, titles in scorer.score(batch):
            raw[resume.rows[resume.first_scored :]] = titles
        done += len(batch.resumes)
        progress(done, len(resumes))
    return raw


def _log_probability_of_next(logits: torch.Tensor, tokens: torch.Tensor) -> np.ndarray:
    """Log-probability of token t + 1 given those up to t, float64, shape (resumes, tokens - 1)."""
    chosen = logits[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]  # (resumes, tokens - 1)
    return (chosen - logits[:, :-1].logsumexp(2)).double().cpu().numpy()


class _TreeScorer:
    """Lays the tree of titles behind every prefix of a batch of encoded résumés."""

    def __init__(self, model: Any, tree: TitleTree) -> None:
        self.model, self.tree, self.device = model, tree, model.device
        self.window = getattr(model.config.get_text_config(), "sliding_window", None)
        self.layer_types = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
        self.node_token = torch.from_numpy(tree.token[tree.inner]).to(self.device)  # (inner,)
        self.node_depth = torch.from_numpy(tree.depth[tree.inner]).to(self.device)  # (inner,)
        self.ancestors = torch.from_numpy(tree.ancestors).to(self.device)  # (inner, inner)
        at_root = np.flatnonzero(tree.parent[tree.inner] < 0)
        self.subtrees = list(pairwise([*at_root.tolist(), len(tree.inner)]))

    def score(self, batch: Batch) -> Iterator[tuple[TokenizedResume, np.ndarray]]:
        """Each résumé with its raw log-probabilities, shape (scored lines, occupations)."""
        cache = DynamicCache() if self.subtrees else None
        output = self.model(
            input_ids=batch.tokens, attention_mask=batch.attended, past_key_values=cache, use_cache=cache is not None
        )
        for place, resume in enumerate(batch.resumes):
            cuts = torch.from_numpy(resume.cuts[resume.first_scored :]).to(self.device)
            edges = np.zeros((len(cuts), len(self.tree.token)))
            self._read(output.logits[place, cuts - 1], np.arange(len(cuts)), np.zeros(len(cuts), dtype=int), edges)
            if cache is not None:
                for chunk in self._chunks(len(cuts)):
                    own = _one_resume(cache, place, len(resume.tokens))
                    self._score_chunk(own, len(resume.tokens), cuts, chunk, edges)
            yield resume, self.tree.title_log_probabilities(edges).astype(np.float32)

    def _chunks(self, lines: int) -> Iterator[list[tuple[int, int, int]]]:
        """Groups of (line, first node, node after last): whole subtrees, about ``NODES_PER_CHUNK`` nodes each."""
        chunk: list[tuple[int, int, int]] = []
        size = 0
        for line in range(lines):
            for first, after in self.subtrees:
                if chunk and size + after - first > NODES_PER_CHUNK:
                    yield chunk
                    chunk, size = [], 0
                chunk.append((line, first, after))
                size += after - first
        if chunk:
            yield chunk

    def _score_chunk(
        self, cache: Any, length: int, cuts: torch.Tensor, chunk: list[tuple[int, int, int]], edges: np.ndarray
    ) -> None:
        """Feed the nodes of a chunk behind the résumé; fill in the log-probabilities of the edges that leave them."""
        node = torch.cat([torch.arange(first, after, device=self.device) for _, first, after in chunk])  # (nodes,)
        line = torch.cat([torch.full((after - first,), row, device=self.device) for row, first, after in chunk])
        position = cuts[line] + self.node_depth[node]  # (nodes,)
        output = self.model(
            input_ids=self.node_token[node][None],
            position_ids=position[None],
            attention_mask=self._mask(length, cuts, line, node, position),
            past_key_values=cache,
            use_cache=True,
        )
        self._read(output.logits[0], line.cpu().numpy(), node.cpu().numpy() + 1, edges)

    def _mask(
        self, length: int, cuts: torch.Tensor, line: torch.Tensor, node: torch.Tensor, position: torch.Tensor
    ) -> Any:
        """What each node sees: its line's prefix and its ancestors; additive, shape (1, 1, nodes, length + nodes)."""
        document = torch.arange(length, device=self.device)
        sees_document = document[None, :] < cuts[line][:, None]  # (nodes, length)
        sees_nodes = (line[:, None] == line[None, :]) & self.ancestors[node][:, node]  # (nodes, nodes)
        visible = torch.cat([sees_document, sees_nodes], dim=1)  # (nodes, length + nodes)
        full = self._additive(visible)
        if self.window is None:
            return full
        distance = position[:, None] - torch.cat([document, position])[None, :]
        sliding = self._additive(visible & (distance < self.window))
        if "sliding_attention" in self.layer_types:
            return {"full_attention": full, "sliding_attention": sliding}
        return full if self.layer_types else sliding

    def _additive(self, visible: torch.Tensor) -> torch.Tensor:
        dtype = self.model.dtype
        hidden = torch.full(visible.shape, torch.finfo(dtype).min, dtype=dtype, device=self.device)
        return hidden.masked_fill(visible, 0.0)[None, None]  # (1, 1, nodes, length + nodes)

    def _read(self, logits: torch.Tensor, line: np.ndarray, source: np.ndarray, edges: np.ndarray) -> None:
        """Write log-probabilities of the edges that leave the given nodes (``source``: 0 is the root)."""
        logits = logits.float() if logits.dtype != torch.float64 else logits
        log_sum = logits.logsumexp(1).double().cpu().numpy()  # (nodes,)
        row, edge = self.tree.leaving(source)
        token = torch.from_numpy(self.tree.token[edge]).to(self.device)
        chosen = logits[torch.from_numpy(row).to(self.device), token].double().cpu().numpy()  # (leaving edges,)
        edges[line[row], edge] = chosen - log_sum[row]


def _one_resume(cache: Any, place: int, length: int) -> Any:
    """The keys and values of one résumé of a batch, without its padding."""
    own = DynamicCache()
    for layer, states in enumerate(cache.layers):
        own.update(states.keys[place : place + 1, :, :length], states.values[place : place + 1, :, :length], layer)
    return own
