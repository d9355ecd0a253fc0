"""Which forward pass scores a model: our own where it agrees with the model itself, Hugging Face's everywhere else."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from laborllm.errors import LaborLLMError
from laborllm.models.scoring.grove import Grove
from laborllm.models.scoring.hugging_face import Cached, CachedGrove, HuggingFaceForward, device_of
from laborllm.models.scoring.llama import Encoded, LlamaForward, why_not
from laborllm.text.titles import TitleTree

logger = logging.getLogger(__name__)

Forward = LlamaForward | HuggingFaceForward
PROBE_TOKENS = 24
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 1.0, torch.float16: 0.2}
"""Largest difference of a title's log-probability on the probe text, nats, by the precision of the layers."""


@dataclass(frozen=True)
class Probe:
    """A text on which a forward pass is compared with the model's plain output.

    Attributes:
        document: token ids, shape (tokens,).
        cuts: lengths of prefixes, shape (cuts,).
        titles: what may follow each.
    """

    document: np.ndarray
    cuts: np.ndarray
    titles: Sequence[tuple[int, ...]]

    @classmethod
    def of(cls, model: Any) -> "Probe":
        """Tokens drawn evenly from the vocabulary."""
        vocabulary = int(model.config.get_text_config().vocab_size)
        length = max(2, min(PROBE_TOKENS, context_length(model) - 4))
        tokens = (np.arange(length + 6, dtype=np.int64) * 7919 + 11) % vocabulary
        a, b, c, d, e, f = tokens[length:].tolist()
        return cls(tokens[:length], np.array([length // 2, length]), [(a, b, c), (a, b, d, e), (a, f), (c, f)])


def choose_forward(model: Any, probe: Probe | None = None) -> tuple[Forward, str]:
    """The fastest forward pass that agrees with the model's own output on a probe text, with a remark on it.

    Args:
        model: a Hugging Face causal language model in evaluation mode.
        probe: the text; a made-up one if not given.

    Raises:
        LaborLLMError: the weights give no finite numbers, or no forward pass agrees with the model.
    """
    probe = probe or Probe.of(model)
    expected = _expected(model, probe)
    reason = why_not(model, int(probe.cuts.max()) + max(map(len, probe.titles)))
    if reason is None:
        forward = LlamaForward(model)
        forward.head.set_shift(_states(forward, Probe.of(model)))
        difference = _difference(forward, probe, expected)
        if difference <= TOLERANCE[model.dtype]:
            return forward, forward.name
        reason = f"our own differs from it by {difference:.2g} nats on a text of {len(probe.document)} tokens"
        logger.warning("%s is scored by its own forward pass, which is slower: %s", type(model).__name__, reason)
    generic = HuggingFaceForward(model)
    _require_steady_angles(model, len(probe.document) + max(map(len, probe.titles)))
    try:
        difference = _difference(generic, probe, expected)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise LaborLLMError(
            f"{type(model).__name__} cannot be scored exactly: it takes no cache with a 4-D mask ({error}); choose a "
            "model with ordinary attention"
        ) from error
    if difference > TOLERANCE[model.dtype]:
        raise LaborLLMError(
            f"{type(model).__name__} cannot be scored exactly: behind a cache with a 4-D mask it differs by "
            f"{difference:.2g} nats from its plain output on a text of {len(probe.document)} tokens; choose a model "
            "with ordinary attention and rotary or learned positions, or shorter texts"
        )
    return generic, f"{generic.name} ({reason})"


def _require_steady_angles(model: Any, tokens: int) -> None:
    """Refuse a text in which a prefix by itself has other rotary angles than within the whole."""
    config = model.config.get_text_config()
    rotary = getattr(config, "rope_parameters", None) or {}
    changes = rotary.get("original_max_position_embeddings") or config.max_position_embeddings
    if rotary.get("rope_type") in ("dynamic", "longrope") and tokens > changes:
        raise LaborLLMError(
            f"{type(model).__name__} changes its rotary angles beyond {changes} tokens, and a text has {tokens}; "
            "shorten the texts or choose another model"
        )


def plant(
    forward: Forward, encoded: Encoded | Cached, document: np.ndarray, cut: np.ndarray, tree: TitleTree
) -> Grove | CachedGrove:
    """A tree behind each of the given prefixes: the first ``cut`` tokens of ``document``, shapes (lines,)."""
    if isinstance(forward, LlamaForward):
        return Grove(forward, encoded, document, cut, tree)  # type: ignore[arg-type]
    return CachedGrove(forward, encoded, document, cut, tree)  # type: ignore[arg-type]


def context_length(model: Any) -> int:
    """Number of tokens a model may see at once."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 2**30)


@torch.inference_mode()
def _expected(model: Any, probe: Probe) -> np.ndarray:
    """Log-probabilities of the probe's titles by the model's plain output, shape (cuts, titles)."""
    expected = np.zeros((len(probe.cuts), len(probe.titles)))
    for line, cut in enumerate(probe.cuts.tolist()):
        for place, title in enumerate(probe.titles):
            text = torch.from_numpy(np.append(probe.document[:cut], title)).to(device_of(model))
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
def _states(forward: LlamaForward, probe: Probe) -> torch.Tensor:
    """States at the ends of a probe's prefixes, in the head's precision, shape (cuts, width)."""
    encoded = forward.encode([probe.document], [probe.cuts - 1], keep=False)
    return encoded.states.to(forward.head.weight.dtype)


@torch.inference_mode()
def _difference(forward: Forward, probe: Probe, expected: np.ndarray) -> float:
    """Largest difference on the probe between a forward pass and the model's plain output, nats."""
    tree = TitleTree.of(probe.titles)
    lines = np.arange(len(probe.cuts))
    encoded = forward.encode([probe.document], [probe.cuts - 1])
    edges = np.zeros((len(lines), len(tree.token)))
    read_edges(forward, encoded.states, lines, np.zeros_like(lines), tree, edges)
    if len(tree.inner):
        for fed in plant(forward, encoded, np.zeros_like(lines), probe.cuts, tree).feed_all(range(len(lines))):
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
