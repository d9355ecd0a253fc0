"""Which forward pass scores a model: our own where it agrees with the model itself, Hugging Face's everywhere else."""

import logging
from typing import Any

import numpy as np
import torch

from laborllm.errors import LaborLLMError
from laborllm.models.grove import Grove
from laborllm.models.hugging_face import Cached, CachedGrove, HuggingFaceForward
from laborllm.models.llama import Encoded, LlamaForward, why_not
from laborllm.text.titles import TitleTree

logger = logging.getLogger(__name__)

Forward = LlamaForward | HuggingFaceForward
PROBE_TOKENS = 24
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 1.0, torch.float16: 0.2}
"""Largest difference of a title's log-probability on the probe text, nats, by the precision of the layers."""


def choose_forward(model: Any) -> tuple[Forward, str]:
    """The fastest forward pass that agrees with the model's own output on a probe text, with a remark on it.

    Args:
        model: a Hugging Face causal language model in evaluation mode.

    Raises:
        LaborLLMError: the weights give no finite numbers, or no forward pass agrees with the model.
    """
    expected = _expected(model)
    reason = why_not(model)
    if reason is None:
        forward = LlamaForward(model)
        difference = _difference(forward, model, expected)
        if difference <= TOLERANCE[model.dtype]:
            return forward, forward.name
        reason = f"our own differs from it by {difference:.2g} nats on a probe text"
        logger.warning("%s is scored by its own forward pass, which is slower: %s", type(model).__name__, reason)
    generic = HuggingFaceForward(model)
    difference = _difference(generic, model, expected)
    if difference > TOLERANCE[model.dtype]:
        raise LaborLLMError(
            f"{type(model).__name__} cannot be scored exactly: behind a cache with a 4-D mask it differs by "
            f"{difference:.2g} nats from its plain output; choose a model with rotary or learned positions"
        )
    return generic, f"{generic.name} ({reason})"


def plant(
    forward: Forward, encoded: Encoded | Cached, document: np.ndarray, cut: np.ndarray, tree: TitleTree
) -> Grove | CachedGrove:
    """A tree behind each of the given prefixes: the first ``cut`` tokens of ``document``, shapes (lines,)."""
    if isinstance(forward, LlamaForward):
        return Grove(forward, encoded, document, cut, tree)  # type: ignore[arg-type]
    return CachedGrove(forward, encoded, document, cut, tree)  # type: ignore[arg-type]


def _probe(model: Any) -> tuple[np.ndarray, np.ndarray, list[tuple[int, ...]]]:
    """A document, two cuts in it, and a few titles, drawn evenly from the vocabulary."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    tokens = (np.arange(PROBE_TOKENS + 6, dtype=np.int64) * 7919 + 11) % vocabulary
    a, b, c, d, e, f = tokens[PROBE_TOKENS:].tolist()
    return tokens[:PROBE_TOKENS], np.array([9, PROBE_TOKENS]), [(a, b, c), (a, b, d, e), (a, f), (c, f)]


@torch.inference_mode()
def _expected(model: Any) -> np.ndarray:
    """Log-probabilities of the probe's titles by the model's plain output, shape (cuts, titles)."""
    document, cuts, titles = _probe(model)
    expected = np.zeros((len(cuts), len(titles)))
    for line, cut in enumerate(cuts.tolist()):
        for place, title in enumerate(titles):
            text = torch.from_numpy(np.append(document[:cut], title)).to(model.device)
            logits = model(input_ids=text[None], use_cache=False).logits[0]
            steps = logits[cut - 1 : -1].double().log_softmax(1)
            expected[line, place] = float(steps[range(len(title)), text[cut:]].sum())
    if not np.isfinite(expected).all():
        raise LaborLLMError(
            f"{type(model).__name__} gives no finite probabilities (its weights hold NaN or infinities); "
            "train it again or copy the checkpoint again"
        )
    return expected


@torch.inference_mode()
def _difference(forward: Forward, model: Any, expected: np.ndarray) -> float:
    """Largest difference on the probe between a forward pass and the model's plain output, nats."""
    document, cuts, titles = _probe(model)
    tree = TitleTree.of(titles)
    encoded = forward.encode([document], [cuts - 1])
    if isinstance(forward, LlamaForward):
        forward.head.set_shift(encoded.states.to(forward.head.weight.dtype))
    edges = np.zeros((len(cuts), len(tree.token)))
    read_edges(forward, encoded.states, np.arange(len(cuts)), np.zeros(len(cuts), dtype=np.int64), tree, edges)
    for fed in plant(forward, encoded, np.zeros(len(cuts), dtype=np.int64), cuts, tree).feed_all(range(len(cuts))):
        read_edges(forward, fed.states, fed.line, fed.node + 1, tree, edges)
    return float(np.abs(tree.title_log_probabilities(edges) - expected).max())


def read_edges(
    forward: Forward, states: torch.Tensor, line: np.ndarray, source: np.ndarray, tree: TitleTree, edges: np.ndarray
) -> None:
    """Write the log-probabilities of the edges that leave some nodes.

    Args:
        forward: what made the states.
        states: of the nodes, shape (nodes, ...).
        line: row of ``edges``, shape (nodes,).
        source: 0 for the root, 1 + place in ``tree.inner`` elsewhere, shape (nodes,).
        tree: the closed list's tokens.
        edges: shape (lines, edges).
    """
    row, edge = tree.leaving(source)
    edges[line[row], edge] = forward.read(states, row, tree.token[edge])
